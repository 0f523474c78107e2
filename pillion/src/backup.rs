//! `pillion backup` and `pillion restore`: the data folder, copied while it is in use.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::Read as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use ring::digest::{Context as Sha256, SHA256};
use serde::{Deserialize, Serialize};

use crate::cli;
use crate::data::{keep_new_files_private, write_secret};
use crate::keys::KEY_ENCRYPTION_KEY_FILE;
use crate::output::print;

/// What is in a backup, with digests.
const MANIFEST: &str = "backup.json";

/// Not copied: the broker is filled from the logs again, the rest is made anew or means nothing
/// elsewhere.
const LEFT_OUT: [&str; 3] = ["broker.sqlite", "machine-code", "machine-code.key"];

/// `backup.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    /// The program that made it.
    version: String,
    /// SHA-256 by path, in lower-case hexadecimal digits.
    files: BTreeMap<PathBuf, String>,
}

/// Copies a data folder into a new one.
pub(crate) fn backup(backup: &cli::Backup) -> Result<()> {
    keep_new_files_private();
    let data = fs::canonicalize(&backup.data)
        .with_context(|| format!("there is no data folder {}", backup.data.display()))?;
    let to = &backup.to;
    ensure!(!to.exists(), "{} is there already: name a folder that is not", to.display());
    // Complete under its own name, or not there at all.
    let aside = to.with_extension("incomplete");
    if aside.exists() {
        bail!("{} is what an interrupted backup left: remove it first", aside.display());
    }
    new_folder(&aside)?;
    let made = fill(&data, &aside);
    let (files, waited) = match made {
        Ok(made) => made,
        Err(error) => {
            // What is there is of no use; the reason is more important than the tidying up.
            let _ = fs::remove_dir_all(&aside);
            return Err(error);
        }
    };
    fs::rename(&aside, to).with_context(|| format!("cannot name the backup {}", to.display()))?;
    print(&format!("{}: {files} files; writers waited {} ms", to.display(), waited.as_millis()))
}

fn fill(data: &Path, to: &Path) -> Result<(usize, std::time::Duration)> {
    let (databases, others) = found(data)?;
    ensure!(
        !databases.is_empty(),
        "{} holds no databases: name the data folder with --data DIR; databases of PostgreSQL \
         are backed up with its own tools",
        data.display()
    );
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let waited = runtime.block_on(pillion_chassis::backup::copy(&databases, to))?;
    for path in others {
        let copy = to.join(path.strip_prefix(data)?);
        if let Some(folder) = copy.parent() {
            new_folder(folder)?;
        }
        fs::copy(&path, &copy).with_context(|| format!("cannot copy {}", path.display()))?;
        File::open(&copy)?.sync_all()?;
    }
    let mut files = BTreeMap::new();
    for path in walk(to)? {
        files.insert(path.strip_prefix(to)?.to_owned(), digest(&path)?);
    }
    let count = files.len();
    let manifest = Manifest { version: env!("CARGO_PKG_VERSION").to_owned(), files };
    write_secret(&to.join(MANIFEST), &serde_json::to_string_pretty(&manifest)?)?;
    Ok((count, waited))
}

/// The databases of the services, and what else is worth keeping: the plugins' generations and
/// components, who the demonstration's users are, and the key without which identity's signing keys
/// cannot be read, if the data folder has it.
fn found(data: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let mut databases = Vec::new();
    let mut others = Vec::new();
    for entry in fs::read_dir(data).with_context(|| format!("cannot read {}", data.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if LEFT_OUT.contains(&name.as_str()) {
            continue;
        }
        if path.extension().is_some_and(|extension| extension == "sqlite") {
            databases.push(path);
        } else if name == "demo.json" || name == KEY_ENCRYPTION_KEY_FILE {
            others.push(path);
        } else if path.is_dir() && name.starts_with("host") {
            others.extend(walk(&path)?.into_iter().filter(|path| is_kept(path)));
        }
    }
    Ok((databases, others))
}

fn is_kept(path: &Path) -> bool {
    let left_out =
        path.components().any(|part| LEFT_OUT.iter().any(|name| part.as_os_str() == *name));
    // The plugins' own state may be in the middle of a write; it is counters and caches.
    !left_out && !path.to_string_lossy().contains(".sqlite")
}

/// Makes of a backup a data folder.
pub(crate) fn restore(restore: &cli::Restore) -> Result<()> {
    keep_new_files_private();
    let from = &restore.from;
    let text = fs::read_to_string(from.join(MANIFEST))
        .with_context(|| format!("{} is no backup: it has no {MANIFEST}", from.display()))?;
    let manifest: Manifest = serde_json::from_str(&text)
        .with_context(|| format!("{} is damaged", from.join(MANIFEST).display()))?;
    for (path, expected) in &manifest.files {
        let sane = path.is_relative()
            && path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        ensure!(sane, "{MANIFEST} names {}, which is not in the backup", path.display());
        let found = digest(&from.join(path))?;
        ensure!(
            found == *expected,
            "{} is damaged: it is not what was backed up",
            from.join(path).display()
        );
    }
    let data = &restore.data;
    if data.exists() {
        let empty = fs::read_dir(data).is_ok_and(|mut entries| entries.next().is_none());
        ensure!(empty, "{} is not empty: move it away or name another with --data", data.display());
        fs::remove_dir(data).with_context(|| format!("cannot replace {}", data.display()))?;
    }
    let aside = data.with_extension("incomplete");
    ensure!(
        !aside.exists(),
        "{} is what an interrupted restore left: remove it first",
        aside.display()
    );
    new_folder(&aside)?;
    for path in manifest.files.keys() {
        let copy = aside.join(path);
        if let Some(folder) = copy.parent() {
            new_folder(folder)?;
        }
        fs::copy(from.join(path), &copy)
            .with_context(|| format!("cannot write {}", copy.display()))?;
        File::open(&copy)?.sync_all()?;
    }
    fs::rename(&aside, data).with_context(|| format!("cannot name it {}", data.display()))?;
    print(&format!(
        "{}: {} files; `pillion up` starts from it",
        data.display(),
        manifest.files.len()
    ))
}

fn new_folder(path: &Path) -> Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(path).with_context(|| format!("cannot make the folder {}", path.display()))
}

/// All files below a folder.
fn walk(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let read = || format!("cannot read {}", folder.display());
        for entry in fs::read_dir(&folder).with_context(read)? {
            let path = entry.with_context(read)?.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    Ok(files)
}

fn digest(path: &Path) -> Result<String> {
    let read = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(read)?;
    let mut sha256 = Sha256::new(&SHA256);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = file.read(&mut buffer).with_context(read)?;
        if count == 0 {
            break;
        }
        sha256.update(buffer.get(..count).unwrap_or_default());
    }
    Ok(sha256.finish().as_ref().iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}")))
}
