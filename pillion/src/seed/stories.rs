//! Who is there on a first start, and what they talk about.

/// User names and display names; the first is the one to try the API as.
pub(super) const ACCOUNTS: [(&str, &str); 6] = [
    ("demo", "Demo"),
    ("mira_k", "Mira Kovač"),
    ("otto_builds", "Otto builds things"),
    ("june_rides", "June 🚲"),
    ("harbour_cafe", "Harbour Café"),
    ("nightbus", "Night Bus 7"),
];

/// One tweet. Indices are places in [`STORIES`], of earlier ones.
pub(super) struct Story {
    pub(super) author: &'static str,
    pub(super) text: &'static str,
    pub(super) reply_to: Option<usize>,
    pub(super) quotes: Option<usize>,
}

const fn says(author: &'static str, text: &'static str) -> Story {
    Story { author, text, reply_to: None, quotes: None }
}

const fn replies(author: &'static str, to: usize, text: &'static str) -> Story {
    Story { author, text, reply_to: Some(to), quotes: None }
}

const fn quotes(author: &'static str, quoted: usize, text: &'static str) -> Story {
    Story { author, text, reply_to: None, quotes: Some(quoted) }
}

/// In the order in which they are told. No two of one author are alike: that is how an
/// interrupted start finds out what it has told already.
pub(super) const STORIES: [Story; 26] = [
    says(
        "mira_k",
        "Moved the whole rate limiter into a plugin last night. Swapped it twice while the site was up. Nobody noticed, which is the point. #wasm",
    ),
    replies("otto_builds", 0, "@mira_k twice? What did the first one do wrong?"),
    replies(
        "mira_k",
        1,
        "@otto_builds Counted in seconds where it should have counted in milliseconds. Found it in the log, built the next one, swapped, went to bed.",
    ),
    replies("otto_builds", 2, "@mira_k That is the most relaxed incident report I have ever read."),
    says(
        "harbour_cafe",
        "Good morning! Rhubarb cake today, until it is gone. It is usually gone by eleven. ☕",
    ),
    replies("june_rides", 4, "@harbour_cafe Leaving now. Keep one piece. Please."),
    replies("harbour_cafe", 5, "@june_rides One piece, your name on it, twenty minutes."),
    replies("june_rides", 6, "@harbour_cafe Made it in eighteen 🚲💨"),
    says(
        "nightbus",
        "Line 7: the diversion by the canal stays until Friday. Stops Mill Lane and Old Lock are not served. https://example.com/line-7",
    ),
    replies("mira_k", 8, "@nightbus Does the 00:40 still wait for the last train?"),
    replies("nightbus", 9, "@mira_k It does. It always does."),
    quotes(
        "june_rides",
        8,
        "The canal path is open for bikes the whole time, by the way. #cycling",
    ),
    says(
        "otto_builds",
        "A sidecar is a second motorcycle that you have to feed. A pillion rides along on the one that you have. #architecture",
    ),
    replies("mira_k", 12, "@otto_builds You have waited all week to say that."),
    replies("otto_builds", 13, "@mira_k All month."),
    quotes("demo", 12, "This one took me a minute, and now I cannot unsee it."),
    says(
        "june_rides",
        "104 km, two punctures, one heron that would not move. Best Sunday in a while. #cycling",
    ),
    replies("otto_builds", 16, "@june_rides The heron was there first."),
    says(
        "demo",
        "Hello! This account is for trying things out: read along, post as me, reply to anybody.",
    ),
    replies("harbour_cafe", 18, "@demo Welcome to the harbour. First coffee is on us."),
    replies("nightbus", 18, "@demo Welcome aboard. Please hold on to the rails."),
    says(
        "mira_k",
        "TIL that 280 is not a number of characters but a weight: 你 counts twice, é once, and 👩‍🚀 as much as 你. https://example.com/counting #unicode",
    ),
    replies("demo", 21, "@mira_k And a link is 23, however long it is?"),
    replies("mira_k", 22, "@demo However long it is. Or short!"),
    says("harbour_cafe", "The rhubarb cake is gone. It is 10:52."),
    says("nightbus", "Last departure 03:10. Get home safe, all of you. 🌙"),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn stories_refer_to_earlier_ones_and_are_all_different() {
        let authors: HashSet<&str> = ACCOUNTS.iter().map(|(name, _)| *name).collect();
        let mut told = HashSet::new();
        for (index, story) in STORIES.iter().enumerate() {
            assert!(authors.contains(story.author), "{}", story.author);
            assert!(told.insert((story.author, story.text)), "told twice: {}", story.text);
            let referred = story.reply_to.or(story.quotes);
            assert!(referred.is_none_or(|earlier| earlier < index), "{}", story.text);
            // A generous estimate; the service counts exactly.
            assert!(story.text.chars().count() <= 240, "{}", story.text);
        }
    }
}
