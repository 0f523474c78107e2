//! The query language of search, counts and stream rules: X's operators that can be answered
//! here, as one tree.
//!
//! Terms that stand side by side must all match; `OR` matches either and binds weaker; `-`
//! matches what the next term does not; brackets group. A query as a whole must be narrowed down
//! by at least one term that says what to look for.

mod error;
#[cfg(test)]
mod fuzz;
mod parse;
mod pattern;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeSet;
use std::fmt;

use pillion_chassis::TweetId;

pub(crate) use error::QueryError;
pub(crate) use parse::parse;
pub(crate) use pattern::{Accounts, Pattern};

/// The longest query for search and counts, in characters (Unicode code points), as on X's tiers
/// for everyone.
pub(crate) const SEARCH_CHARS_MAX: usize = 512;
/// The longest stream rule.
pub(crate) const RULE_CHARS_MAX: usize = 1_024;
/// Brackets in brackets. Nobody reads a query that is deeper, and the parser calls itself.
pub(crate) const DEPTH_MAX: usize = 32;
/// Words and operators of a query. Each one is a list that the index has to read.
pub(crate) const TERMS_MAX: usize = 128;

/// What to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Query {
    /// Everything of this; at least two.
    All(Vec<Query>),
    /// Something of this; at least two.
    Any(Vec<Query>),
    /// What this does not match.
    Not(Box<Query>),
    /// One thing.
    Term(Term),
}

/// One thing to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Term {
    /// These words of the text, one right after the other. A keyword is a phrase of one word,
    /// unless there is punctuation in it.
    Words(Vec<String>),
    /// `#tag`
    Hashtag(String),
    /// `$ticker`
    Cashtag(String),
    /// `@handle`: the tweet names the account.
    Mention(Handle),
    /// `from:`: the account wrote or retweeted it.
    From(Handle),
    /// `to:`: it answers a tweet of the account.
    To(Handle),
    /// `retweets_of:`: it retweets a tweet of the account.
    RetweetsOf(Handle),
    /// `conversation_id:`: it belongs to the thread that this tweet began.
    Conversation(TweetId),
    /// `url:`: these words of a link, one right after the other.
    Url(Vec<String>),
    /// `is:`
    Is(Kind),
    /// `has:`
    Has(Part),
}

/// An account as a query names it: by its handle, in lower case, or by its id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Handle(pub(crate) String);

/// A kind of tweet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Retweet,
    Reply,
    Quote,
}

/// A part that a tweet may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Hashtags,
    Cashtags,
    Mentions,
    Links,
    /// No tweet has media here yet, so it matches none.
    Media,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Retweet, Self::Reply, Self::Quote];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Retweet => "retweet",
            Self::Reply => "reply",
            Self::Quote => "quote",
        }
    }
}

impl Part {
    pub(crate) const ALL: [Self; 5] =
        [Self::Hashtags, Self::Cashtags, Self::Mentions, Self::Links, Self::Media];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hashtags => "hashtags",
            Self::Cashtags => "cashtags",
            Self::Mentions => "mentions",
            Self::Links => "links",
            Self::Media => "media",
        }
    }
}

impl Term {
    /// Whether a query may consist of this alone. What half of all tweets have may not.
    pub(crate) fn is_standalone(&self) -> bool {
        !matches!(self, Self::Is(_) | Self::Has(_))
    }

    /// How many of [`TERMS_MAX`] it takes.
    fn weight(&self) -> usize {
        match self {
            Self::Words(words) | Self::Url(words) => words.len(),
            _ => 1,
        }
    }
}

impl Query {
    /// The accounts that it names.
    pub(crate) fn handles(&self) -> BTreeSet<&Handle> {
        let mut handles = BTreeSet::new();
        self.collect_handles(&mut handles);
        handles
    }

    fn collect_handles<'q>(&'q self, handles: &mut BTreeSet<&'q Handle>) {
        match self {
            Self::All(queries) | Self::Any(queries) => {
                for query in queries {
                    query.collect_handles(handles);
                }
            }
            Self::Not(query) => query.collect_handles(handles),
            Self::Term(
                Term::Mention(handle)
                | Term::From(handle)
                | Term::To(handle)
                | Term::RetweetsOf(handle),
            ) => {
                handles.insert(handle);
            }
            Self::Term(_) => {}
        }
    }
}

/// The query as it can be parsed again.
impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(queries) => {
                join(f, queries, " ", |query| matches!(query, Self::Term(_) | Self::Not(_)))
            }
            Self::Any(queries) => join(f, queries, " OR ", |query| !matches!(query, Self::Any(_))),
            Self::Not(query) if matches!(**query, Self::Term(_)) => write!(f, "-{query}"),
            Self::Not(query) => write!(f, "-({query})"),
            Self::Term(term) => term.fmt(f),
        }
    }
}

fn join(
    f: &mut fmt::Formatter<'_>,
    queries: &[Query],
    separator: &str,
    is_bare: impl Fn(&Query) -> bool,
) -> fmt::Result {
    for (index, query) in queries.iter().enumerate() {
        if index > 0 {
            f.write_str(separator)?;
        }
        if is_bare(query) {
            write!(f, "{query}")?;
        } else {
            write!(f, "({query})")?;
        }
    }
    Ok(())
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(words) => write!(f, "\"{}\"", words.join(" ")),
            Self::Hashtag(tag) => write!(f, "#{tag}"),
            Self::Cashtag(tag) => write!(f, "${tag}"),
            Self::Mention(Handle(handle)) => write!(f, "@{handle}"),
            Self::From(Handle(handle)) => write!(f, "from:{handle}"),
            Self::To(Handle(handle)) => write!(f, "to:{handle}"),
            Self::RetweetsOf(Handle(handle)) => write!(f, "retweets_of:{handle}"),
            Self::Conversation(id) => write!(f, "conversation_id:{id}"),
            Self::Url(words) => write!(f, "url:\"{}\"", words.join(" ")),
            Self::Is(kind) => write!(f, "is:{}", kind.name()),
            Self::Has(part) => write!(f, "has:{}", part.name()),
        }
    }
}
