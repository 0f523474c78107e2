//! Text to [`Config`]: every error names the file, the line, the key's path and the way out.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use toml::de::{DeTable, DeValue};

use super::sections::Config;

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The key's path, `plugins.auth.limits.deadline_ms`; empty for the whole file.
    pub(crate) key: String,
    /// From 1; absent when the key is not in the file.
    pub(crate) line: Option<usize>,
    /// What is wrong and what to write instead.
    pub(crate) message: String,
}

/// Everything that is wrong with one file; `Display` gives a line for each.
#[derive(Debug)]
pub(crate) struct ConfigError {
    /// The file's name as the operator gave it.
    pub(crate) file: String,
    /// At least one.
    pub(crate) problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            f.write_str(&self.file)?;
            if let Some(line) = problem.line {
                write!(f, ":{line}")?;
            }
            if !problem.key.is_empty() {
                write!(f, ": {}", problem.key)?;
            }
            write!(f, ": {}", problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Reads the file's text. The first error ends it: what follows an error is often its echo.
pub(crate) fn parse(text: &str) -> Result<Config, Problem> {
    let syntax = |error: &toml::de::Error| Problem {
        key: String::new(),
        line: error.span().map(|span| line_of(text, &span)),
        message: format!("not TOML: {}", error.message()),
    };
    let document = toml::Deserializer::parse(text).map_err(|error| syntax(&error))?;
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(document, &mut track);
    Config::deserialize(tracked).map_err(|error| {
        let path = track.path().to_string();
        Problem {
            key: if path == "." { String::new() } else { path },
            line: error.span().map(|span| line_of(text, &span)),
            message: advise(error.message()),
        }
    })
}

/// The line at which the value of a key's path stands; the nearest table's when the key is not
/// in the file.
pub(crate) fn line_of_key(text: &str, key: &str) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let mut table = document.get_ref();
    let mut found = None;
    for part in key.split('.') {
        let Some((name, value)) = table.iter().find(|(name, _)| name.get_ref() == part) else {
            break;
        };
        found = Some(line_of(text, &name.span()));
        let DeValue::Table(inner) = value.get_ref() else {
            break;
        };
        table = inner;
    }
    found
}

/// The closest of `candidates`, when it is close enough to be what was meant.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    /// Below this a suggestion confuses more than it helps (`listen` for `data`).
    const SIMILARITY_MIN: f64 = 0.75;
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// Lines are counted from 1.
fn line_of(text: &str, span: &Range<usize>) -> usize {
    text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1
}

/// Turns serde's "unknown field `a`, expected one of `b`, `c`" into a suggestion, and Rust's names
/// of types into what to write. The forms are fixed by serde; anything else is passed through.
fn advise(message: &str) -> String {
    /// Names are not looked up: a listener's address is one of this machine's own.
    const ADDRESS: &str =
        "write an IP address with a port: \"127.0.0.1:8080\", \"0.0.0.0:8080\" or \"[::1]:8080\"";
    const NUMBER: &str =
        "write a whole number, without quotes and unit: the key's name has the unit";
    let unknown = |noun: &str, rest: &str| {
        let mut quoted = rest.split('`').skip(1).step_by(2);
        let word = quoted.next()?;
        let known: Vec<&str> = quoted.collect();
        Some(match nearest(word, known.iter().copied()) {
            Some(close) => format!("unknown {noun} `{word}`; did you mean `{close}`?"),
            None => format!("unknown {noun} `{word}`; there are: {}", known.join(", ")),
        })
    };
    message
        .strip_prefix("unknown field")
        .and_then(|rest| unknown("key", rest))
        .or_else(|| message.strip_prefix("unknown variant").and_then(|rest| unknown("value", rest)))
        .or_else(|| {
            let name = message.strip_prefix("missing field `")?.strip_suffix('`')?;
            Some(format!("the key `{name}` is missing"))
        })
        .or_else(|| {
            let what = match message {
                "invalid socket address syntax" => return Some(format!("no address: {ADDRESS}")),
                _ => message.strip_suffix(", expected socket address").map(|what| (what, ADDRESS)),
            };
            let (what, advice) =
                what.or_else(|| message.strip_suffix(", expected i64").map(|what| (what, NUMBER)))?;
            Some(format!("{what}; {advice}"))
        })
        .unwrap_or_else(|| message.replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> Problem {
        parse(text).expect_err("the text should be refused")
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_key() {
        let found = problem("[server]\n\nlisten_ = \"127.0.0.1:1\"\n");
        assert_eq!(found.line, Some(3));
        assert_eq!(found.key, "server.listen_");
        assert_eq!(found.message, "unknown key `listen_`; did you mean `listen`?");
    }

    #[test]
    fn an_unknown_key_of_a_plugins_limits_is_found_inside_the_hosts_type() {
        let found = problem(
            "[plugins.auth]\ncomponent = \"auth.wasm\"\n[plugins.auth.limits]\nmemory_byte = 1\n",
        );
        assert_eq!(found.line, Some(4));
        assert_eq!(found.key, "plugins.auth.limits.memory_byte");
        assert_eq!(found.message, "unknown key `memory_byte`; did you mean `memory_bytes`?");
    }

    #[test]
    fn a_key_unlike_any_other_lists_what_there_is() {
        let found = problem("[log]\nzzz = 1\n");
        assert_eq!(found.message, "unknown key `zzz`; there are: filter, format");
    }

    #[test]
    fn a_number_out_of_range_says_the_range() {
        let found = problem("[server]\nheaders = 100000\n");
        assert_eq!((found.line, found.key.as_str()), (Some(2), "server.headers"));
        assert_eq!(found.message, "100000 is out of range: write 8 to 256");
        assert_eq!(
            problem("[server]\nheaders = -1\n").message,
            "-1 is out of range: write 8 to 256"
        );
    }

    #[test]
    fn a_wrong_type_says_what_is_there_and_what_to_write() {
        let found = problem("[server]\ndrain_delay_ms = \"5s\"\n");
        assert_eq!(found.line, Some(2));
        let expected = "invalid type: string \"5s\"; write a whole number, without quotes and unit";
        assert!(found.message.starts_with(expected), "{}", found.message);
    }

    #[test]
    fn what_is_no_address_gets_one() {
        for (text, begins) in [
            ("[server]\nlisten = \"localhost:8080\"\n", "no address: write an IP address"),
            ("[server]\nlisten = 8080\n", "invalid type: integer `8080`; write an IP address"),
        ] {
            let found = problem(text);
            assert_eq!((found.line, found.key.as_str()), (Some(2), "server.listen"));
            assert!(found.message.starts_with(begins), "{}", found.message);
        }
    }

    #[test]
    fn a_wrong_choice_gets_the_nearest_one() {
        let found = problem("[log]\nformat = \"jsn\"\n");
        assert_eq!(found.message, "unknown value `jsn`; did you mean `json`?");
    }

    #[test]
    fn an_unknown_grant_says_how_grants_are_spelled() {
        let found = problem("[plugins.a]\ncomponent = \"a.wasm\"\ngrants = [\"root\"]\n");
        assert_eq!((found.line, found.key.as_str()), (Some(3), "plugins.a.grants"));
        assert!(found.message.contains("there is no grant `root`"), "{}", found.message);
    }

    #[test]
    fn broken_toml_has_a_line() {
        let found = problem("[server]\nlisten = \n");
        assert_eq!(found.line, Some(2));
        assert!(found.message.starts_with("not TOML: "), "{}", found.message);
    }

    #[test]
    fn a_missing_key_names_its_table() {
        let found = problem("[services.users]\nurl = \"http://127.0.0.1:1\"\n");
        assert_eq!((found.line, found.key.as_str()), (Some(1), "services.users"));
        assert_eq!(found.message, "the key `plugins` is missing");
    }

    #[test]
    fn the_line_of_a_key_that_is_absent_is_its_tables() {
        let text = "\n[services.users]\nplugins = []\n";
        assert_eq!(line_of_key(text, "services.users.plugins"), Some(3));
        assert_eq!(line_of_key(text, "services.users.listen"), Some(2));
        assert_eq!(line_of_key(text, "server.listen"), None);
    }
}
