//! The document as a file, with a folder of components and one of reports beside it. All hosts
//! see the same folder: one machine's, or a file system that they share.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use pillion_host::Digest;

use super::document::{DOCUMENT_BYTES_MAX, Document, Report};
use super::source::Replaced;
use crate::data::write_whole;

/// Folders beside the document.
const COMPONENTS: &str = "components";
const HOSTS: &str = "hosts";

/// Whoever changes the document holds its lock for moments.
const LOCK_TIME_MAX: Duration = Duration::from_secs(3);
const LOCK_POLL: Duration = Duration::from_millis(5);

/// The reports that are read; a fleet has fewer hosts.
const REPORTS_MAX: usize = 10_000;
const REPORT_BYTES_MAX: usize = 64 << 10;

/// A report that nobody has renewed for this long is of a host that is gone.
const FORGET_AFTER: Duration = Duration::from_hours(1);

/// Clones are the same place.
#[derive(Clone, Debug)]
pub(super) struct FileSource {
    path: PathBuf,
    folder: PathBuf,
}

impl FileSource {
    pub(super) fn new(path: &Path) -> Result<Self> {
        let path = std::path::absolute(path)
            .with_context(|| format!("cannot make {} absolute", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Self { path, folder })
    }

    pub(super) fn document(&self) -> Result<Option<Document>> {
        let Some(bytes) = read(&self.path, DOCUMENT_BYTES_MAX)? else {
            // A folder that is not there is a file system that is not mounted, and not a fleet
            // without a document.
            if !self.folder.is_dir() {
                bail!("there is no folder {}", self.folder.display());
            }
            return Ok(None);
        };
        Document::parse(&bytes).map(Some).with_context(|| self.path.display().to_string())
    }

    pub(super) fn replace(&self, before: Option<u64>, document: &Document) -> Result<Replaced> {
        let _lock = self.lock()?;
        if self.document()?.map(|there| there.revision) != before {
            return Ok(Replaced::Conflict);
        }
        write_whole(&self.path, &document.to_json()?)?;
        Ok(Replaced::Done)
    }

    /// The kernel lets go of it when the process ends, however it ends.
    fn lock(&self) -> Result<File> {
        let path = self.path.with_extension("lock");
        let failed = || format!("cannot lock {}", path.display());
        let file = (OpenOptions::new().create(true).read(true).write(true).truncate(false))
            .open(&path)
            .with_context(failed)?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_TIME_MAX => {
                    sleep(LOCK_POLL);
                }
                Err(TryLockError::WouldBlock) => {
                    bail!("{} is held by somebody else", path.display())
                }
                Err(TryLockError::Error(error)) => return Err(error).with_context(failed),
            }
        }
    }

    fn component_path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(COMPONENTS).join(format!("{}.wasm", digest.hex()))
    }

    pub(super) fn component(&self, digest: &Digest, bytes_max: usize) -> Result<Option<Vec<u8>>> {
        read(&self.component_path(digest), bytes_max)
    }

    pub(super) fn keep(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        let path = self.component_path(digest);
        if read(&path, bytes.len())?.is_some_and(|there| there == bytes) {
            return Ok(());
        }
        write_beside(&path, bytes)
    }

    pub(super) fn prune(&self, wanted: &[String]) -> Result<()> {
        for path in files(&self.folder.join(COMPONENTS))? {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            // What is being written now has another ending.
            let is_component = path.extension().is_some_and(|it| it == "wasm");
            if is_component && !wanted.contains(&stem) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    fn report_path(&self, host: &str) -> PathBuf {
        self.folder.join(HOSTS).join(format!("{host}.json"))
    }

    pub(super) fn report(&self, report: &Report) -> Result<()> {
        let path = self.report_path(&report.host);
        if !path.exists() {
            self.forget_hosts_that_are_gone()?;
        }
        write_beside(&path, &serde_json::to_vec_pretty(report)?)
    }

    fn forget_hosts_that_are_gone(&self) -> Result<()> {
        for path in files(&self.folder.join(HOSTS))? {
            let renewed = fs::metadata(&path).and_then(|metadata| metadata.modified());
            let age = renewed.ok().and_then(|renewed| renewed.elapsed().ok());
            if age.is_some_and(|age| age > FORGET_AFTER) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    pub(super) fn withdraw(&self, host: &str) -> Result<()> {
        remove(&self.report_path(host))
    }

    pub(super) fn reports(&self) -> Result<Vec<Report>> {
        let mut reports = Vec::new();
        for path in files(&self.folder.join(HOSTS))?.into_iter().take(REPORTS_MAX) {
            if path.extension().is_none_or(|it| it != "json") {
                continue;
            }
            // One that is withdrawn at this moment is none.
            if let Some(bytes) = read(&path, REPORT_BYTES_MAX)? {
                let report = serde_json::from_slice(&bytes);
                reports.push(report.with_context(|| format!("{} is damaged", path.display()))?);
            }
        }
        Ok(reports)
    }
}

/// A whole file within its bound; `None` when there is none.
fn read(path: &Path, bytes_max: usize) -> Result<Option<Vec<u8>>> {
    let failed = || format!("cannot read {}", path.display());
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(failed),
    };
    let most = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).with_context(failed)?;
    if bytes.len() > bytes_max {
        bail!("{} is over its bound of {bytes_max} bytes", path.display());
    }
    Ok(Some(bytes))
}

/// Makes the folder beside the document when it is missing, but never the document's own: where a
/// file system is not mounted nothing is to be made in its place.
fn write_beside(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent()
        && let Err(error) = fs::create_dir(folder)
        && error.kind() != ErrorKind::AlreadyExists
    {
        return Err(error).with_context(|| format!("cannot make {}", folder.display()));
    }
    write_whole(path, bytes)
}

/// In order; none when there is no such folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot list {}", folder.display()));
        }
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use pillion_chassis::Timestamp;
    use pillion_host::{Cause, GenerationSpec};

    use super::*;

    #[test]
    fn of_many_who_change_the_same_revision_one_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plugins.json");
        assert_eq!(FileSource::new(&path).unwrap().document().unwrap(), None);
        let make = |before: Option<&Document>| {
            let now = Timestamp::from_micros(1);
            Document::after(before, Cause::Configuration, GenerationSpec::default(), now)
        };
        let mut before = None;
        for _ in 0..5 {
            let next = make(before.as_ref());
            let done: usize = std::thread::scope(|scope| {
                let change = || {
                    let source = FileSource::new(&path).unwrap();
                    source.replace(before.as_ref().map(|it| it.revision), &next).unwrap()
                };
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(change)).collect();
                let all = threads.into_iter().map(|thread| thread.join().unwrap());
                all.filter(|replaced| *replaced == Replaced::Done).count()
            });
            assert_eq!(done, 1);
            assert_eq!(FileSource::new(&path).unwrap().document().unwrap().unwrap(), next);
            before = Some(next);
        }
    }

    #[test]
    fn components_and_reports_come_and_go() {
        let folder = tempfile::tempdir().unwrap();
        let source = FileSource::new(&folder.path().join("plugins.json")).unwrap();
        let [old, new] = [Digest::of(b"old"), Digest::of(b"new")];
        source.keep(&old, b"old").unwrap();
        source.keep(&new, b"new").unwrap();
        assert_eq!(source.component(&old, 3).unwrap().as_deref(), Some(&b"old"[..]));
        assert!(source.component(&old, 2).is_err(), "over its bound");
        source.prune(&[new.hex()]).unwrap();
        assert_eq!(source.component(&old, 9).unwrap(), None);
        assert!(source.component(&new, 9).unwrap().is_some());
        let report = Report {
            host: "a".to_owned(),
            service: "users".to_owned(),
            generation: Some(1),
            revision: None,
            state: super::super::document::State::Configuration,
            error: None,
            at_us: 1,
        };
        source.report(&report).unwrap();
        assert_eq!(source.reports().unwrap(), [report]);
        source.withdraw("a").unwrap();
        source.withdraw("a").unwrap();
        assert_eq!(source.reports().unwrap(), []);
    }

    #[test]
    fn a_folder_that_is_gone_is_not_a_fleet_without_a_document() {
        let folder = tempfile::tempdir().unwrap();
        let source = FileSource::new(&folder.path().join("unmounted/plugins.json")).unwrap();
        assert!(source.document().unwrap_err().to_string().contains("no folder"));
    }
}
