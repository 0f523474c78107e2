//! Text without case, for searches.

use unicode_normalization::UnicodeNormalization;

/// The same text for all ways of writing the same, in the form NFKC. Letters are folded one by one,
/// so that the same word is the same whatever stands beside it. By way of upper case, the folding is
/// full: `ß` is `ss`, both forms of the small sigma are one, and so are the Turkish letters `İ`, `i`,
/// `I`, `ı`, for who looks for a Turkish name may not have them on the keyboard.
///
/// ```
/// assert_eq!(pillion_text::fold("İSTANBUL Straße"), "istanbul strasse");
/// ```
pub fn fold(text: &str) -> String {
    let lower = text.nfkc().flat_map(char::to_lowercase);
    let folded = lower.flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfkc();
    let mut after_i = false;
    folded
        .filter(|&c| {
            let is_dot = c == '\u{307}' && after_i;
            after_i = c == 'i' || is_dot;
            !is_dot
        })
        .collect()
}
