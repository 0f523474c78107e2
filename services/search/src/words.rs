//! Takes texts apart into words, the same way for tweets and for queries.
//!
//! Both back ends index the words that are made here as they are, so that search, counts and
//! streams never disagree on what a word is. A word holds no ASCII but lower-case letters,
//! digits and `_`, and no space; other signs mark terms that are not words.

use pillion_text::fold;
use unicode_properties::{GeneralCategoryGroup, UnicodeEmoji, UnicodeGeneralCategory};

/// What of a longer word counts. `PostgreSQL` takes terms of 2,046 bytes; a character takes four.
const WORD_CHARS_MAX: usize = 256;

/// The words of a text, in its order: without case, in the form NFKC, split at everything that is
/// no letter, mark, digit or `_`. An emoji is a word. So is each character of the scripts that do
/// not put spaces between words, or not between a word and its endings: Chinese, Japanese, Thai,
/// Lao, Khmer, Burmese, Korean. A word of these is looked for as the characters that it has, one
/// right after the other, wherever it stands; so nothing has to know where words end.
pub(crate) fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut word = Word::default();
    let mut joins = false;
    for c in fold(text).chars().filter(|&c| !is_ignored(c)) {
        if joins_cluster(&mut joins, c) {
            if let Some(cluster) = words.last_mut().filter(|it| it.chars().count() < WORD_CHARS_MAX)
            {
                cluster.push(c);
            }
        } else if is_word_by_itself(c) || is_base_of_cluster(c) {
            word.end(&mut words);
            words.push(c.to_string());
        } else if is_word_char(c) {
            word.push(c);
        } else {
            word.end(&mut words);
        }
    }
    word.end(&mut words);
    words
}

/// A hashtag or the like as one word, whatever it holds; empty when nothing of it counts.
pub(crate) fn as_word(text: &str) -> String {
    let kept = |c: &char| !is_ignored(*c) && (is_word_char(*c) || is_word_by_itself(*c));
    fold(text).chars().filter(kept).take(WORD_CHARS_MAX).collect()
}

fn is_word_char(c: char) -> bool {
    c == '_'
        || c.is_ascii_lowercase()
        || c.is_ascii_digit()
        || (!c.is_ascii()
            && (c.is_alphanumeric() || c.general_category_group() == GeneralCategoryGroup::Mark))
}

/// Emoji, kana, ideographs and syllables of Hangul.
fn is_word_by_itself(c: char) -> bool {
    matches!(c,
        '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30fa}' | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
        || (!c.is_ascii() && !c.is_alphanumeric() && c.is_emoji_char())
}

/// Letters of the scripts without spaces whose vowels and tones are marks: one of these with its
/// marks is a word.
fn is_base_of_cluster(c: char) -> bool {
    is_unspaced(c) && c.general_category_group() != GeneralCategoryGroup::Mark
}

/// Thai, Lao, Khmer and Burmese, without their punctuation and digits.
fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{e01}'..='\u{e3a}' | '\u{e40}'..='\u{e4e}' | '\u{e81}'..='\u{ece}'
        | '\u{edc}'..='\u{edf}' | '\u{1000}'..='\u{103f}' | '\u{1050}'..='\u{108f}'
        | '\u{109a}'..='\u{109f}' | '\u{1780}'..='\u{17d3}' | '\u{17dc}' | '\u{17dd}'
        | '\u{a9e0}'..='\u{a9ef}' | '\u{a9fa}'..='\u{a9fe}' | '\u{aa60}'..='\u{aa76}'
        | '\u{aa7a}'..='\u{aa7f}')
        && (c.is_alphanumeric() || c.general_category_group() == GeneralCategoryGroup::Mark)
}

/// Whether the character belongs to the cluster before it, which `joins` says there is.
fn joins_cluster(joins: &mut bool, c: char) -> bool {
    let is_mark = c.general_category_group() == GeneralCategoryGroup::Mark;
    let joined = *joins && is_mark && is_unspaced(c);
    *joins = joined || is_base_of_cluster(c);
    joined
}

/// What joins or dresses up the characters beside it, and is not looked for: joiners, the soft
/// hyphen, selectors of a presentation, the frame of a key, the letters in flags of regions.
fn is_ignored(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{200c}' | '\u{200d}' | '\u{20e3}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{e0020}'..='\u{e007f}' | '\u{e0100}'..='\u{e01ef}')
}

/// A word under construction.
#[derive(Default)]
struct Word {
    text: String,
    chars: usize,
}

impl Word {
    fn push(&mut self, c: char) {
        self.chars += 1;
        if self.chars <= WORD_CHARS_MAX {
            self.text.push(c);
        }
    }

    fn end(&mut self, words: &mut Vec<String>) {
        let Self { text, .. } = std::mem::take(self);
        if !text.is_empty() {
            words.push(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_end_at_punctuation_and_symbols() {
        for (text, expected) in [
            ("I like coca-cola", vec!["i", "like", "coca", "cola"]),
            ("don't #NoSchool @jack_d", vec!["don", "t", "noschool", "jack_d"]),
            ("3.14 = π!", vec!["3", "14", "π"]),
            ("Ｆｕｌｌ ﬁne Ⅻ", vec!["full", "fine", "xii"]),
            ("cafe\u{301} CAFÉ", vec!["café", "café"]),
            ("ΟΔΟΣ οδός.α", vec!["οδοσ", "οδόσ", "α"]),
            ("İstanbul İSTANBUL i\u{307}stanbul ıstanbul", vec!["istanbul"; 4]),
            ("Straße STRASSE STRAẞE", vec!["strasse"; 3]),
            ("東京タワー kana", vec!["東", "京", "タ", "ワ", "ー", "kana"]),
            ("สวัสดี abc", vec!["ส", "วั", "ส", "ดี", "abc"]),
            ("한글은 좋다", vec!["한", "글", "은", "좋", "다"]),
            ("ສະບາຍດີ", vec!["ສ", "ະ", "ບ", "າ", "ຍ", "ດີ"]),
            ("ខ្ញុំ", vec!["ខ្", "ញុំ"]),
            ("မြန်မာ", vec!["မြ", "န်", "မာ"]),
            ("hi😀👍🏽 ❤️", vec!["hi", "😀", "👍", "🏽", "❤"]),
            ("👩\u{200d}🚀1\u{fe0f}\u{20e3}", vec!["👩", "🚀", "1"]),
            ("\0<a>'\\\"", vec!["a"]),
            ("…!?", vec![]),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn a_long_word_counts_by_its_beginning() {
        let long = "a".repeat(300);
        assert_eq!(words(&format!("{long} b")), [&long[..256], "b"]);
        assert_eq!(as_word(&long), long[..256]);
    }

    #[test]
    fn a_tag_is_one_word() {
        assert_eq!(as_word("NoSchool"), "noschool");
        assert_eq!(as_word("東京"), "東京");
        assert_eq!(
            as_word("\u{fdfb}\u{b7}a"),
            "\u{62c}\u{644}\u{62c}\u{644}\u{627}\u{644}\u{647}a"
        );
        assert_eq!(as_word("\u{309b}"), "\u{3099}");
    }

    proptest! {
        #[test]
        fn words_are_words_and_hold_nothing_that_an_index_takes_for_something_else(
            text in "\\PC{0,40}|[a-zA-Z '\".:#σΣς]{0,20}|\\p{Any}{0,20}"
        ) {
            let found = words(&text);
            for word in &found {
                prop_assert!(!word.is_empty());
                prop_assert!(word.chars().all(|c| {
                    !c.is_whitespace()
                        && (!c.is_ascii() || matches!(c, 'a'..='z' | '0'..='9' | '_'))
                }), "{word:?}");
            }
            prop_assert_eq!(words(&found.join(" ")), found);
        }
    }
}
