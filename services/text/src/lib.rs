//! What a tweet's text weighs and which entities it holds, as twitter-text (version 3) decides it.
//!
//! Pure functions over a string: no I/O, no limits of their own beyond the bounds of a body.

use serde::{Deserialize, Serialize};

mod blank;
mod classes;
mod display;
mod escape;
mod fold;
mod tag;
mod url;
mod weight;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;

pub use blank::is_blank;
pub use display::{is_invisible, unsafe_display_char};
pub use escape::{delivered_entities, escape};
pub use fold::fold;
pub use weight::{WEIGHTED_LENGTH_MAX, Weighed, weigh};

/// The parts of a text that mean something, in X's shape; a kind that does not occur is left out.
///
/// `start` and `end` count Unicode code points of the text as given; `end` is exclusive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entities {
    /// `#tag`, in the order of the text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hashtags: Vec<Tag>,
    /// `@username`, in the order of the text; existence is not checked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<Mention>,
    /// `$TICKER`, in the order of the text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cashtags: Vec<Tag>,
    /// Links, in the order of the text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<Url>,
}

impl Entities {
    /// Whether the text holds none at all.
    pub fn is_empty(&self) -> bool {
        let Self { hashtags, mentions, cashtags, urls } = self;
        hashtags.is_empty() && mentions.is_empty() && cashtags.is_empty() && urls.is_empty()
    }
}

/// A hashtag or a cashtag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// The position of its sign.
    pub start: u32,
    /// The position after its last character.
    pub end: u32,
    /// The word without its sign.
    pub tag: String,
}

/// A mention of a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mention {
    /// The position of the `@`.
    pub start: u32,
    /// The position after its last character.
    pub end: u32,
    /// The handle without its sign, as written.
    pub username: String,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Url {
    /// The position of its first character.
    pub start: u32,
    /// The position after its last character.
    pub end: u32,
    /// As written.
    pub url: String,
    /// With a protocol.
    pub expanded_url: String,
    /// For readers: without protocol and `www.`, a long path cut.
    pub display_url: String,
}

/// One entity of any kind, while overlaps are resolved.
enum Found {
    Hashtag(tag::Span),
    Mention(tag::Mention),
    Cashtag(tag::Span),
    Url(url::Span),
}

impl Found {
    fn range(&self) -> (usize, usize) {
        match self {
            Self::Hashtag(span) | Self::Cashtag(span) => (span.start, span.end),
            Self::Mention(mention) => (mention.span.start, mention.span.end),
            Self::Url(span) => (span.start, span.end),
        }
    }
}

/// Finds every entity. Where two overlap the one that starts first stays, so that a `#` or `@`
/// inside a link is part of the link.
///
/// ```
/// let entities = pillion_text::entities("@ann: #rust at example.com!");
/// assert_eq!(entities.mentions[0].username, "ann");
/// assert_eq!(entities.hashtags[0].tag, "rust");
/// assert_eq!(entities.urls[0].expanded_url, "http://example.com");
/// ```
pub fn entities(text: &str) -> Entities {
    let text: Vec<char> = text.chars().collect();
    let mut found: Vec<Found> = url::find(&text)
        .into_iter()
        .map(Found::Url)
        .chain(tag::hashtags(&text).into_iter().map(Found::Hashtag))
        .chain(tag::mentions(&text).into_iter().map(Found::Mention))
        .chain(tag::cashtags(&text).into_iter().map(Found::Cashtag))
        .collect();
    found.sort_by_key(|entity| entity.range().0);

    let mut entities = Entities::default();
    let mut free_from = 0;
    for entity in found {
        let (start, end) = entity.range();
        if start < free_from {
            continue;
        }
        free_from = end;
        let string =
            |from: usize| -> String { text.get(from..end).unwrap_or_default().iter().collect() };
        let (start_u32, end_u32) = (index(start), index(end));
        let tag = |tag: String| Tag { start: start_u32, end: end_u32, tag };
        match entity {
            Found::Hashtag(_) => entities.hashtags.push(tag(string(start + 1))),
            Found::Cashtag(_) => entities.cashtags.push(tag(string(start + 1))),
            Found::Mention(mention) if mention.is_list => {}
            Found::Mention(_) => entities.mentions.push(Mention {
                start: start_u32,
                end: end_u32,
                username: string(start + 1),
            }),
            Found::Url(span) => {
                let url = string(start);
                entities.urls.push(Url {
                    start: start_u32,
                    end: end_u32,
                    expanded_url: url::expand(&url, span.has_protocol),
                    display_url: url::display(&url),
                    url,
                });
            }
        }
    }
    entities
}

/// A link as readers see it: without protocol and `www.`, a long path cut.
pub fn display_url(url: &str) -> String {
    url::display(url)
}

/// A position as the wire form has it; no body is long enough to saturate it.
fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
