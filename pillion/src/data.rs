//! The data folder: made, tried out, and locked against a second process.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A data folder that this process may write to, until the value is dropped.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _locks: Vec<File>,
}

impl DataDir {
    /// Makes the folder if it is missing and locks it for these services. A process that serves
    /// one of them already keeps the others' lock files free.
    pub(crate) fn open(path: &Path, services: &[&str]) -> Result<Self> {
        let mut builder = DirBuilder::new();
        // Tokens, keys and people's posts: nobody else's business.
        builder.recursive(true).mode(0o700);
        builder.create(path).map_err(|error| explain(path, "make the data folder", &error))?;
        let path = fs::canonicalize(path)
            .map_err(|error| explain(path, "find the data folder", &error))?;
        enough_room(&path)?;
        let locks =
            services.iter().map(|service| lock(&path, service)).collect::<Result<Vec<_>>>()?;
        Ok(Self { path, _locks: locks })
    }

    /// A file or folder in it.
    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// The folder itself, absolute.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// A database that cannot grow fails in ways that are hard to read; this is easy to read.
fn enough_room(data: &Path) -> Result<()> {
    /// What a first start writes: machine code of the plugins, empty databases.
    const FREE_BYTES_MIN: u64 = 8 << 20;
    let Ok(disk) = rustix::fs::statvfs(data) else {
        // A file system that cannot tell may still have room.
        return Ok(());
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < FREE_BYTES_MIN {
        bail!(
            "the disk of the data folder {} is full: {} KiB are free and {} are needed to start; \
             make room or choose another folder with --data DIR",
            data.display(),
            free >> 10,
            FREE_BYTES_MIN >> 10
        );
    }
    Ok(())
}

/// One lock file per service; the kernel lets go of it when the process ends, however it ends.
fn lock(data: &Path, service: &str) -> Result<File> {
    let path = data.join(format!("{service}.lock"));
    let failed = |error: &io::Error| explain(data, "write to the data folder", error);
    let mut file = (OpenOptions::new().create(true).read(true).write(true).truncate(false))
        .open(&path)
        .map_err(|error| failed(&error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Without the number the message is still right.
            let _ = file.read_to_string(&mut holder);
            let holder = holder.trim();
            let holder =
                if holder.is_empty() { String::new() } else { format!(" (process {holder})") };
            bail!(
                "{} is in use by another Pillion{holder}: stop that one, or give this one its \
                 own folder with --data DIR",
                data.display()
            );
        }
        Err(TryLockError::Error(error)) => return Err(failed(&error)),
    }
    // Also finds out now, and not in the middle of a request, whether the disk takes a write.
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .and_then(|()| file.sync_all())
        .map_err(|error| failed(&error))?;
    Ok(file)
}

/// An error with the way out.
fn explain(path: &Path, doing: &str, error: &io::Error) -> anyhow::Error {
    let path = path.display();
    let advice = match error.kind() {
        ErrorKind::PermissionDenied => "change its owner or choose another with --data DIR",
        ErrorKind::ReadOnlyFilesystem => {
            "its file system is read-only; choose another folder with --data DIR"
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "the disk is full; make room or choose another folder with --data DIR"
        }
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            "there is a file in its place; choose another folder with --data DIR"
        }
        _ => "choose another folder with --data DIR",
    };
    anyhow::anyhow!("cannot {doing} {path}: {error}; {advice}")
}

/// Writes a file whole or not at all, readable by its owner only: whoever waits for it never
/// reads half of it.
pub(crate) fn write_secret(path: &Path, contents: &str) -> Result<()> {
    let written = || -> io::Result<()> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let name = path.file_name().ok_or(ErrorKind::InvalidInput)?.to_string_lossy();
        let aside = folder.join(format!(".{name}.{}.new", std::process::id()));
        let mut file = (OpenOptions::new().create(true).write(true).truncate(true))
            .mode(0o600)
            .open(&aside)?;
        file.write_all(contents.as_bytes())?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        // The rename itself is durable only when the folder is.
        File::open(folder)?.sync_all()
    };
    written().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_folder_is_one_processs_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let first = DataDir::open(&path, &["users", "tweets"]).unwrap();
        let refused = DataDir::open(&path, &["tweets"]).unwrap_err().to_string();
        assert!(refused.contains("in use by another Pillion (process "), "{refused}");
        DataDir::open(&path, &["gateway"]).unwrap();
        drop(first);
        DataDir::open(&path, &["tweets"]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_file_in_the_place_of_the_folder_is_explained() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        fs::write(&path, "").unwrap();
        let refused = DataDir::open(&path, &["users"]).unwrap_err().to_string();
        assert!(refused.contains("there is a file in its place"), "{refused}");
        let below = DataDir::open(&path.join("x"), &["users"]).unwrap_err().to_string();
        assert!(below.contains("there is a file in its place"), "{below}");
    }

    #[test]
    fn a_secret_is_its_owners_alone_and_leaves_nothing_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.json");
        write_secret(&path, "old and longer").unwrap();
        write_secret(&path, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
