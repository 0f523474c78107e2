//! What a query looks for in the terms of a document, and the three ways to look: in a document
//! at hand, in the index of `SQLite`, in that of `PostgreSQL`.

use std::collections::BTreeMap;

use pillion_chassis::UserId;

use super::{Handle, Kind, Part, Query, Term};
use crate::document::{self, Document};

/// The accounts that handles lead to now.
pub(crate) type Accounts = BTreeMap<Handle, UserId>;

/// A query whose handles have become accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// These terms, one right after the other. Never empty.
    Terms(Vec<String>),
    /// All of these.
    All(Vec<Pattern>),
    /// One of these.
    Any(Vec<Pattern>),
    /// Documents without this.
    Not(Box<Pattern>),
}

impl Query {
    /// What to look for. A handle that is not among the accounts leads to nothing.
    pub(crate) fn pattern(&self, accounts: &Accounts) -> Pattern {
        let all = |queries: &[Self]| queries.iter().map(|query| query.pattern(accounts)).collect();
        match self {
            Self::All(queries) => Pattern::All(all(queries)),
            Self::Any(queries) => Pattern::Any(all(queries)),
            Self::Not(query) => Pattern::Not(Box::new(query.pattern(accounts))),
            Self::Term(term) => Pattern::Terms(term.terms(accounts)),
        }
    }
}

impl Term {
    fn terms(&self, accounts: &Accounts) -> Vec<String> {
        let of = |handle, term: fn(UserId) -> String| {
            accounts.get(handle).map_or_else(|| document::NOTHING.to_owned(), |id| term(*id))
        };
        let term = match self {
            Self::Words(words) => return words.clone(),
            Self::Url(words) => return words.iter().map(|word| document::url(word)).collect(),
            Self::Hashtag(tag) => document::hashtag(tag),
            Self::Cashtag(tag) => document::cashtag(tag),
            Self::Mention(handle) => of(handle, document::mention),
            Self::From(handle) => of(handle, document::from),
            Self::To(handle) => of(handle, document::to),
            Self::RetweetsOf(handle) => of(handle, document::retweets_of),
            Self::Conversation(id) => document::conversation(*id),
            Self::Is(kind) => match kind {
                Kind::Retweet => document::IS_RETWEET,
                Kind::Reply => document::IS_REPLY,
                Kind::Quote => document::IS_QUOTE,
            }
            .to_owned(),
            Self::Has(part) => match part {
                Part::Hashtags => document::HAS_HASHTAGS,
                Part::Cashtags => document::HAS_CASHTAGS,
                Part::Mentions => document::HAS_MENTIONS,
                Part::Links => document::HAS_LINKS,
                Part::Media => document::NOTHING,
            }
            .to_owned(),
        };
        vec![term]
    }
}

impl Pattern {
    /// Whether the document is one of those that are looked for.
    pub(crate) fn matches(&self, document: &Document) -> bool {
        match self {
            Self::Terms(terms) => document.has(terms),
            Self::All(patterns) => patterns.iter().all(|pattern| pattern.matches(document)),
            Self::Any(patterns) => patterns.iter().any(|pattern| pattern.matches(document)),
            Self::Not(pattern) => !pattern.matches(document),
        }
    }

    /// The right side of `MATCH` for FTS5.
    pub(crate) fn fts5(&self) -> String {
        self.in_language(&FTS5)
    }

    /// The text of a `tsquery`.
    pub(crate) fn tsquery(&self) -> String {
        self.in_language(&TSQUERY)
    }

    fn in_language(&self, language: &Language) -> String {
        let mut text = String::new();
        self.write(language, &mut text);
        text
    }

    fn write(&self, language: &Language, text: &mut String) {
        match self {
            Self::Terms(terms) => text.push_str(&(language.phrase)(terms)),
            Self::Any(patterns) => language.join(patterns, language.or, text),
            // What is excluded goes together: FTS5 has no negation but in `this NOT that`.
            Self::All(patterns) => {
                let (mut sought, mut excluded) = (Vec::new(), Vec::new());
                for pattern in patterns {
                    match pattern {
                        Self::Not(pattern) => excluded.push(&**pattern),
                        pattern => sought.push(pattern),
                    }
                }
                language.except(&sought, &excluded, text);
            }
            Self::Not(pattern) => language.except(&[], &[pattern], text),
        }
    }
}

/// How an index wants to be asked. No term holds a quote or a backslash.
struct Language {
    phrase: fn(&[String]) -> String,
    and: &'static str,
    or: &'static str,
    but_not: &'static str,
}

const FTS5: Language = Language {
    phrase: |terms| format!("\"{}\"", terms.join(" ")),
    and: " AND ",
    or: " OR ",
    but_not: " NOT ",
};

const TSQUERY: Language = Language {
    phrase: |terms| format!("('{}')", terms.join("' <-> '")),
    and: " & ",
    or: " | ",
    but_not: " & !",
};

impl Language {
    fn join<'p>(
        &self,
        patterns: impl IntoIterator<Item = &'p Pattern>,
        separator: &str,
        text: &mut String,
    ) {
        text.push('(');
        for (index, pattern) in patterns.into_iter().enumerate() {
            if index > 0 {
                text.push_str(separator);
            }
            pattern.write(self, text);
        }
        text.push(')');
    }

    /// All of `sought`, and none of `excluded`.
    fn except(&self, sought: &[&Pattern], excluded: &[&Pattern], text: &mut String) {
        text.push('(');
        if sought.is_empty() {
            text.push_str(&(self.phrase)(&[document::ANYTHING.to_owned()]));
        } else {
            self.join(sought.iter().copied(), self.and, text);
        }
        if !excluded.is_empty() {
            text.push_str(self.but_not);
            self.join(excluded.iter().copied(), self.or, text);
        }
        text.push(')');
    }
}
