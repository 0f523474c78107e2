//! Words, and tweets made of them.

use crate::system::numbers::{Numbers, Weights};

/// Different words, as many as a person uses in a year of tweets.
const WORDS: usize = 20_000;

/// How much oftener common words come than rare ones: as in natural language (Zipf).
const EXPONENT: f64 = 1.0;

/// Words of a tweet at least, and how many more there may be.
const WORDS_MIN: usize = 6;
const WORDS_MORE: usize = 12;

const SYLLABLES: [&str; 32] = [
    "ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu", "na", "pe", "qui", "ro", "su",
    "ta", "ve", "wi", "xo", "yu", "za", "bre", "cli", "dro", "flu", "gra", "ple", "sti", "tro",
    "sku", "thra", "phe",
];

/// Writes tweets.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    weights: Weights,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self { weights: Weights::power_law(WORDS, EXPONENT) }
    }

    /// A tweet; no two are the same while `serial` differs.
    pub(crate) fn tweet(&self, numbers: &mut Numbers, serial: u64) -> String {
        let count = WORDS_MIN + numbers.below(WORDS_MORE);
        let words = (0..count).map(|_| word(self.weights.pick(numbers)));
        let mut text: Vec<String> = words.collect();
        text.push(format!("n{serial}"));
        text.join(" ")
    }
}

/// The word of a rank, 0 being the commonest; no two are the same.
pub(crate) fn word(rank: usize) -> String {
    let mut rest = rank;
    let mut word = String::new();
    // At least two, so that no common word is a single syllable that others begin with.
    while rest > 0 || word.len() < 4 {
        word += SYLLABLES.get(rest % SYLLABLES.len()).copied().unwrap_or_default();
        rest /= SYLLABLES.len();
    }
    word
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn words_differ_and_tweets_fit() {
        let words: BTreeSet<String> = (0..WORDS).map(word).collect();
        assert_eq!(words.len(), WORDS);
        let writer = Writer::new();
        let mut numbers = Numbers::new(7);
        for serial in 0..1_000 {
            let tweet = writer.tweet(&mut numbers, serial);
            assert!((20..=280).contains(&tweet.len()), "{tweet}");
        }
    }
}
