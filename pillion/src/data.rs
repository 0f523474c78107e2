//! The data folder: made, kept from others' eyes, tried out, and locked against a second process.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::Mode;

/// What a group and everybody else may do: nothing.
const OTHERS: u32 = 0o077;

/// From here on every file and folder that this process makes is its owner's alone: databases
/// hold signing keys and hashes of passwords, logs hold addresses. To be called before there are
/// threads that make any.
pub(crate) fn keep_new_files_private() {
    rustix::process::umask(Mode::from_raw_mode(OTHERS));
}

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
        close_to_others(&path)?;
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

/// A folder that was there before may be open to others. One that is empty and ours is made for
/// this; any other may be there for more than our data, so its owner is told instead.
fn close_to_others(path: &Path) -> Result<()> {
    let failed = |error: io::Error| explain(path, "look at the data folder", &error);
    let metadata = fs::metadata(path).map_err(failed)?;
    let mode = metadata.mode() & 0o777;
    if mode & OTHERS == 0 {
        return Ok(());
    }
    let ours = metadata.uid() == rustix::process::geteuid().as_raw();
    let empty = fs::read_dir(path).map_err(failed)?.next().is_none();
    if ours && empty {
        let closed = fs::Permissions::from_mode(mode & !OTHERS);
        return fs::set_permissions(path, closed)
            .map_err(|error| explain(path, "close to others the data folder", &error));
    }
    let path = path.display();
    tracing::warn!(
        "the data folder {path} is open to other users of this machine (mode {mode:03o}); new \
         files in it are not, older ones may be: `chmod -R go= {path}` closes them all"
    );
    Ok(())
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

/// As [`write_whole`], for what is text.
pub(crate) fn write_secret(path: &Path, contents: &str) -> Result<()> {
    write_whole(path, contents.as_bytes())
}

/// Writes a file whole or not at all, readable by its owner only: whoever waits for it never
/// reads half of it.
pub(crate) fn write_whole(path: &Path, contents: &[u8]) -> Result<()> {
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
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        // The rename itself is durable only when the folder is.
        File::open(folder)?.sync_all()
    };
    written().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
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
    fn an_empty_folder_is_closed_to_others_and_one_in_use_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for (name, contents, expected) in [("new", None, 0o700), ("old", Some("photo"), 0o755)] {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            if let Some(file) = contents {
                fs::write(path.join(file), "").unwrap();
            }
            DataDir::open(&path, &["users"]).unwrap();
            assert_eq!(mode(&path), expected, "{name}");
        }
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
