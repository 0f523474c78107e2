//! What a tweet or a retweet can be found by: its terms.
//!
//! First come the words of the text without its links, in their order. The other terms hold a
//! sign that no word holds: `#tag`, `$ticker`, `@12` (the account 12 is mentioned), `url:word`,
//! `from:12`, `is:reply`. A search is nothing but a question about these terms, which is why it
//! gives the same answer on every back end and on a stream.

use std::collections::HashMap;

use pillion_chassis::{TweetId, UserId};
use pillion_events::{Retweet, TweetPosted};

use crate::words::{as_word, words};

/// Words of a text that count. 280 units are at most about so many words, and `PostgreSQL`
/// forgets the places of a word after the 255th.
const WORDS_MAX: usize = 250;
/// Words of a link that count, from its beginning. A text can hold twelve links.
const LINK_WORDS_MAX: usize = 20;

/// A term of every document.
pub(crate) const ANYTHING: &str = "is:tweet";
/// A term of no document.
pub(crate) const NOTHING: &str = "is:nothing";
pub(crate) const IS_RETWEET: &str = "is:retweet";
pub(crate) const IS_REPLY: &str = "is:reply";
pub(crate) const IS_QUOTE: &str = "is:quote";
pub(crate) const HAS_HASHTAGS: &str = "has:hashtags";
pub(crate) const HAS_CASHTAGS: &str = "has:cashtags";
pub(crate) const HAS_MENTIONS: &str = "has:mentions";
pub(crate) const HAS_LINKS: &str = "has:links";
/// Stands before each link, so that no phrase reaches from one link into the next.
const LINK_BEGINS: &str = "url:";

/// What a retweet does not have from the tweet that it repeats.
const OWN_PREFIXES: [&str; 4] = ["from:", "to:", "conversation:", "is:"];

pub(crate) fn hashtag(word: &str) -> String {
    format!("#{word}")
}

pub(crate) fn cashtag(word: &str) -> String {
    format!("${word}")
}

pub(crate) fn mention(id: UserId) -> String {
    format!("@{id}")
}

pub(crate) fn from(id: UserId) -> String {
    format!("from:{id}")
}

pub(crate) fn to(id: UserId) -> String {
    format!("to:{id}")
}

pub(crate) fn retweets_of(id: UserId) -> String {
    format!("retweets_of:{id}")
}

pub(crate) fn conversation(id: TweetId) -> String {
    format!("conversation:{id}")
}

pub(crate) fn url(word: &str) -> String {
    format!("{LINK_BEGINS}{word}")
}

/// The terms of a tweet, separated by spaces.
pub(crate) fn terms_of_tweet(posted: &TweetPosted) -> String {
    let entities = pillion_text::entities(&posted.text);
    let mut terms = words(&without(&posted.text, &entities.urls));
    terms.truncate(WORDS_MAX);
    let mut marks = Marks(terms);

    let tags = |tags: &[pillion_text::Tag]| -> Vec<String> {
        tags.iter().map(|tag| as_word(&tag.tag)).filter(|word| !word.is_empty()).collect()
    };
    marks.add(HAS_HASHTAGS, tags(&entities.hashtags).iter().map(|word| hashtag(word)));
    marks.add(HAS_CASHTAGS, tags(&entities.cashtags).iter().map(|word| cashtag(word)));
    marks.add(HAS_MENTIONS, posted.mentions.iter().map(|to| mention(to.user_id)));
    marks.add(
        HAS_LINKS,
        entities.urls.iter().flat_map(|link| {
            let words = words(&link.expanded_url).into_iter().take(LINK_WORDS_MAX);
            std::iter::once(LINK_BEGINS.to_owned()).chain(words.map(|word| url(&word)))
        }),
    );
    let mut terms = marks.0;
    terms.push(ANYTHING.to_owned());
    terms.push(from(posted.author_id));
    terms.push(conversation(posted.conversation_id));
    if let Some(replied_to) = posted.replied_to {
        terms.push(IS_REPLY.to_owned());
        terms.push(to(replied_to.author_id));
    }
    if posted.quoted.is_some() {
        terms.push(IS_QUOTE.to_owned());
    }
    terms.join(" ")
}

/// The terms of a retweet of the tweet with these terms. It says what the tweet says, and names
/// its author.
pub(crate) fn terms_of_retweet(tweet_terms: &str, retweet: &Retweet) -> String {
    let is_own = |term: &&str| OWN_PREFIXES.iter().any(|prefix| term.starts_with(prefix));
    let mut terms: Vec<String> =
        tweet_terms.split(' ').filter(|term| !is_own(term)).map(str::to_owned).collect();
    if !terms.iter().any(|term| term == HAS_MENTIONS) {
        terms.push(HAS_MENTIONS.to_owned());
    }
    let named = mention(retweet.author_id);
    if !terms.contains(&named) {
        terms.push(named);
    }
    terms.push(ANYTHING.to_owned());
    terms.push(from(retweet.user_id));
    terms.push(conversation(retweet.retweet_id));
    terms.push(IS_RETWEET.to_owned());
    terms.push(retweets_of(retweet.author_id));
    terms.join(" ")
}

/// Terms under construction.
struct Marks(Vec<String>);

impl Marks {
    /// Adds what there is of a part, after the term that says that there is some.
    fn add(&mut self, has: &str, found: impl Iterator<Item = String>) {
        let mut found = found.peekable();
        if found.peek().is_some() {
            self.0.push(has.to_owned());
            self.0.extend(found);
        }
    }
}

/// The text with a space in the place of each link.
fn without(text: &str, links: &[pillion_text::Url]) -> String {
    let mut links = links.iter().peekable();
    let mut rest = String::with_capacity(text.len());
    for (at, c) in text.chars().enumerate() {
        while links.next_if(|link| link.end as usize <= at).is_some() {}
        match links.peek() {
            Some(link) if link.start as usize <= at => rest.push(' '),
            _ => rest.push(c),
        }
    }
    rest
}

/// A document at hand.
#[derive(Debug)]
pub(crate) struct Document {
    /// Of the tweet or retweet.
    pub(crate) id: TweetId,
    terms: Vec<String>,
    /// Where each term stands.
    places: HashMap<String, Vec<usize>>,
}

impl Document {
    /// The document with these terms, separated by spaces.
    pub(crate) fn new(id: TweetId, terms: &str) -> Self {
        let terms: Vec<String> = terms.split(' ').map(str::to_owned).collect();
        let mut places: HashMap<String, Vec<usize>> = HashMap::new();
        for (place, term) in terms.iter().enumerate() {
            places.entry(term.clone()).or_default().push(place);
        }
        Self { id, terms, places }
    }

    /// Its terms, separated by spaces.
    #[cfg(test)]
    pub(crate) fn text(&self) -> String {
        self.terms.join(" ")
    }

    /// Whether these terms stand in it, one right after the other.
    pub(crate) fn has(&self, terms: &[String]) -> bool {
        let Some((first, rest)) = terms.split_first() else {
            return false;
        };
        let follows =
            |place: usize| self.terms.get(place + 1..).is_some_and(|s| s.starts_with(rest));
        self.places.get(first).is_some_and(|places| places.iter().any(|&place| follows(place)))
    }
}

#[cfg(test)]
mod tests {
    use pillion_events::{Mention, ReplySettings, TweetRef};

    use super::*;

    pub(crate) fn posted(text: &str) -> TweetPosted {
        TweetPosted {
            tweet_id: TweetId::new(20).unwrap(),
            author_id: UserId::new(12).unwrap(),
            text: text.to_owned(),
            conversation_id: TweetId::new(20).unwrap(),
            replied_to: None,
            quoted: None,
            mentions: Vec::new(),
            reply_settings: ReplySettings::Everyone,
            client_id: "web".to_owned(),
            created_at: "2026-07-01T10:00:01.000Z".parse().unwrap(),
        }
    }

    #[test]
    fn a_tweet_is_found_by_its_words_and_by_what_it_is() {
        assert_eq!(
            terms_of_tweet(&posted("Hi there")),
            "hi there is:tweet from:12 conversation:20"
        );
        let mut posted = posted("@ann see https://Example.com/a_b?c and example.org #Été $TWTR");
        posted.mentions =
            vec![Mention { user_id: UserId::new(13).unwrap(), username: "Ann".to_owned() }];
        posted.replied_to = Some(TweetRef {
            tweet_id: TweetId::new(19).unwrap(),
            author_id: UserId::new(13).unwrap(),
        });
        posted.quoted = posted.replied_to;
        posted.conversation_id = TweetId::new(18).unwrap();
        assert_eq!(
            terms_of_tweet(&posted),
            "ann see and été twtr has:hashtags #été has:cashtags $twtr has:mentions @13 has:links \
             url: url:https url:example url:com url:a_b url:c url: url:http url:example url:org \
             is:tweet from:12 conversation:18 is:reply to:13 is:quote"
        );
    }

    #[test]
    fn a_retweet_says_what_the_tweet_says_and_is_somebody_elses() {
        let retweet = Retweet {
            retweet_id: TweetId::new(30).unwrap(),
            user_id: UserId::new(14).unwrap(),
            tweet_id: TweetId::new(20).unwrap(),
            author_id: UserId::new(12).unwrap(),
            at: "2026-07-01T10:00:01.000Z".parse().unwrap(),
        };
        let tweet = "hi has:links url: url:a is:tweet from:12 conversation:18 is:reply to:13";
        assert_eq!(
            terms_of_retweet(tweet, &retweet),
            "hi has:links url: url:a has:mentions @12 is:tweet from:14 conversation:30 \
             is:retweet retweets_of:12"
        );
    }

    #[test]
    fn a_phrase_is_of_one_part() {
        let document = Document::new(TweetId::new(1).unwrap(), "a b a c url: url:a url: url:b");
        let has = |terms: &[&str]| {
            document.has(&terms.iter().map(|&term| term.to_owned()).collect::<Vec<_>>())
        };
        assert!(has(&["a"]) && has(&["a", "c"]) && has(&["a", "b", "a"]));
        assert!(!has(&["c", "a"]) && !has(&["url:a", "url:b"]) && !has(&["d"]) && !has(&[]));
        assert!(!has(&["url:b", "url:b"]));
    }

    #[test]
    fn no_text_has_more_words_than_an_index_can_place() {
        let terms = terms_of_tweet(&posted(&"🙂".repeat(300)));
        assert_eq!(terms.split(' ').filter(|term| *term == "🙂").count(), WORDS_MAX);
    }
}
