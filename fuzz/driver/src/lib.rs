//! Runs fuzz targets as ordinary tests: over a committed corpus, and over random mutations of it.
//!
//! A target is a function of bytes that panics when something does not hold; it lives beside the
//! code that it is about, in the module `fuzz` of its crate. Its corpus is `fuzz/corpus/NAME.txt`:
//! one input a line, with the escapes of Rust's byte strings.
//!
//! The mutations are the same in every run, for [`run`] begins with the same seed; how many there
//! are depends on the time. `PILLION_FUZZ_MS` is the time for each target, and `PILLION_FUZZ_SEED`
//! another seed. `cargo xtask soak fuzz [SECONDS]` sets both.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a target runs unless the environment says otherwise: a suite has some ten of them.
const TIME_DEFAULT: Duration = Duration::from_millis(700);

/// The longest input that is made: parsers' limits are met, and a run has many inputs.
const INPUT_BYTES_MAX: usize = 4096;

/// Runs a target over its corpus and its mutations, and says which input it did not bear.
///
/// # Panics
/// If the target does, or if there is no corpus.
pub fn run(name: &str, mut target: impl FnMut(&[u8])) {
    let corpus = corpus(name);
    assert!(!corpus.is_empty(), "fuzz/corpus/{name}.txt is missing or empty");
    for input in &corpus {
        check(name, &mut target, input);
    }
    let time = number("PILLION_FUZZ_MS").map_or(TIME_DEFAULT, Duration::from_millis);
    let mut mutations = Mutations::new(number("PILLION_FUZZ_SEED").unwrap_or(1), &corpus);
    let began = Instant::now();
    let mut count = 0_u64;
    while began.elapsed() < time {
        check(name, &mut target, &mutations.next());
        count += 1;
    }
    println_count(name, corpus.len(), count);
}

#[expect(clippy::print_stdout, reason = "tests show it with --nocapture")]
fn println_count(name: &str, corpus: usize, count: u64) {
    println!("fuzz {name}: {corpus} inputs of the corpus, {count} mutations");
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[expect(clippy::print_stderr, reason = "the input is what a failure is about")]
fn check(name: &str, target: &mut impl FnMut(&[u8]), input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        eprintln!(
            "fuzz {name}: add this line to fuzz/corpus/{name}.txt:\n{}",
            input.escape_ascii()
        );
        resume_unwind(panic);
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("corpus");
    let text = std::fs::read_to_string(folder.join(format!("{name}.txt"))).unwrap_or_default();
    text.lines().map(unescape).collect()
}

/// Reads `\n`, `\r`, `\t`, `\0`, `\\`, `\"`, `\'` and `\xNN`; anything else stands for itself.
fn unescape(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = line.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escape = if byte == b'\\' { after.split_first() } else { None };
        let (value, after) = match escape {
            Some((b'n', after)) => (b'\n', after),
            Some((b'r', after)) => (b'\r', after),
            Some((b't', after)) => (b'\t', after),
            Some((b'0', after)) => (0, after),
            Some((quoted @ (b'\\' | b'"' | b'\''), after)) => (*quoted, after),
            Some((b'x', after)) if after.len() >= 2 => {
                let (digits, after) = after.split_at(2);
                let digits = std::str::from_utf8(digits).unwrap_or_default();
                (u8::from_str_radix(digits, 16).unwrap_or(b'x'), after)
            }
            _ => (byte, after),
        };
        bytes.push(value);
        rest = after;
    }
    bytes
}

/// Inputs made of those of a corpus.
struct Mutations<'a> {
    corpus: &'a [Vec<u8>],
    state: u64,
}

impl<'a> Mutations<'a> {
    fn new(seed: u64, corpus: &'a [Vec<u8>]) -> Self {
        Self { corpus, state: seed }
    }

    /// `SplitMix64` (Steele, Lea, Flood 2014).
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 if that is 0.
    fn below(&mut self, end: usize) -> usize {
        let random = usize::try_from(self.random() >> 1).unwrap_or(usize::MAX);
        random.checked_rem(end).unwrap_or(0)
    }

    fn pick(&mut self) -> &'a [u8] {
        let at = self.below(self.corpus.len());
        self.corpus.get(at).map_or(&[], Vec::as_slice)
    }

    fn next(&mut self) -> Vec<u8> {
        let mut input = self.pick().to_vec();
        for _ in 0..=self.below(4) {
            self.mutate(&mut input);
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }

    fn mutate(&mut self, input: &mut Vec<u8>) {
        /// Bytes and texts that parsers treat in ways of their own.
        const TOKENS: [&[u8]; 24] = [
            b"\0",
            b"\xff",
            b"\x80",
            b"\r\n",
            b"%",
            b"%00",
            b"%ff",
            b"\"",
            b"\\",
            b",",
            b";",
            b"=",
            b":",
            b"[",
            b"]",
            b"@",
            b"/",
            b"-",
            b"0",
            b"18446744073709551616",
            "\u{202e}".as_bytes(),
            "\u{200d}".as_bytes(),
            "é".as_bytes(),
            "🚀".as_bytes(),
        ];
        let at = self.below(input.len() + 1);
        let end = at + self.below(input.len() + 1 - at);
        match self.below(7) {
            0 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << (self.random() % 8);
                }
            }
            1 => {
                let byte = self.random().to_le_bytes()[0];
                input.insert(at, byte);
            }
            2 => drop(input.drain(at..end)),
            3 => {
                let part = input.get(at..end).unwrap_or_default().to_vec();
                drop(input.splice(at..at, part));
            }
            4 => {
                let token = self.below(TOKENS.len());
                let token = TOKENS.get(token).copied().unwrap_or_default();
                drop(input.splice(at..at, token.iter().copied()));
            }
            5 => {
                let other = self.pick();
                let from = self.below(other.len() + 1);
                let tail = other.get(from..).unwrap_or_default();
                drop(input.splice(at.., tail.iter().copied()));
            }
            _ => input.truncate(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_those_of_byte_strings() {
        let bytes: Vec<u8> = (0..=u8::MAX).collect();
        assert_eq!(unescape(&bytes.escape_ascii().to_string()), bytes);
    }

    #[test]
    fn a_panic_is_found() {
        let corpus = [b"abc".to_vec()];
        let mut mutations = Mutations::new(1, &corpus);
        let finds = (0..100_000).any(|_| mutations.next().contains(&b'%'));
        assert!(finds, "mutations have what the corpus has not");
        let mut again = Mutations::new(1, &corpus);
        let mut first = Mutations::new(1, &corpus);
        assert!((0..1_000).all(|_| again.next() == first.next()), "the same for the same seed");
    }

    #[test]
    #[should_panic(expected = "is missing or empty")]
    fn a_target_without_a_corpus_is_an_error() {
        run("none", |_| {});
    }
}
