//! A tweet as the service keeps it.

use pillion_events::{TweetId, TweetPosted, TweetRef};

/// X's bound for the text of a retweet; a longer one is cut.
const RETWEET_CHARS_MAX: usize = 140;

/// What was posted, and what has come of it. A retweet is told as if it had been posted, with the
/// text that X gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tweet {
    /// What was posted; it never changes.
    pub(crate) posted: TweetPosted,
    /// What it is a retweet of, if it is one.
    pub(crate) retweeted: Option<TweetRef>,
    /// Whether who began the conversation hid it.
    pub(crate) hidden: bool,
    /// How many public tweets answer it.
    pub(crate) reply_count: u64,
    /// How many public tweets quote it.
    pub(crate) quote_count: u64,
}

impl Tweet {
    /// Which tweet.
    pub(crate) fn id(&self) -> TweetId {
        self.posted.tweet_id
    }

    /// The tweet and its author.
    pub(crate) fn reference(&self) -> TweetRef {
        TweetRef { tweet_id: self.posted.tweet_id, author_id: self.posted.author_id }
    }
}

/// The text of a retweet of a tweet with that author and text.
pub(crate) fn retweet_text(username: &str, text: &str) -> String {
    let whole = format!("RT @{username}: {text}");
    if whole.chars().count() <= RETWEET_CHARS_MAX {
        return whole;
    }
    let cut = whole.chars().take(RETWEET_CHARS_MAX - 1);
    cut.chain(std::iter::once('…')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_retweet_is_cut_to_140_characters() {
        assert_eq!(retweet_text("Ann", "hi"), "RT @Ann: hi");
        let fits = "ü".repeat(131);
        assert_eq!(retweet_text("Ann", &fits), format!("RT @Ann: {fits}"));
        let cut = retweet_text("Ann", &"ü".repeat(132));
        assert_eq!(cut.chars().count(), 140);
        assert!(cut.ends_with("ü…"), "{cut}");
    }
}
