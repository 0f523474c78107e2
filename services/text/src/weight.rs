//! Weighs text: what counts against the limit of a tweet.

use unicode_normalization::UnicodeNormalization;
use unicode_properties::UnicodeEmoji;

use super::{classes::is_invalid, url};

/// The heaviest text that a tweet may have, in weight units.
pub const WEIGHTED_LENGTH_MAX: u32 = 280;

/// A link weighs this much whatever its length, in weight units.
const URL_WEIGHT: u32 = 23;

/// Every emoji, and every character outside the light ranges, weighs this much.
const HEAVY: u32 = 2;

/// Characters of the light ranges weigh this much.
const LIGHT: u32 = 1;

/// The longest emoji sequence, in code points: two people with skin tones who kiss.
const EMOJI_CHARS_MAX: usize = 10;

/// What [`weigh`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weighed {
    /// The weight in units, of which a tweet may have [`WEIGHTED_LENGTH_MAX`].
    pub weighted_length: u32,
    /// The weight in thousandths of the limit, rounded down: 1000 is a full tweet.
    pub permillage: u32,
    /// Whether a tweet may have this text: neither empty nor too heavy, and free of byte order
    /// marks and non-characters.
    pub valid: bool,
}

/// Weighs a text in its composed form (NFC): Latin and most alphabetic scripts count one a
/// character, everything else two, an emoji two however many code points it joins, a link 23.
///
/// ```
/// use pillion_text::weigh;
///
/// assert_eq!(weigh("café").weighted_length, 4);
/// assert_eq!(weigh("日本").weighted_length, 4);
/// assert_eq!(weigh("https://example.com/a/rather/long/path").weighted_length, 23);
/// assert!(!weigh(&"a".repeat(281)).valid);
/// ```
pub fn weigh(text: &str) -> Weighed {
    let text: Vec<char> = text.nfc().collect();
    let mut links = url::find(&text).into_iter().peekable();
    let mut weighted_length: u32 = 0;
    let mut at = 0;
    while let Some(&c) = text.get(at) {
        let (weight, chars) = match links.next_if(|link| link.start == at) {
            Some(link) => (URL_WEIGHT, link.end - link.start),
            None => weigh_character(&text, at, c),
        };
        weighted_length = weighted_length.saturating_add(weight);
        at += chars;
    }
    let permillage = u64::from(weighted_length) * 1000 / u64::from(WEIGHTED_LENGTH_MAX);
    Weighed {
        weighted_length,
        permillage: u32::try_from(permillage).unwrap_or(u32::MAX),
        valid: (1..=WEIGHTED_LENGTH_MAX).contains(&weighted_length)
            && !text.iter().copied().any(is_invalid),
    }
}

/// The weight of the emoji or character at an index, and how many code points it takes.
fn weigh_character(text: &[char], at: usize, c: char) -> (u32, usize) {
    match emoji_chars(text, at) {
        Some(chars) => (HEAVY, chars),
        None => (character_weight(c), 1),
    }
}

fn character_weight(c: char) -> u32 {
    match u32::from(c) {
        0..=4351 | 8192..=8205 | 8208..=8223 | 8242..=8247 => LIGHT,
        _ => HEAVY,
    }
}

/// The number of code points of the longest emoji sequence that starts at an index.
///
/// Only sequences that Unicode recommends count as one: an unbounded chain of joined emoji would
/// otherwise weigh two.
pub(crate) fn emoji_chars(text: &[char], at: usize) -> Option<usize> {
    let first = *text.get(at)?;
    if !first.is_emoji_char() {
        return None;
    }
    let longest = EMOJI_CHARS_MAX.min(text.len() - at);
    let chars = (1..=longest).rev().find(|chars| {
        let sequence: String = text.iter().skip(at).take(*chars).collect();
        emojis::get(&sequence).is_some()
    })?;
    // `©` is a letter-like sign unless a variation selector asks for the emoji.
    (chars > 1 || character_weight(first) == HEAVY).then_some(chars)
}
