//! Text that shows nothing.

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// Whether a text shows nothing: it has spaces, controls, and characters of no width and no ink only.
///
/// ```
/// assert!(pillion_text::is_blank(" \u{200b}\u{200f}\n"));
/// assert!(!pillion_text::is_blank("\u{200f}a"));
/// ```
pub fn is_blank(text: &str) -> bool {
    text.chars().all(is_invisible)
}

fn is_invisible(c: char) -> bool {
    use GeneralCategory as Category;
    c.is_whitespace()
        || matches!(
            c.general_category(),
            Category::Control
                | Category::Format
                | Category::SpaceSeparator
                | Category::LineSeparator
                | Category::ParagraphSeparator
        )
        // Letters, marks and symbols without ink: joiners, fillers of Hangul, vowels of Khmer that
        // are not written, selectors of variants, and the Braille cell without dots.
        || matches!(c,
            '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}'
            | '\u{e0100}'..='\u{e01ef}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d09_what_shows_nothing_is_blank() {
        for text in [
            "",
            " ",
            "\n\t",
            "\u{200b}",
            "\u{200f}",
            "\u{200d}\u{fe0f}",
            "\u{3164}",
            "\u{2800}",
            "\u{ad}",
            "\u{2060}\u{2062}",
            "\u{e0041}",
            "\u{3000}\u{202e}",
            "\u{0}",
        ] {
            assert!(is_blank(text), "{text:?}");
        }
        for text in
            ["a", ".", "\u{200b}a", "ا\u{200f}", "👩\u{200d}🚀", "❤\u{fe0f}", "\u{301}", "가"]
        {
            assert!(!is_blank(text), "{text:?}");
        }
    }
}
