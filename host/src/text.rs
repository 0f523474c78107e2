//! The one way in which text from a component reaches a person: escaped, and cut.
//!
//! A component chooses its function names, its description, its panics and its configuration
//! errors. Printed as they are they could forge log lines, drive a terminal, or show text in
//! another order than it has.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use serde_json::Value;

/// Bytes that are printed of one item, such as a name, one configuration error or one trap.
pub const ITEM_BYTES_MAX: usize = 256;

/// Bytes that are printed of a whole message that the host made around such items.
pub(crate) const MESSAGE_BYTES_MAX: usize = 2 << 10;

/// Items that are printed of a list.
pub(crate) const ITEMS_MAX: usize = 16;

/// `text` with everything escaped that is not a visible character or a plain space, cut at
/// `bytes_max` bytes of the original; how many bytes were left out is said at the end.
///
/// Escaped are control characters (C0, DEL and C1, so ESC and CSI), line and paragraph
/// separators, and formatting characters that are invisible or change the direction of text: a
/// right-to-left override becomes the nine characters `\u{202e}`. A backslash is left as it is.
#[must_use]
pub fn printable(text: &str, bytes_max: usize) -> Cow<'_, str> {
    let end = text.floor_char_boundary(bytes_max);
    let left_out = text.len() - end;
    let kept = text.get(..end).unwrap_or_default();
    if left_out == 0 && !kept.chars().any(is_unprintable) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(kept.len() + 16);
    escape_into(&mut out, kept, |_| false);
    if left_out > 0 {
        // Writing to a String cannot fail.
        let _ = write!(out, "… ({left_out} more bytes)");
    }
    Cow::Owned(out)
}

/// The items as [`printable`] ones, separated by `separator`, at most [`ITEMS_MAX`] of them; how
/// many were left out is said at the end.
pub(crate) fn printable_list<'a>(
    items: impl ExactSizeIterator<Item = &'a str>,
    separator: &str,
) -> String {
    let left_out = items.len().saturating_sub(ITEMS_MAX);
    let shown: Vec<_> = items.take(ITEMS_MAX).map(|item| printable(item, ITEM_BYTES_MAX)).collect();
    let mut out = shown.join(separator);
    if left_out > 0 {
        let _ = write!(out, "{separator}and {left_out} more");
    }
    out
}

/// A JSON value whose strings and keys are escaped as [`printable`] does, but for line feeds and
/// tabs: JSON escapes those itself. Nothing is cut.
pub(crate) fn printable_json(value: Value) -> Value {
    let clean = |text: String| {
        let layout = |char: char| matches!(char, '\n' | '\t');
        if text.chars().any(|char| is_unprintable(char) && !layout(char)) {
            let mut out = String::with_capacity(text.len() + 16);
            escape_into(&mut out, &text, layout);
            out
        } else {
            text
        }
    };
    match value {
        Value::String(text) => Value::String(clean(text)),
        Value::Array(items) => Value::Array(items.into_iter().map(printable_json).collect()),
        Value::Object(members) => Value::Object(
            members.into_iter().map(|(key, value)| (clean(key), printable_json(value))).collect(),
        ),
        other => other,
    }
}

/// Displays a whole message as [`printable`] text, for messages that hold text of a component.
pub(crate) struct Message<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for Message<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.0.to_string(), MESSAGE_BYTES_MAX))
    }
}

fn escape_into(out: &mut String, text: &str, keep: impl Fn(char) -> bool) {
    for char in text.chars() {
        if is_unprintable(char) && !keep(char) {
            out.extend(char.escape_default());
        } else {
            out.push(char);
        }
    }
}

/// Whether a character is invisible, moves the cursor, or changes how others are shown.
#[must_use]
pub fn is_unprintable(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            // Soft hyphen, Arabic letter mark, Hangul fillers, Mongolian vowel separator.
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{3164}'
            // Zero-width and direction marks, line and paragraph separator, bidi embeddings.
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            // Word joiner, invisible operators, bidi isolates, deprecated formatting.
            | '\u{2060}'..='\u{206f}'
            // Byte order mark, interlinear annotations, tags.
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h03_what_is_invisible_or_moves_the_cursor_is_escaped() {
        for (text, expected) in [
            ("plain text, ünïcode 日本", "plain text, ünïcode 日本"),
            ("a\r\nERROR forged", "a\\r\\nERROR forged"),
            ("\u{1b}[31mred\u{1b}[0m", "\\u{1b}[31mred\\u{1b}[0m"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("a\u{202e}b\u{2066}c\u{200b}d", "a\\u{202e}b\\u{2066}c\\u{200b}d"),
            ("\0\t\u{7f}\u{2028}", "\\u{0}\\t\\u{7f}\\u{2028}"),
        ] {
            assert_eq!(printable(text, ITEM_BYTES_MAX), expected);
        }
    }

    #[test]
    fn h14_long_items_and_lists_are_cut_with_a_count() {
        let cut = printable(&"é".repeat(1_000), 255).into_owned();
        assert_eq!(cut, format!("{}… (1746 more bytes)", "é".repeat(127)));
        let items = vec!["x"; 1_000];
        let list = printable_list(items.iter().copied(), "; ");
        assert_eq!(list, format!("{}and 984 more", "x; ".repeat(ITEMS_MAX)));
    }

    #[test]
    fn h03_json_keeps_its_layout() {
        let json = serde_json::json!({ "a\u{1b}": ["line\nfeed", "\u{9b}1m"], "n": 1 });
        let expected = serde_json::json!({ "a\\u{1b}": ["line\nfeed", "\\u{9b}1m"], "n": 1 });
        assert_eq!(printable_json(json), expected);
    }
}
