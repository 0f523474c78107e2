//! The audit log: every attempt to change what runs, refused ones too, with who made it and what
//! came of it. A file of JSON lines beside the activation records.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::artifacts::write_durably;
use crate::spec::{Digest, GenerationSpec};
use crate::text::printable;

/// Attempts that are kept. The file is rewritten when it holds twice as many.
const ATTEMPTS_MAX: usize = 1_000;

/// A name, and a reason, are cut here.
const BY_BYTES_MAX: usize = 128;
const REASON_BYTES_MAX: usize = 1_024;

/// One attempt to change what runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it ended, in microseconds since 1970.
    pub at_us: u64,
    /// Who made it: the name that the admin client gave, `host` for what the host did by itself.
    pub by: String,
    /// `swap`, `rollback`, `configuration`, `fleet` or `fallback`.
    pub action: String,
    /// The plugins that it changes, or was to.
    pub plugins: BTreeMap<String, AttemptedChange>,
    /// The generation that ran before.
    pub from: Option<u64>,
    /// The generation that it made.
    pub generation: Option<u64>,
    /// `activated`, `unchanged` or `refused`.
    pub outcome: String,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One plugin's digests before and after; `None` where it is not there, or could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptedChange {
    /// The component's digest before.
    pub from: Option<Digest>,
    /// And after.
    pub to: Option<Digest>,
    /// The configuration's digest before.
    pub config_from: Option<Digest>,
    /// And after.
    pub config_to: Option<Digest>,
}

impl Attempt {
    pub(crate) fn new(by: Option<&str>, action: &str) -> Self {
        Self {
            at_us: 0,
            by: printable(by.unwrap_or("unknown"), BY_BYTES_MAX).into_owned(),
            action: action.to_owned(),
            plugins: BTreeMap::new(),
            from: None,
            generation: None,
            outcome: String::new(),
            reason: None,
        }
    }

    /// The plugins that differ between two sets.
    pub(crate) fn between(mut self, before: &GenerationSpec, after: &GenerationSpec) -> Self {
        let names = before.plugins.keys().chain(after.plugins.keys());
        for name in names {
            let side = |set: &GenerationSpec| {
                let plugin = set.plugins.get(name)?;
                Some((plugin.digest, Digest::of(plugin.config.to_string().as_bytes())))
            };
            let (old, new) = (side(before), side(after));
            if before.plugins.get(name) != after.plugins.get(name) {
                let change = AttemptedChange {
                    from: old.and_then(|(digest, _)| digest),
                    to: new.and_then(|(digest, _)| digest),
                    config_from: old.map(|(_, config)| config),
                    config_to: new.map(|(_, config)| config),
                };
                self.plugins.insert(name.clone(), change);
            }
        }
        self
    }
}

/// The file. One writer: the process that holds the data folder.
#[derive(Debug)]
pub(crate) struct Audit {
    path: PathBuf,
    attempts_max: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    attempts: VecDeque<Attempt>,
    /// Lines of the file.
    lines: usize,
}

impl Audit {
    /// Reads what is there. Lines that cannot be read, such as one that a crash cut off, are
    /// passed over.
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        Self::bounded(path, ATTEMPTS_MAX)
    }

    fn bounded(path: PathBuf, attempts_max: usize) -> io::Result<Self> {
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read?,
        };
        let mut attempts: VecDeque<Attempt> =
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        attempts.drain(..attempts.len().saturating_sub(attempts_max));
        let lines = text.lines().count();
        // A line that was cut off must not swallow the next one.
        if !text.is_empty() && !text.ends_with('\n') {
            OpenOptions::new().append(true).open(&path)?.write_all(b"\n")?;
        }
        Ok(Self { path, attempts_max, kept: Mutex::new(Kept { attempts, lines }) })
    }

    /// Adds an attempt, on disk before this returns. What cannot be written is logged: the
    /// attempt itself has been made.
    pub(crate) fn record(&self, attempt: Attempt) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        tracing::info!(
            by = attempt.by,
            action = attempt.action,
            outcome = attempt.outcome,
            generation = attempt.generation,
            reason = attempt.reason,
            "change of plugins attempted"
        );
        kept.attempts.push_back(attempt);
        if kept.attempts.len() > self.attempts_max {
            kept.attempts.pop_front();
        }
        if let Err(error) = self.write(&mut kept) {
            tracing::error!(path = %self.path.display(), %error, "cannot write the audit log");
        }
    }

    fn write(&self, kept: &mut Kept) -> io::Result<()> {
        if kept.lines >= 2 * self.attempts_max {
            let mut text = Vec::new();
            for attempt in &kept.attempts {
                serde_json::to_writer(&mut text, attempt)?;
                text.push(b'\n');
            }
            write_durably(&self.path, &text)?;
            kept.lines = kept.attempts.len();
            return Ok(());
        }
        let Some(attempt) = kept.attempts.back() else {
            return Ok(());
        };
        let mut line = serde_json::to_vec(attempt)?;
        line.push(b'\n');
        let is_new = !self.path.exists();
        let mut options = OpenOptions::new();
        let mut file = options.create(true).append(true).mode(0o600).open(&self.path)?;
        file.write_all(&line)?;
        file.sync_data()?;
        if let Some(folder) = self.path.parent().filter(|_| is_new) {
            File::open(folder)?.sync_all()?;
        }
        kept.lines += 1;
        Ok(())
    }

    /// The attempts that are kept, newest first.
    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.attempts.iter().rev().cloned().collect()
    }

    /// Whether the last attempt was this one, but for the time.
    pub(crate) fn repeats(&self, attempt: &Attempt) -> bool {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.attempts
            .back()
            .is_some_and(|last| Attempt { at_us: last.at_us, ..attempt.clone() } == *last)
    }
}

/// A reason as it is kept.
pub(crate) fn reason(error: &impl ToString) -> String {
    printable(&error.to_string(), REASON_BYTES_MAX).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(number: u64) -> Attempt {
        Attempt {
            at_us: number,
            outcome: "refused".to_owned(),
            ..Attempt::new(Some("a\n"), "swap")
        }
    }

    #[test]
    fn h13_attempts_survive_a_restart_and_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let open = || Audit::bounded(path.clone(), 10).unwrap();
        let audit = open();
        for number in 0..25 {
            audit.record(attempt(number));
        }
        assert_eq!(open().attempts(), audit.attempts());
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!((10..=20).contains(&lines), "{lines}");
        let attempts = audit.attempts();
        assert_eq!((attempts.len(), attempts[0].at_us), (10, 24));
        assert_eq!(attempts[0].by, "a\\n");
    }

    #[test]
    fn a_line_that_was_cut_off_costs_only_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        Audit::open(path.clone()).unwrap().record(attempt(1));
        fs::write(&path, [fs::read(&path).unwrap(), b"{\"at_us\":2".to_vec()].concat()).unwrap();
        Audit::open(path.clone()).unwrap().record(attempt(3));
        let at: Vec<u64> =
            Audit::open(path).unwrap().attempts().iter().map(|attempt| attempt.at_us).collect();
        assert_eq!(at, [3, 1]);
    }
}
