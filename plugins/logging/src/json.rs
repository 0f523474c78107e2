//! One JSON object on one line, written into a buffer that is used again.

/// What stands for the rest of a value that was cut.
const ELLIPSIS: &str = "…";

/// An object being written.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Object<'a> {
    /// Begins an object in place of what `out` holds.
    pub(crate) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.clear();
        out.push(b'{');
        Self { out }
    }

    /// Ends the object.
    pub(crate) fn end(self) {
        self.out.push(b'}');
    }

    /// `key` is quoted and followed by a colon, `"status":`: one copy instead of three.
    #[inline]
    fn key(&mut self, key: &'static str) {
        if self.out.len() > 1 {
            self.out.push(b',');
        }
        self.out.extend_from_slice(key.as_bytes());
    }

    /// A string, cut once its text takes `bytes_max`. What is not UTF-8 shows as U+FFFD.
    pub(crate) fn string(&mut self, key: &'static str, value: &[u8], bytes_max: usize) {
        self.key(key);
        self.out.push(b'"');
        escape(self.out, value, bytes_max);
        self.out.push(b'"');
    }

    /// A string, or `null`.
    pub(crate) fn optional(&mut self, key: &'static str, value: Option<&[u8]>, bytes_max: usize) {
        if let Some(value) = value {
            return self.string(key, value, bytes_max);
        }
        self.key(key);
        self.out.extend_from_slice(b"null");
    }

    /// A number.
    pub(crate) fn number(&mut self, key: &'static str, value: u64) {
        /// Digits of `u64::MAX`.
        const DIGITS_MAX: usize = 20;
        self.key(key);
        let mut digits = [b'0'; DIGITS_MAX];
        let mut rest = value;
        let mut used = 1;
        for (place, digit) in digits.iter_mut().rev().enumerate() {
            if rest == 0 {
                break;
            }
            *digit = b"0123456789".get((rest % 10) as usize).copied().unwrap_or(b'0');
            rest /= 10;
            used = place + 1;
        }
        self.out.extend_from_slice(digits.get(DIGITS_MAX - used..).unwrap_or_default());
    }
}

fn escape(out: &mut Vec<u8>, value: &[u8], bytes_max: usize) {
    // Nearly everything is plain ASCII within its bound.
    if value.len() <= bytes_max && is_plain(value) {
        out.extend_from_slice(value);
        return;
    }
    let end = out.len().saturating_add(bytes_max);
    for chunk in value.utf8_chunks() {
        let broken = if chunk.invalid().is_empty() { "" } else { "\u{fffd}" };
        for char in chunk.valid().chars().chain(broken.chars()) {
            if out.len() >= end {
                out.extend_from_slice(ELLIPSIS.as_bytes());
                return;
            }
            escape_char(out, char);
        }
    }
}

/// Whether nothing needs an escape or is beyond ASCII; eight bytes at a time, since every value
/// of every line comes by.
fn is_plain(value: &[u8]) -> bool {
    let (words, rest) = value.as_chunks::<8>();
    let mut last = [b' '; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    words.iter().chain([&last]).all(|word| is_plain_word(u64::from_le_bytes(*word)))
}

/// The same of eight bytes. A byte's highest bit is set in `below` if the byte is below a bound,
/// and possibly in bytes above such a one, which does not matter here.
fn is_plain_word(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHEST: u64 = 0x8080_8080_8080_8080;
    let below = |word: u64, bound: u64| word.wrapping_sub(ONES * bound) & !word;
    let equals = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    let special = below(word, 0x20) | equals(b'"') | equals(b'\\') | equals(0x7f) | word;
    special & HIGHEST == 0
}

fn escape_char(out: &mut Vec<u8>, char: char) {
    match char {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        // They need no escape in JSON, but terminals obey them, and people do not see them.
        _ if is_invisible(char) => {
            let hex = |digit: u16| {
                char::from_digit(u32::from(digit & 0xf), 16).map_or(b'0', |hex| hex as u8)
            };
            for unit in char.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(b"\\u");
                out.extend([12, 8, 4, 0].map(|shift| hex(*unit >> shift)));
            }
        }
        _ => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Whether a character is a control, changes the direction of the text around it, or has no shape
/// of its own: a line that has one looks like another line.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Soft hyphen, grapheme joiner, Arabic letter mark, fillers, Mongolian selectors.
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{3164}' | '\u{ffa0}'
            // Zero width, marks and overrides of direction, line and paragraph separators.
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff0}'..='\u{fffb}'
            // Of musical notation, and tags.
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(write: impl FnOnce(&mut Object<'_>)) -> String {
        let mut out = b"the line before".to_vec();
        let mut object = Object::begin(&mut out);
        write(&mut object);
        object.end();
        String::from_utf8(out).unwrap()
    }

    fn string(value: &[u8], bytes_max: usize) -> String {
        object(|object| object.string("\"a\":", value, bytes_max))
    }

    #[test]
    fn an_object_of_each_kind_of_value() {
        let line = object(|object| {
            object.string("\"a\":", b"x", 9);
            object.optional("\"b\":", None, 9);
            object.number("\"c\":", 7);
        });
        assert_eq!(line, r#"{"a":"x","b":null,"c":7}"#);
        assert_eq!(object(|_| {}), "{}");
    }

    #[test]
    fn numbers_of_every_length() {
        for value in [0, 1, 9, 10, 99, 100, 12_345, 1_000_000, u64::MAX] {
            assert_eq!(
                object(|object| object.number("\"n\":", value)),
                format!("{{\"n\":{value}}}")
            );
        }
    }

    #[test]
    fn what_a_client_sends_cannot_leave_its_string() {
        for value in [
            &b"plain"[..],
            b"\"},{\"status\":200",
            b"back\\slash",
            b"\r\n\0\t\x1b[31m\x7f",
            "caf\u{e9} \u{1f980} \u{85}".as_bytes(),
            b"\xff\xfebroken\xc3",
        ] {
            let line = string(value, 999);
            assert!(!line.bytes().any(|byte| byte < b' ' || byte == 0x7f), "{line}");
            let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(parsed["a"], String::from_utf8_lossy(value).as_ref());
        }
    }

    #[test]
    fn s14_what_is_not_seen_is_escaped() {
        for (sent, shown) in [
            ("a\u{202e}b\u{2066}", r"a\u202eb\u2066"),
            ("\u{200b}\u{feff}\u{85}", r"\u200b\ufeff\u0085"),
            ("\u{e0041}", r"\udb40\udc41"),
            ("caf\u{e9} \u{1f980} \u{5d0}", "caf\u{e9} \u{1f980} \u{5d0}"),
        ] {
            let line = string(sent.as_bytes(), 99);
            assert_eq!(line, format!("{{\"a\":\"{shown}\"}}"));
            let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(parsed["a"], sent);
        }
    }

    #[test]
    fn every_byte_alone_is_valid() {
        for byte in 0..=u8::MAX {
            let parsed: serde_json::Value = serde_json::from_str(&string(&[byte], 9)).unwrap();
            assert_eq!(parsed["a"], String::from_utf8_lossy(&[byte]).as_ref());
        }
    }

    #[test]
    fn plain_is_what_needs_no_escape_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            let expected = matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
            for len in 1..20 {
                for at in 0..len {
                    let mut value = vec![b'~'; len];
                    value[at] = byte;
                    assert_eq!(is_plain(&value), expected, "{byte:#x} at {at} of {len}");
                }
            }
        }
        assert!(is_plain(b""));
    }

    #[test]
    fn a_long_value_is_cut_by_what_it_takes() {
        assert_eq!(string(b"12345", 5), r#"{"a":"12345"}"#);
        assert_eq!(string(b"123456", 5), r#"{"a":"12345…"}"#);
        assert_eq!(string(&[0; 100], 12), r#"{"a":"\u0000\u0000…"}"#);
    }
}
