//! Outputs for plugins' lines: buffered per thread, written by one background thread, so that
//! no request ever waits for a disk.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use thread_local::ThreadLocal;

use crate::error::HostError;

/// Longest line.
pub(crate) const LINE_BYTES_MAX: usize = 16 << 10;

/// Lines that one thread may have waiting. At 400 bytes a line and the default flush interval
/// of 50 ms that is 50,000 lines a second and thread; what comes faster is dropped and counted.
const BUFFER_BYTES_MAX: usize = 1 << 20;

/// An output that plugins can be granted as `sink:NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkSpec {
    /// Where lines go.
    pub target: SinkTarget,
    /// How long a line may wait in memory: what a crash of the host loses at most.
    pub flush: Duration,
}

/// Where a sink's lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkTarget {
    /// Appended to this file; its folder is made if it is missing.
    File(PathBuf),
    /// The host's standard output.
    Stdout,
}

/// Why a line was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SinkError {
    TooLarge,
    Invalid,
    Full,
}

/// One output.
#[derive(Debug)]
pub(crate) struct Sink {
    pub(crate) name: String,
    buffers: ThreadLocal<Mutex<Vec<u8>>>,
    pub(crate) lines: AtomicU64,
    pub(crate) dropped: AtomicU64,
}

impl Sink {
    pub(crate) fn write(&self, line: &[u8]) -> Result<(), SinkError> {
        if line.len() > LINE_BYTES_MAX {
            return Err(SinkError::TooLarge);
        }
        // Looks at every byte, for a loop without a way out is done 16 bytes at a time.
        // LF would forge a line, and ESC drive the terminal of whoever reads the output.
        let breaks = |found, byte: &u8| found | matches!(byte, 0..=8 | 10..=31);
        if line.iter().fold(false, breaks) {
            return Err(SinkError::Invalid);
        }
        // Only the writer ever contends for it, for the time of a swap.
        let buffer = self.buffers.get_or_default();
        let mut buffer = buffer.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.len() + line.len() >= BUFFER_BYTES_MAX {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return Err(SinkError::Full);
        }
        buffer.extend_from_slice(line);
        buffer.push(b'\n');
        self.lines.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// All outputs and the threads that write them.
#[derive(Debug)]
pub(crate) struct Sinks {
    sinks: BTreeMap<String, Arc<Sink>>,
    writers: Mutex<Vec<Writer>>,
}

#[derive(Debug)]
struct Writer {
    /// A message asks for a flush and is answered when it is done; hanging up ends the thread.
    flush: Sender<Sender<()>>,
    thread: JoinHandle<()>,
}

impl Sinks {
    pub(crate) fn open(specs: &BTreeMap<String, SinkSpec>) -> Result<Self, HostError> {
        let mut sinks = BTreeMap::new();
        let mut writers = Vec::new();
        for (name, spec) in specs {
            let what =
                |path: &PathBuf| format!("cannot open the sink `{name}` at {}", path.display());
            let output = match &spec.target {
                SinkTarget::Stdout => Output::Stdout,
                SinkTarget::File(path) => Output::File(
                    LogFile::open(path.clone())
                        .map_err(|source| HostError::Io { what: what(path), source })?,
                ),
            };
            let sink = Arc::new(Sink {
                name: name.clone(),
                buffers: ThreadLocal::new(),
                lines: AtomicU64::new(0),
                dropped: AtomicU64::new(0),
            });
            let (flush, requests) = channel();
            let (interval, own) = (spec.flush, Arc::clone(&sink));
            let thread = thread::Builder::new()
                .name(format!("sink-{name}"))
                .spawn(move || run(&own, output, interval, &requests))
                .map_err(|source| HostError::Io {
                    what: format!("cannot start the thread of the sink `{name}`"),
                    source,
                })?;
            writers.push(Writer { flush, thread });
            sinks.insert(name.clone(), sink);
        }
        Ok(Self { sinks, writers: Mutex::new(writers) })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Sink>> {
        self.sinks.get(name)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Sink>> {
        self.sinks.values()
    }

    /// Returns when everything written before is in the files.
    pub(crate) fn flush(&self) {
        let writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        for writer in writers.iter() {
            let (done, wait) = channel();
            // A writer that is gone has nothing left to flush.
            if writer.flush.send(done).is_ok() {
                let _gone = wait.recv();
            }
        }
    }
}

impl Drop for Sinks {
    fn drop(&mut self) {
        let writers = self.writers.get_mut().unwrap_or_else(PoisonError::into_inner);
        for Writer { flush, thread } in writers.drain(..) {
            drop(flush);
            if thread.join().is_err() {
                tracing::error!("a sink's thread panicked; its last lines are lost");
            }
        }
    }
}

enum Output {
    File(LogFile),
    Stdout,
}

impl Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Stdout => io::stdout().lock().write_all(bytes),
        }
    }
}

/// How often a file is looked at, whether it is still the one of its name.
const ROTATION_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A file that lines are appended to. When it was moved or removed, as log rotation does, lines go
/// to a new one of the same name, without a signal.
struct LogFile {
    path: PathBuf,
    file: File,
    checked: Instant,
}

impl LogFile {
    fn open(path: PathBuf) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        Ok(Self { path, file, checked: Instant::now() })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.checked.elapsed() >= ROTATION_CHECK_INTERVAL {
            self.follow()?;
        }
        self.file.write_all(bytes)
    }

    /// Opens the file of the name if it is another one now, or none.
    fn follow(&mut self) -> io::Result<()> {
        let own = self.file.metadata()?;
        let is_own = match std::fs::metadata(&self.path) {
            Ok(named) => (named.dev(), named.ino()) == (own.dev(), own.ino()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
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

fn run(sink: &Sink, mut output: Output, interval: Duration, requests: &Receiver<Sender<()>>) {
    let mut spare = Vec::new();
    let failing = AtomicBool::new(false);
    loop {
        let request = requests.recv_timeout(interval);
        for buffer in &sink.buffers {
            {
                let mut buffer = buffer.lock().unwrap_or_else(PoisonError::into_inner);
                std::mem::swap(&mut *buffer, &mut spare);
            }
            if spare.is_empty() {
                continue;
            }
            match output.write(&spare) {
                Ok(()) => {
                    if failing.swap(false, Ordering::Relaxed) {
                        tracing::info!(sink = sink.name, "the sink takes lines again");
                    }
                }
                Err(error) => {
                    let lines = spare.split(|byte| *byte == b'\n').count().saturating_sub(1);
                    sink.dropped.fetch_add(lines as u64, Ordering::Relaxed);
                    // Said once, not twenty times a second while a disk is full.
                    if !failing.swap(true, Ordering::Relaxed) {
                        tracing::error!(sink = sink.name, %error, "cannot write to the sink; its lines are dropped and counted");
                    }
                }
            }
            spare.clear();
        }
        match request {
            // Whoever asked may have given up waiting.
            Ok(done) => drop(done.send(())),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: PathBuf) -> Sinks {
        let spec = SinkSpec { target: SinkTarget::File(path), flush: Duration::from_mins(1) };
        Sinks::open(&BTreeMap::from([("access".to_owned(), spec)])).unwrap()
    }

    #[test]
    fn lines_of_all_threads_arrive_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/access.log");
        let sinks = open(path.clone());
        let sink = sinks.get("access").unwrap();
        thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for line in 0..100 {
                        sink.write(format!("{thread}-{line}").as_bytes()).unwrap();
                    }
                });
            }
        });
        sinks.flush();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: std::collections::BTreeSet<_> = text.lines().collect();
        assert_eq!(lines.len(), 400);
        assert!(lines.contains("3-99"));
        sink.write(b"last").unwrap();
        drop(sinks);
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("last\n"), "closing flushes");
    }

    #[test]
    fn a_rotated_file_is_followed_and_no_line_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("a.log"), folder.path().join("a.log.1"));
        let sinks = open(path.clone());
        let sink = sinks.get("access").unwrap();
        let mut written = 0;
        let mut write = || {
            sink.write(format!("line {written}").as_bytes()).unwrap();
            sinks.flush();
            written += 1;
        };
        write();
        std::fs::rename(&path, &moved).unwrap();
        let began = Instant::now();
        while !path.exists() {
            write();
            assert!(began.elapsed() < Duration::from_secs(20), "no new file");
            thread::sleep(Duration::from_millis(20));
        }
        let (first, second) =
            (std::fs::read_to_string(&moved).unwrap(), std::fs::read_to_string(&path).unwrap());
        assert_eq!(first.lines().count() + second.lines().count(), written);
        // Also when it is removed.
        std::fs::remove_file(&path).unwrap();
        while !path.exists() {
            sink.write(b"more").unwrap();
            sinks.flush();
            assert!(began.elapsed() < Duration::from_secs(40), "no new file");
            thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn what_breaks_lines_is_refused_and_a_full_buffer_never_waits() {
        let folder = tempfile::tempdir().unwrap();
        let sinks = open(folder.path().join("a.log"));
        let sink = sinks.get("access").unwrap();
        for line in [&b"a\nb"[..], b"a\rb", b"a\0b", b"a\x1b[2Jb"] {
            assert_eq!(sink.write(line), Err(SinkError::Invalid));
        }
        assert_eq!(sink.write(&vec![b'a'; LINE_BYTES_MAX + 1]), Err(SinkError::TooLarge));
        let line = vec![b'a'; LINE_BYTES_MAX];
        let taken = (0..100).take_while(|_| sink.write(&line).is_ok()).count();
        assert!(taken < 100);
        assert_eq!(sink.dropped.load(Ordering::Relaxed), 1);
    }
}
