//! Whether a system kept its word: what a client logged about each of its writes, held against
//! what the system holds afterwards.
//!
//! The client makes up a key for each write, finds it in what it reads later, and never uses it
//! twice; who tries again makes up another one. It logs a [`Line`] before it sends a write and
//! another one when it knows the outcome, so that a client that is killed leaves a log that is
//! true. Nothing here reads, writes or asks for the time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

/// Attempts that a report names, of each kind that is bad.
const NAMED_MAX: usize = 10;

/// A line of a client's log, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum Line {
    /// About to be sent.
    Attempt {
        /// What the write is found by.
        key: String,
        /// What it is one write of: an account's tweets, say. Order is kept within a stream.
        stream: String,
    },
    /// No longer under way, as far as the client knows.
    Outcome {
        /// That of its attempt.
        key: String,
        /// How it went.
        outcome: Outcome,
    },
}

/// What the client was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is done, and this is its id.
    Acknowledged(String),
    /// It is not done and never will be.
    Refused,
    /// Nothing certain: no answer, or one that leaves it open. The same as no line.
    Unknown,
}

/// A write that the system holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// That of its attempt.
    pub key: String,
    /// That of its acknowledgement.
    pub id: String,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Acknowledged and held once, in its place; or refused and not held.
    Ok,
    /// Acknowledged and not held, or only under another id than was said.
    Lost,
    /// Held more than once.
    Duplicated,
    /// Held behind a write of its stream that was sent after this one's acknowledgement.
    Reordered,
    /// Refused and held all the same.
    Phantom,
    /// Neither acknowledged nor refused: both is allowed.
    Unknown {
        /// Whether it is held.
        applied: bool,
    },
}

/// What became of everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Every attempt's key, in the order of the log.
    pub verdicts: Vec<(String, Verdict)>,
    /// What is held and was never attempted.
    pub unasked: Vec<Held>,
}

/// Reads a log of one [`Line`] each. A last line without its end was cut short with its client
/// and says nothing.
pub fn parse(log: &str) -> Result<Vec<Line>> {
    let whole = log.rfind('\n').map_or("", |end| &log[..end]);
    let lines = whole.lines().enumerate();
    lines
        .map(|(index, line)| {
            serde_json::from_str(line).with_context(|| format!("line {}: {line}", index + 1))
        })
        .collect()
}

/// An attempt and its time, in lines.
struct Attempt<'a> {
    key: &'a str,
    stream: &'a str,
    sent: usize,
    outcome: Option<(usize, &'a Outcome)>,
}

impl Attempt<'_> {
    /// The line from which on it has its place.
    fn acknowledged(&self) -> Option<usize> {
        match self.outcome {
            Some((line, Outcome::Acknowledged(_))) => Some(line),
            _ => None,
        }
    }

    fn verdict(&self, held: &[&Held], is_late: bool) -> Verdict {
        match (self.outcome.map(|(_line, outcome)| outcome), held) {
            (Some(Outcome::Refused), []) => Verdict::Ok,
            (Some(Outcome::Refused), _) => Verdict::Phantom,
            (Some(Outcome::Acknowledged(id)), held) if held.iter().all(|it| it.id != *id) => {
                Verdict::Lost
            }
            (_, [_, _, ..]) => Verdict::Duplicated,
            (Some(Outcome::Acknowledged(_)), _) if is_late => Verdict::Reordered,
            (Some(Outcome::Acknowledged(_)), _) => Verdict::Ok,
            (Some(Outcome::Unknown) | None, held) => Verdict::Unknown { applied: !held.is_empty() },
        }
    }
}

/// Judges every attempt of a log. `held` is what the system holds, the oldest first. Logs of
/// several clients may follow one another if no two of them wrote to one stream.
///
/// An error is the client's: a key twice, or an outcome of nothing.
pub fn check(log: &[Line], held: &[Held]) -> Result<Report> {
    let attempts = attempts(log)?;
    let index: BTreeMap<&str, usize> =
        attempts.iter().enumerate().map(|(index, attempt)| (attempt.key, index)).collect();
    let mut found: Vec<Vec<&Held>> = vec![Vec::new(); attempts.len()];
    let mut unasked = Vec::new();
    let mut late = BTreeSet::new();
    // For each stream, when the youngest of what is held so far was sent.
    let mut youngest: BTreeMap<&str, usize> = BTreeMap::new();
    for it in held {
        let Some(&index) = index.get(it.key.as_str()) else {
            unasked.push(it.clone());
            continue;
        };
        found[index].push(it);
        let attempt = &attempts[index];
        let before = youngest.entry(attempt.stream).or_default();
        if attempt.acknowledged().is_some_and(|acknowledged| acknowledged < *before) {
            late.insert(index);
        }
        *before = attempt.sent.max(*before);
    }
    let verdict = |(index, attempt): (usize, &Attempt)| {
        (attempt.key.to_owned(), attempt.verdict(&found[index], late.contains(&index)))
    };
    Ok(Report { verdicts: attempts.iter().enumerate().map(verdict).collect(), unasked })
}

fn attempts(log: &[Line]) -> Result<Vec<Attempt<'_>>> {
    let mut attempts: Vec<Attempt> = Vec::new();
    let mut index: BTreeMap<&str, usize> = BTreeMap::new();
    for (line, entry) in log.iter().enumerate() {
        match entry {
            Line::Attempt { key, stream } => {
                if index.insert(key, attempts.len()).is_some() {
                    bail!("line {}: a second attempt with the key {key}", line + 1);
                }
                attempts.push(Attempt { key, stream, sent: line, outcome: None });
            }
            Line::Outcome { key, outcome } => {
                let Some(&index) = index.get(key.as_str()) else {
                    bail!("line {}: an outcome without an attempt: {key}", line + 1);
                };
                let attempt = &mut attempts[index];
                if attempt.outcome.replace((line, outcome)).is_some() {
                    bail!("line {}: a second outcome of {key}", line + 1);
                }
            }
        }
    }
    Ok(attempts)
}

impl Report {
    /// Whether the system did nothing that it must not do.
    pub fn is_good(&self) -> bool {
        self.unasked.is_empty() && self.verdicts.iter().all(|(_key, verdict)| !verdict.is_bad())
    }

    /// The keys of the attempts with this verdict, in the order of the log.
    pub fn with(&self, verdict: Verdict) -> Vec<&str> {
        let of = self.verdicts.iter().filter(|(_key, of)| *of == verdict);
        of.map(|(key, _verdict)| key.as_str()).collect()
    }
}

impl Verdict {
    const BAD: [Self; 4] = [Self::Lost, Self::Duplicated, Self::Reordered, Self::Phantom];

    fn is_bad(self) -> bool {
        Self::BAD.contains(&self)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Lost => "lost",
            Self::Duplicated => "duplicated",
            Self::Reordered => "reordered",
            Self::Phantom => "refused and held",
            Self::Unknown { applied: true } => "unknown and held",
            Self::Unknown { applied: false } => "unknown and not held",
        })
    }
}

/// The counts in a line, and the first keys of what is bad, a line for each kind.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} attempts", self.verdicts.len())?;
        let unknown = [true, false].map(|applied| Verdict::Unknown { applied });
        for verdict in [Verdict::Ok].into_iter().chain(Verdict::BAD).chain(unknown) {
            write!(f, ", {} {verdict}", self.with(verdict).len())?;
        }
        write!(f, ", {} never attempted", self.unasked.len())?;
        let mut name = |what: String, keys: Vec<&str>| {
            if keys.is_empty() {
                return Ok(());
            }
            let more = if keys.len() > NAMED_MAX { ", …" } else { "" };
            let keys: Vec<&str> = keys.into_iter().take(NAMED_MAX).collect();
            write!(f, "\n  {what}: {}{more}", keys.join(", "))
        };
        for verdict in Verdict::BAD {
            name(verdict.to_string(), self.with(verdict))?;
        }
        name("never attempted".to_owned(), self.unasked.iter().map(|it| it.key.as_str()).collect())
    }
}

#[cfg(test)]
mod tests;
