//! Finds hashtags, mentions and cashtags.
//!
//! Positions are indices into a slice of code points; a span includes the sign in front.

use super::classes::{
    is_at_sign, is_direction_mark, is_hash_sign, is_hashtag_char, is_hashtag_letter,
    is_latin_accent, is_punctuation, is_space,
};

/// The longest handle that a mention can name, in characters.
const HANDLE_CHARS_MAX: usize = 20;

/// The longest name of a list after a handle, in characters.
const LIST_CHARS_MAX: usize = 25;

/// The longest ticker symbol, in letters, and the longest class after its dot.
const TICKER_CHARS_MAX: usize = 6;
const TICKER_CLASS_CHARS_MAX: usize = 2;

/// Where a sign with its word stands, `end` excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// A mention, or one of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mention {
    /// Sign, handle and, for a list, its name.
    pub(super) span: Span,
    /// `@handle/list` names a list, not its owner.
    pub(super) is_list: bool,
}

fn get(text: &[char], at: usize) -> Option<char> {
    text.get(at).copied()
}

fn before(text: &[char], at: usize) -> Option<char> {
    at.checked_sub(1).and_then(|at| get(text, at))
}

/// The end of the run, at most `chars_max` long, of characters for which the test holds.
fn run_end(text: &[char], start: usize, chars_max: usize, holds: impl Fn(char) -> bool) -> usize {
    let run = text.iter().skip(start).take(chars_max);
    start + run.take_while(|&&c| holds(c)).count()
}

fn is_protocol(text: &[char], at: usize) -> bool {
    text.get(at..at + 3).is_some_and(|there| there == [':', '/', '/'])
}

/// Every hashtag, in order.
pub(super) fn hashtags(text: &[char]) -> Vec<Span> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let start = at;
        at += 1;
        if !get(text, start).is_some_and(is_hash_sign) || !is_hashtag_boundary(before(text, start))
        {
            continue;
        }
        // `#️⃣` is an emoji, not a hashtag.
        if matches!(get(text, at), Some('\u{fe0f}' | '\u{20e3}')) {
            continue;
        }
        let end = run_end(text, at, usize::MAX, is_hashtag_char);
        let has_letter = text.iter().take(end).skip(at).any(|&c| is_hashtag_letter(c));
        at = end;
        let follows_on = get(text, end).is_some_and(is_hash_sign) || is_protocol(text, end);
        if has_letter && !follows_on {
            found.push(Span { start, end });
        }
    }
    found
}

fn is_hashtag_boundary(before: Option<char>) -> bool {
    match before {
        // A variation selector is a mark, yet it ends the emoji before the sign.
        None | Some('\u{fe0e}' | '\u{fe0f}') => true,
        Some(c) => c != '&' && !is_hashtag_char(c),
    }
}

/// Every mention of a person or a list, in order.
pub(super) fn mentions(text: &[char]) -> Vec<Mention> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let start = at;
        at += 1;
        if !get(text, start).is_some_and(is_at_sign) || !may_mention_after(text, start) {
            continue;
        }
        let handle_end = run_end(text, at, HANDLE_CHARS_MAX, is_handle_char);
        if handle_end == at {
            continue;
        }
        let end = after_list(text, handle_end);
        at = end;
        let follows_on = get(text, end).is_some_and(|c| is_at_sign(c) || is_latin_accent(c));
        if !follows_on && !is_protocol(text, end) {
            found.push(Mention { span: Span { start, end }, is_list: end > handle_end });
        }
    }
    found
}

fn is_handle_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn after_list(text: &[char], slash: usize) -> usize {
    let starts = get(text, slash) == Some('/')
        && get(text, slash + 1).is_some_and(|c| c.is_ascii_alphabetic());
    if starts {
        run_end(text, slash + 1, LIST_CHARS_MAX, |c| is_handle_char(c) || c == '-')
    } else {
        slash
    }
}

/// An address such as `a@b` mentions no one; `RT@b` does.
fn may_mention_after(text: &[char], at: usize) -> bool {
    let Some(last) = before(text, at) else {
        return true;
    };
    if !(is_handle_char(last) || "!#$%&*@＠".contains(last)) {
        return true;
    }
    let Some(retweet) = at.checked_sub(2) else {
        return false;
    };
    matches!(text.get(retweet..at), Some(['r' | 'R', 't' | 'T']))
        && before(text, retweet)
            .is_none_or(|c| !(is_handle_char(c) || matches!(c, '+' | '~' | '.' | '-')))
}

/// Every cashtag, in order.
pub(super) fn cashtags(text: &[char]) -> Vec<Span> {
    let mut found = Vec::new();
    for (start, _) in text.iter().enumerate().filter(|&(_, &c)| c == '$') {
        let open = before(text, start).is_none_or(|c| is_space(c) || is_direction_mark(c));
        let end = run_end(text, start + 1, TICKER_CHARS_MAX, |c| c.is_ascii_alphabetic());
        if !open || end == start + 1 {
            continue;
        }
        if let Some(end) = ticker_end(text, end) {
            found.push(Span { start, end });
        }
    }
    found
}

/// The end of a symbol whose letters end here: with its class (`BRK.A`) if that ends the word.
fn ticker_end(text: &[char], letters_end: usize) -> Option<usize> {
    let ends_word = |at: usize| get(text, at).is_none_or(|c| is_space(c) || is_punctuation(c));
    if matches!(get(text, letters_end), Some('.' | '_')) {
        let class = letters_end + 1;
        let end = run_end(text, class, TICKER_CLASS_CHARS_MAX, |c| c.is_ascii_alphabetic());
        if end > class && ends_word(end) {
            return Some(end);
        }
    }
    ends_word(letters_end).then_some(letters_end)
}
