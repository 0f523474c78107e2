//! Characters that make a name look like another one, or a line of a log like something else:
//! controls, direction overrides, and what takes no space.

use crate::weight::emoji_chars;

/// Whether a character is a control, changes the direction of the text around it, or has no shape
/// of its own. Where people or programs read lines, it is written as an escape.
///
/// ```
/// assert!(pillion_text::is_invisible('\u{202e}'));
/// assert!(!pillion_text::is_invisible('é'));
/// ```
pub fn is_invisible(c: char) -> bool {
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

/// The first character that must not stand in a name by which people recognize somebody, or decide
/// whom to trust; `None` for a name that is fine.
///
/// Emoji sequences may have their joiners and tags, and words of scripts that need them theirs.
///
/// ```
/// use pillion_text::unsafe_display_char;
///
/// assert_eq!(unsafe_display_char("\u{202e}knaB"), Some('\u{202e}'));
/// assert_eq!(unsafe_display_char("Zoë 👩‍🚀"), None);
/// ```
pub fn unsafe_display_char(name: &str) -> Option<char> {
    let chars: Vec<char> = name.chars().collect();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        match emoji_chars(&chars, at) {
            Some(count) => at += count.max(1),
            None if is_invisible(c) && !joins_letters(&chars, at) => return Some(c),
            None => at += 1,
        }
    }
    None
}

/// Whether a zero-width joiner or non-joiner stands within a word, as in Persian and Hindi.
fn joins_letters(chars: &[char], at: usize) -> bool {
    let is_joiner = matches!(chars.get(at), Some('\u{200c}' | '\u{200d}'));
    // Between letters of Latin, Greek and Cyrillic it does nothing but make words look alike.
    let needs_it = |at: Option<usize>| {
        let c = at.and_then(|at| chars.get(at));
        // Vowel signs and the virama are marks, not letters.
        c.is_some_and(|c| ('\u{600}'..='\u{109f}').contains(c) && !is_invisible(*c))
    };
    is_joiner && needs_it(at.checked_sub(1)) && needs_it(at.checked_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s14_names_that_look_like_others_are_refused() {
        for name in [
            "\u{202e}knaB",
            "a\u{2066}b",
            "a\u{200b}b",
            "\u{feff}a",
            "a\u{200d}b",
            "a\u{200c}b",
            "a\u{ad}b",
            "a\u{85}b",
            "a\nb",
            "\u{3164}",
            "a\u{e0041}b",
            "\u{200f}",
            "👩\u{200d}",
            "\u{200d}🚀",
            "a\u{2060}",
            "\u{7f}",
            "a\u{2028}b",
            "ب\u{200c}",
            "\u{61c}ا",
        ] {
            let found = unsafe_display_char(name);
            assert!(found.is_some_and(is_invisible), "{name:?}: {found:?}");
        }
    }

    #[test]
    fn s14_names_of_all_scripts_are_not() {
        for name in [
            "Zoë",
            "Ζωή",
            "Зоя",
            "מיכל",
            "محمد",
            "می\u{200c}خواهم",
            "क्\u{200d}ष",
            "木村",
            "김철수",
            "👩‍🚀",
            "👨‍👩‍👧‍👦",
            "🏳️‍🌈",
            "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
            "❤️",
            "1️⃣",
            "a b",
            "O’Neil",
            "",
            "e\u{301}",
        ] {
            assert_eq!(unsafe_display_char(name), None, "{name:?}");
        }
    }
}
