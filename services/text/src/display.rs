//! Characters that make a name look like another one, or move what stands around it.

/// Whether a character must not be in a name that is shown to people: a control, one that changes
/// the direction of text, or one that takes no room.
///
/// The list is that of Unicode's `Default_Ignorable_Code_Point`, without the variation selectors
/// that emoji need, with the controls, the separators of lines, and what decides directions
/// (UAX #9).
pub fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i08_what_hides_or_turns_text_is_deceptive_and_what_people_write_is_not() {
        for c in "\0\n\t\u{7f}\u{85}\u{ad}\u{200b}\u{200d}\u{200e}\u{200f}\u{202a}\u{202e}\u{2066}\
                  \u{2069}\u{2060}\u{feff}\u{3164}\u{2028}\u{e0041}"
            .chars()
        {
            assert!(is_deceptive(c), "{:x}", u32::from(c));
        }
        for c in "aZ0 _-.,'\"<>&üßñ漢字かなعربيעברית हिन्दी 🎉❤\u{fe0f}".chars()
        {
            assert!(!is_deceptive(c), "{:x}", u32::from(c));
        }
    }
}
