//! Where a sink's lines go: standard output, a file that is followed through rotation, or a FIFO.
//! Nothing here ever waits for long: neither for a reader that is not there nor for one that
//! does not read.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use super::SinkTarget;

/// How often a file is looked at, whether it is still the one of its name.
const ROTATION_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How long a reader of a FIFO may take until there is room for more.
const READER_WAIT_MAX: Duration = Duration::from_millis(500);

/// Between looks whether it has made room.
const READER_LOOK_INTERVAL: Duration = Duration::from_millis(5);

pub(super) enum Output {
    File(LogFile),
    Stdout,
}

impl Output {
    pub(super) fn open(target: &SinkTarget) -> io::Result<Self> {
        Ok(match target {
            SinkTarget::Stdout => Self::Stdout,
            SinkTarget::File(path) => Self::File(LogFile::open(path.clone())?),
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Stdout => io::stdout().lock().write_all(bytes),
        }
    }
}

/// A file that lines are appended to. When it was moved or removed, as log rotation does, lines go
/// to a new one of the same name, without a signal.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    checked: Instant,
    /// A line was cut in the middle.
    is_torn: bool,
}

impl LogFile {
    fn open(path: PathBuf) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = open(&path)?;
        Ok(Self { path, file, checked: Instant::now(), is_torn: false })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.checked.elapsed() >= ROTATION_CHECK_INTERVAL {
            self.follow()?;
        }
        if self.is_torn {
            self.is_torn = false;
            self.write_all(b"\n")?;
        }
        self.write_all(bytes)
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let began = Instant::now();
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.is_torn = bytes.get(count - 1) != Some(&b'\n');
                    bytes = bytes.get(count..).unwrap_or_default();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if began.elapsed() >= READER_WAIT_MAX {
                        return Err(io::Error::new(
                            ErrorKind::TimedOut,
                            "the reader of the FIFO does not read",
                        ));
                    }
                    std::thread::sleep(READER_LOOK_INTERVAL);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Opens the file of the name if it is another one now, or none.
    fn follow(&mut self) -> io::Result<()> {
        let own = self.file.metadata()?;
        let is_own = match std::fs::metadata(&self.path) {
            Ok(named) => (named.dev(), named.ino()) == (own.dev(), own.ino()),
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            // It cannot be told; what is open can still be written to.
            Err(_) => true,
        };
        if is_own {
            self.checked = Instant::now();
        } else {
            *self = Self::open(self.path.clone())?;
        }
        Ok(())
    }
}

/// Opens it without waiting for anything: to open a FIFO that no process reads would take until
/// one does.
fn open(path: &Path) -> io::Result<File> {
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
    let opened = OpenOptions::new().create(true).append(true).custom_flags(nonblocking).open(path);
    opened.map_err(|error| {
        let is = |kind: fn(&std::fs::FileType) -> bool| {
            std::fs::metadata(path).is_ok_and(|file| kind(&file.file_type()))
        };
        let reason = if is(std::fs::FileType::is_fifo) {
            "it is a FIFO that no process reads: start its reader first, or name a regular file"
        } else if is(std::fs::FileType::is_socket) {
            "it is a socket: name a regular file"
        } else if is(std::fs::FileType::is_dir) {
            "it is a folder: name a file in it"
        } else {
            return error;
        };
        io::Error::new(error.kind(), reason)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    fn fifo(folder: &Path) -> PathBuf {
        let path = folder.join("fifo");
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        path
    }

    fn refused(path: &Path) -> String {
        match LogFile::open(path.to_owned()) {
            Ok(_) => panic!("{} was opened", path.display()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn s18_what_is_no_regular_file_is_refused_with_the_reason_and_never_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let began = Instant::now();
        assert!(refused(&fifo(folder.path())).contains("FIFO that no process reads"));
        assert!(refused(folder.path()).contains("it is a folder"));
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(refused(&socket).contains("it is a socket"));
        assert!(began.elapsed() < Duration::from_secs(5));
        let mut device = LogFile::open("/dev/null".into()).unwrap();
        device.write(b"a line\n").unwrap();
    }

    #[test]
    fn s18_a_reader_that_does_not_read_costs_lines_and_no_time_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = fifo(folder.path());
        let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
        let opened =
            OpenOptions::new().read(true).write(true).custom_flags(nonblocking).open(&path);
        let mut reader = opened.unwrap();
        // All that is in the pipe.
        let mut read = || {
            let (mut all, mut some) = (Vec::new(), [0; 4_096]);
            loop {
                match reader.read(&mut some) {
                    Ok(count) => all.extend_from_slice(&some[..count]),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::WouldBlock);
                        return all;
                    }
                }
            }
        };
        let mut log = LogFile::open(path).unwrap();
        log.write(b"first\n").unwrap();
        let line = [b"x".repeat(99_999).as_slice(), b"\n"].concat();
        let began = Instant::now();
        let error = log.write(&line).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        let took = began.elapsed();
        assert!(took >= READER_WAIT_MAX && took < Duration::from_secs(10), "{took:?}");
        // Once it reads again the line that was cut is ended, and the next one is whole.
        let torn = read();
        assert!(torn.starts_with(b"first\nxxx") && torn.ends_with(b"x"));
        log.write(b"next\n").unwrap();
        assert_eq!(read(), b"\nnext\n");
    }
}
