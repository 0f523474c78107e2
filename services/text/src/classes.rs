//! The character classes that decide where links, hashtags, mentions and cashtags begin and end.

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// A letter in any script, or a mark that combines with one.
pub(super) fn is_hashtag_letter(c: char) -> bool {
    use GeneralCategory as Category;
    c.is_ascii_alphabetic()
        || matches!(
            c.general_category(),
            Category::UppercaseLetter
                | Category::LowercaseLetter
                | Category::TitlecaseLetter
                | Category::ModifierLetter
                | Category::OtherLetter
                | Category::NonspacingMark
                | Category::SpacingMark
                | Category::EnclosingMark
        )
}

/// What a hashtag may consist of: letters, marks, decimal digits, the underscore and the few
/// joiners and dots without which words of some scripts would be cut.
pub(super) fn is_hashtag_char(c: char) -> bool {
    const JOINERS: [char; 16] = [
        '_', '\u{200c}', '\u{200d}', '\u{a67e}', '\u{5be}', '\u{5f3}', '\u{5f4}', '\u{ff5e}',
        '\u{301c}', '\u{309b}', '\u{309c}', '\u{30a0}', '\u{30fb}', '\u{3003}', '\u{f0b}',
        '\u{f0c}',
    ];
    is_hashtag_letter(c)
        || c.general_category() == GeneralCategory::DecimalNumber
        || c == '\u{b7}'
        || JOINERS.contains(&c)
}

/// `#`, or its full-width form.
pub(super) fn is_hash_sign(c: char) -> bool {
    matches!(c, '#' | '＃')
}

/// `@`, or its full-width form.
pub(super) fn is_at_sign(c: char) -> bool {
    matches!(c, '@' | '＠')
}

/// Latin letters with accents, and the marks that combine into them.
pub(super) fn is_latin_accent(c: char) -> bool {
    matches!(c,
        '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{24f}'
        | '\u{253}' | '\u{254}' | '\u{256}' | '\u{257}' | '\u{259}' | '\u{25b}' | '\u{263}'
        | '\u{268}' | '\u{26f}' | '\u{272}' | '\u{289}' | '\u{28b}' | '\u{2bb}'
        | '\u{300}'..='\u{36f}' | '\u{1e00}'..='\u{1eff}')
}

/// ASCII punctuation that ends a domain and may follow a cashtag.
pub(super) fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation() && !matches!(c, '"' | '`')
}

/// White space that separates words.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || c == '\u{180e}'
}

/// Marks that switch the direction of writing.
pub(super) fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Characters that no text may contain: byte order marks and non-characters.
pub(super) fn is_invalid(c: char) -> bool {
    matches!(c, '\u{fffe}' | '\u{feff}' | '\u{ffff}')
}

/// What a label of a domain may consist of, apart from `-` and `_` in its middle.
pub(super) fn is_domain_char(c: char) -> bool {
    !(is_punctuation(c) || is_space(c) || is_invalid(c) || is_direction_mark(c))
}

/// What a domain without a protocol may consist of.
pub(super) fn is_plain_domain_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || is_latin_accent(c)
}

/// Cyrillic, which paths may hold unencoded.
fn is_cyrillic(c: char) -> bool {
    matches!(c, '\u{400}'..='\u{4ff}')
}

/// What the path of a link may consist of; parentheses only in balanced groups.
pub(super) fn is_path_char(c: char) -> bool {
    is_path_end(c) || "!*';:,.$%[]\u{2013}~@|&".contains(c)
}

/// What the path of a link may end in, so that punctuation after it stays outside.
pub(super) fn is_path_end(c: char) -> bool {
    c.is_ascii_alphanumeric() || is_cyrillic(c) || is_latin_accent(c) || "+-=_#/".contains(c)
}

/// What the query of a link may consist of.
pub(super) fn is_query_char(c: char) -> bool {
    is_query_end(c) || "!?*'@();:+$%[].,~|".contains(c)
}

/// What the query of a link may end in.
pub(super) fn is_query_end(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_&=#/".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashtags_take_letters_marks_and_digits_of_any_script() {
        for c in ['a', 'É', 'я', '語', 'ก', '\u{e31}', '٣', '7', '_', '\u{b7}', '\u{30fb}'] {
            assert!(is_hashtag_char(c), "{c}");
        }
        for c in [' ', '-', '.', '#', '&', '!', '😀', '½'] {
            assert!(!is_hashtag_char(c), "{c}");
        }
        assert!(!is_hashtag_letter('7'));
        assert!(!is_hashtag_letter('_'));
    }

    #[test]
    fn punctuation_ends_a_domain_and_letters_do_not() {
        for c in ['.', ',', '/', '@', '~', '\\', ' ', '\u{3000}', '\u{202a}', '\u{feff}'] {
            assert!(!is_domain_char(c), "{c:?}");
        }
        for c in ['a', '9', 'ü', '語'] {
            assert!(is_domain_char(c), "{c}");
        }
    }

    #[test]
    fn a_path_ends_in_a_letter_but_not_in_a_full_stop() {
        assert!(is_path_char('.') && !is_path_end('.'));
        assert!(is_path_char('ж') && is_path_end('ж'));
        assert!(!is_path_char('?') && !is_path_char('('));
    }
}
