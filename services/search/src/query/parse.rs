//! Reads a query: recursive descent over its characters.
//!
//! ```text
//! any   = all *( "OR" all )
//! all   = 1*not                      separated by spaces
//! not   = [ "-" ] item
//! item  = "(" any ")" | term
//! term  = word | phrase | "#" tag | "$" ticker | "@" handle | operator ":" ( value | phrase )
//! ```

use super::{DEPTH_MAX, Handle, Kind, Part, Query, QueryError, TERMS_MAX, Term};
use crate::words::{as_word, words};

/// The longest handle, and longer than any id.
const HANDLE_CHARS_MAX: usize = 20;

/// The operators that X has and that cannot be answered here, with the reason.
const UNAVAILABLE: [(&str, &str); 24] = [
    ("lang", "the language of tweets is not recognised here"),
    ("min_likes", "the index does not follow counts"),
    ("min_retweets", "the index does not follow counts"),
    ("min_replies", "the index does not follow counts"),
    ("min_faves", "the index does not follow counts"),
    ("min_quotes", "the index does not follow counts"),
    ("list", "there are no lists here"),
    ("followers_count", "the index does not follow counts"),
    ("following_count", "the index does not follow counts"),
    ("tweets_count", "the index does not follow counts"),
    ("listed_count", "there are no lists here"),
    ("context", "tweets are not annotated here"),
    ("entity", "tweets are not annotated here"),
    ("place", "tweets have no places here"),
    ("place_country", "tweets have no places here"),
    ("point_radius", "tweets have no places here"),
    ("bounding_box", "tweets have no places here"),
    ("bio", "the index does not follow profiles"),
    ("bio_name", "the index does not follow profiles"),
    ("bio_location", "the index does not follow profiles"),
    ("url_title", "the pages behind links are not read"),
    ("url_description", "the pages behind links are not read"),
    ("source", "the index does not follow clients"),
    ("sample", "the sampled stream has a route of its own"),
];
/// The operators that there are.
const AVAILABLE: &str = "from, to, retweets_of, conversation_id, url, is, has";

/// Reads a query of at most `chars_max` characters that some term narrows down.
pub(crate) fn parse(text: &str, chars_max: usize) -> Result<Query, QueryError> {
    let chars = text.chars().count();
    if chars > chars_max {
        let message = format!("the query has {chars} characters and may have {chars_max}");
        return Err(QueryError::at(chars_max, message));
    }
    let parsed = parse_any(text)?;
    match parsed.broad {
        None => Ok(parsed.query),
        Some(Broad { index, message }) => Err(QueryError::at(index, message)),
    }
}

/// Reads what has the form of a query, whether or not it may stand alone.
pub(super) fn parse_any(text: &str) -> Result<Parsed, QueryError> {
    let mut parser = Parser { chars: text.chars().collect(), at: 0, depth: 0, terms: 0 };
    parser.skip_spaces();
    if parser.peek().is_none() {
        return Err(parser.error("the query is empty; expected a word or an operator"));
    }
    let parsed = parser.any()?;
    if parser.peek().is_some() {
        // The descent stops before the end at nothing else.
        return Err(parser.error("this `)` closes no bracket; remove it or open one with `(`"));
    }
    Ok(parsed)
}

/// A part of a query, and whether it narrows anything down.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) query: Query,
    /// Why it may not be a query by itself.
    broad: Option<Broad>,
}

#[derive(Debug)]
struct Broad {
    index: usize,
    message: String,
}

struct Parser {
    chars: Vec<char>,
    at: usize,
    /// Open brackets.
    depth: usize,
    /// Words and operators so far.
    terms: usize,
}

impl Parser {
    fn any(&mut self) -> Result<Parsed, QueryError> {
        let mut parts = vec![self.all()?];
        while self.peek_run() == "OR" {
            self.at += 2;
            self.skip_spaces();
            if self.at_end_of_group() {
                return Err(self.error(format!(
                    "`OR` has nothing on its right: expected a word or an operator, found {}",
                    self.found()
                )));
            }
            parts.push(self.all()?);
        }
        // Whichever matches is enough, so each of them must be narrow.
        Ok(combine(parts, Query::Any, |broad| broad.into_iter().flatten().next()))
    }

    fn all(&mut self) -> Result<Parsed, QueryError> {
        let mut parts = Vec::new();
        while !self.at_end_of_group() {
            if self.peek_run() == "OR" {
                if parts.is_empty() {
                    return Err(self.error(
                        "`OR` has nothing on its left: expected a word or an operator; to look \
                         for the word, write \"or\" with quotes",
                    ));
                }
                break;
            }
            parts.push(self.not()?);
            self.skip_spaces();
        }
        // All must match, so one that is narrow is enough.
        Ok(combine(parts, Query::All, |broad| {
            let mut first = None;
            for broad in broad {
                let broad = broad?;
                first.get_or_insert(broad);
            }
            first
        }))
    }

    fn not(&mut self) -> Result<Parsed, QueryError> {
        let index = self.at;
        if self.peek() != Some('-') {
            return self.item();
        }
        self.at += 1;
        if self.at_end_of_group() || self.peek().is_some_and(char::is_whitespace) {
            return Err(self.error(format!(
                "`-` must stand right before what it excludes, found {}",
                self.found()
            )));
        }
        if self.peek() == Some('-') || self.peek_run() == "OR" {
            return Err(self.error("expected a word, an operator or `(` after `-`"));
        }
        let excluded = self.item()?;
        let message = "only what is excluded is given: add a term without `-` that says what to \
                       look for";
        Ok(Parsed {
            query: Query::Not(Box::new(excluded.query)),
            broad: Some(Broad { index, message: message.to_owned() }),
        })
    }

    fn item(&mut self) -> Result<Parsed, QueryError> {
        if self.peek() == Some('(') { self.group() } else { self.term() }
    }

    fn group(&mut self) -> Result<Parsed, QueryError> {
        let open = self.at;
        self.at += 1;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(QueryError::at(
                open,
                format!("there are more than {DEPTH_MAX} brackets in each other"),
            ));
        }
        self.skip_spaces();
        if self.peek() == Some(')') {
            return Err(QueryError::at(
                open,
                "there is nothing in these brackets: expected a word or an operator",
            ));
        }
        let unclosed = QueryError::at(open, "this `(` is never closed; add a `)`");
        if self.peek().is_none() {
            return Err(unclosed);
        }
        let parsed = self.any()?;
        if self.peek() != Some(')') {
            return Err(unclosed);
        }
        self.at += 1;
        self.depth -= 1;
        Ok(parsed)
    }

    fn term(&mut self) -> Result<Parsed, QueryError> {
        let index = self.at;
        let term = match self.peek() {
            Some('"') => {
                let phrase = self.phrase()?;
                Term::Words(words_of(index, &phrase)?)
            }
            _ => self.run_term()?,
        };
        self.terms += term.weight();
        if self.terms > TERMS_MAX {
            return Err(QueryError::at(
                index,
                format!("there are more than {TERMS_MAX} words and operators"),
            ));
        }
        let message = || {
            format!(
                "`{term}` cannot stand alone: add a term that says what to look for, such as a \
                 word, #hashtag or from:"
            )
        };
        let broad = (!term.is_standalone()).then(|| Broad { index, message: message() });
        Ok(Parsed { query: Query::Term(term), broad })
    }

    /// A term that does not begin with a quote.
    fn run_term(&mut self) -> Result<Term, QueryError> {
        let index = self.at;
        let run = self.peek_run();
        self.at += run.chars().count();
        if let Some(tag) = run.strip_prefix('#') {
            return hashtag(index, tag);
        }
        if let Some(handle) = run.strip_prefix('@') {
            return handle_of(index, "@", handle).map(Term::Mention);
        }
        if let Some(ticker) = run.strip_prefix('$').filter(|ticker| is_ticker(ticker)) {
            return Ok(Term::Cashtag(ticker.to_ascii_lowercase()));
        }
        if let Some((name, value)) = run.split_once(':')
            && !name.is_empty()
            && name.chars().all(|c| c.is_ascii_alphabetic() || c == '_')
        {
            return self.operator(index, name, value);
        }
        if ["or", "and"].contains(&run.to_ascii_lowercase().as_str()) {
            return Err(QueryError::at(
                index,
                format!(
                    "`{run}` may be meant as a word or to join: put a space between terms that \
                     must all match, `OR` between those of which one is enough, or write \
                     \"{run}\" with quotes to look for the word"
                ),
            ));
        }
        words_of(index, &run).map(Term::Words)
    }

    fn operator(&mut self, index: usize, name: &str, value: &str) -> Result<Term, QueryError> {
        let name = name.to_ascii_lowercase();
        if let Some((_, why)) = UNAVAILABLE.iter().find(|(known, _)| *known == name) {
            let message = format!("the operator `{name}:` is not available: {why}");
            return Err(QueryError::at(index, message));
        }
        if !AVAILABLE.split(", ").any(|known| known == name) {
            return Err(QueryError::at(
                index,
                format!(
                    "there is no operator `{name}:`; there are {AVAILABLE}. To look for the text, \
                     write it with quotes; for a link, url:\"…\""
                ),
            ));
        }
        let value_index = self.at - value.chars().count();
        let value = match (value, self.peek()) {
            ("", Some('"')) => self.phrase()?,
            ("", _) => {
                return Err(self.error(format!(
                    "`{name}:` needs a value right after the colon, found {}",
                    self.found()
                )));
            }
            (value, _) => value.to_owned(),
        };
        let before = format!("{name}:");
        match name.as_str() {
            "from" => handle_of(value_index, &before, &value).map(Term::From),
            "to" => handle_of(value_index, &before, &value).map(Term::To),
            "retweets_of" => handle_of(value_index, &before, &value).map(Term::RetweetsOf),
            "conversation_id" => value.parse().map(Term::Conversation).map_err(|_| {
                bad_value(value_index, &before, "a tweet's id, 1 to 19 digits", &value)
            }),
            "url" => words_of(value_index, &value).map(Term::Url),
            "is" => {
                let kind =
                    Kind::ALL.into_iter().find(|kind| value.eq_ignore_ascii_case(kind.name()));
                kind.map(Term::Is).ok_or_else(|| {
                    bad_value(value_index, &before, "retweet, reply or quote", &value)
                })
            }
            _ => {
                let part =
                    Part::ALL.into_iter().find(|part| value.eq_ignore_ascii_case(part.name()));
                part.map(Term::Has).ok_or_else(|| {
                    let expected = "hashtags, cashtags, mentions, links or media";
                    bad_value(value_index, &before, expected, &value)
                })
            }
        }
    }

    /// The text between the quote here and the next one.
    fn phrase(&mut self) -> Result<String, QueryError> {
        let open = self.at;
        self.at += 1;
        let text: String = self.rest().iter().take_while(|&&c| c != '"').collect();
        self.at += text.chars().count();
        if self.peek().is_none() {
            return Err(QueryError::at(open, "this quote is never closed; add a `\"`"));
        }
        self.at += 1;
        Ok(text)
    }

    /// The characters up to a space, a bracket or a quote.
    fn peek_run(&self) -> String {
        let in_run = |c: &&char| !c.is_whitespace() && !matches!(c, '(' | ')' | '"');
        self.rest().iter().take_while(in_run).collect()
    }

    fn at_end_of_group(&self) -> bool {
        matches!(self.peek(), None | Some(')'))
    }

    fn rest(&self) -> &[char] {
        self.chars.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn skip_spaces(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    /// What stands here, for messages.
    fn found(&self) -> String {
        match self.peek() {
            None => "the end".to_owned(),
            Some(c) if c.is_whitespace() => "a space".to_owned(),
            Some(c) => format!("`{c}`"),
        }
    }

    fn error(&self, message: impl Into<String>) -> QueryError {
        QueryError::at(self.at, message)
    }
}

/// The parts as one, and why it is too broad, if it is.
fn combine(
    mut parts: Vec<Parsed>,
    make: impl FnOnce(Vec<Query>) -> Query,
    broad: impl FnOnce(Vec<Option<Broad>>) -> Option<Broad>,
) -> Parsed {
    match (parts.pop(), parts.is_empty()) {
        (Some(only), true) => only,
        (last, _) => {
            parts.extend(last);
            let (queries, reasons): (Vec<_>, Vec<_>) =
                parts.into_iter().map(|part| (part.query, part.broad)).unzip();
            Parsed { query: make(queries), broad: broad(reasons) }
        }
    }
}

fn hashtag(index: usize, tag: &str) -> Result<Term, QueryError> {
    let word = as_word(tag);
    let is_tag = tag.chars().all(|c| !c.is_ascii() || c.is_ascii_alphanumeric() || c == '_');
    if word.is_empty() || !is_tag {
        return Err(QueryError::at(
            index,
            format!("`#{tag}` is no hashtag: expected letters, digits and `_` after `#`"),
        ));
    }
    Ok(Term::Hashtag(word))
}

fn handle_of(index: usize, before: &str, handle: &str) -> Result<Handle, QueryError> {
    let is_handle = (1..=HANDLE_CHARS_MAX).contains(&handle.len())
        && handle.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !is_handle {
        return Err(QueryError::at(
            index,
            format!(
                "`{before}` needs a handle without `@`, or a user's id: 1 to \
                 {HANDLE_CHARS_MAX} of a-z, 0-9 and `_`, found `{handle}`"
            ),
        ));
    }
    Ok(Handle(handle.to_ascii_lowercase()))
}

fn words_of(index: usize, text: &str) -> Result<Vec<String>, QueryError> {
    let words = words(text);
    if words.is_empty() {
        return Err(QueryError::at(
            index,
            format!("there is nothing to look for in `{text}`: expected a letter, digit or emoji"),
        ));
    }
    Ok(words)
}

fn bad_value(index: usize, before: &str, expected: &str, found: &str) -> QueryError {
    QueryError::at(index, format!("`{before}` needs {expected}, found `{found}`"))
}

/// A ticker symbol, with its class if it has one: `BRK.A`.
fn is_ticker(text: &str) -> bool {
    const SYMBOL_CHARS_MAX: usize = 6;
    const CLASS_CHARS_MAX: usize = 2;
    let is_symbol = |text: &str, chars_max: usize| {
        (1..=chars_max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphabetic())
    };
    match text.split_once(['.', '_']) {
        Some((symbol, class)) => {
            is_symbol(symbol, SYMBOL_CHARS_MAX) && is_symbol(class, CLASS_CHARS_MAX)
        }
        None => is_symbol(text, SYMBOL_CHARS_MAX),
    }
}
