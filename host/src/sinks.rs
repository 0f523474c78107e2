//! Outputs for plugins' lines: buffered per thread, written by one background thread, so that
//! no request ever waits for a disk.

mod output;

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use thread_local::ThreadLocal;

use self::output::Output;
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
    /// Appended to this file; its folder is made if it is missing. A FIFO must have a reader, and
    /// what that does not read in time is dropped and counted.
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
#[derive(Debug, Default)]
pub(crate) struct Sinks(Mutex<All>);

#[derive(Debug, Default)]
struct All {
    sinks: BTreeMap<String, Open>,
    /// No longer configured; plugins of earlier generations may still write to them.
    retired: Vec<Open>,
}

/// A sink and what writes it.
#[derive(Debug)]
struct Open {
    sink: Arc<Sink>,
    writer: Writer,
}

#[derive(Debug)]
struct Writer {
    /// Hanging up ends the thread.
    requests: Sender<Request>,
    thread: Option<JoinHandle<()>>,
}

/// What is asked of a sink's thread.
enum Request {
    /// Answered when everything written before is in the output.
    Flush(Sender<()>),
    /// From here on lines go there, this often.
    Output(Output, Duration),
}

/// The outputs of another configuration, open and not yet in use.
pub(crate) struct PreparedSinks {
    outputs: Vec<(String, Output, Duration)>,
    /// Sinks that were not there before.
    added: Vec<String>,
}

impl Sinks {
    pub(crate) fn open(specs: &BTreeMap<String, SinkSpec>) -> Result<Self, HostError> {
        let mut sinks = BTreeMap::new();
        for (name, spec) in specs {
            sinks.insert(name.clone(), Open::start(name, open_output(name, spec)?, spec.flush)?);
        }
        Ok(Self(Mutex::new(All { sinks, retired: Vec::new() })))
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Sink>> {
        self.lock().sinks.get(name).map(|open| Arc::clone(&open.sink))
    }

    pub(crate) fn all(&self) -> Vec<Arc<Sink>> {
        self.lock().sinks.values().map(|open| Arc::clone(&open.sink)).collect()
    }

    /// Opens every output of a new configuration, those that stay the same again. Lines go to
    /// them after [`Self::commit`]; only sinks that are new can be granted at once.
    pub(crate) fn prepare(
        &self,
        specs: &BTreeMap<String, SinkSpec>,
    ) -> Result<PreparedSinks, HostError> {
        let mut outputs = Vec::new();
        for (name, spec) in specs {
            outputs.push((name.clone(), open_output(name, spec)?, spec.flush));
        }
        let mut all = self.lock();
        let mut prepared = PreparedSinks { outputs: Vec::new(), added: Vec::new() };
        for (name, output, flush) in outputs {
            if all.sinks.contains_key(&name) {
                prepared.outputs.push((name, output, flush));
                continue;
            }
            match Open::start(&name, output, flush) {
                Ok(open) => {
                    all.sinks.insert(name.clone(), open);
                    prepared.added.push(name);
                }
                Err(error) => {
                    drop(all);
                    self.discard(prepared);
                    return Err(error);
                }
            }
        }
        Ok(prepared)
    }

    /// Takes back what was prepared.
    pub(crate) fn discard(&self, prepared: PreparedSinks) {
        let mut all = self.lock();
        for name in prepared.added {
            if let Some(open) = all.sinks.remove(&name) {
                all.retired.push(open);
            }
        }
        all.sweep();
    }

    /// Uses what was prepared, and retires sinks that `specs` does not have.
    pub(crate) fn commit(&self, prepared: PreparedSinks, specs: &BTreeMap<String, SinkSpec>) {
        let mut all = self.lock();
        for (name, output, flush) in prepared.outputs {
            if let Some(open) = all.sinks.get(&name)
                && open.writer.requests.send(Request::Output(output, flush)).is_err()
            {
                tracing::error!(sink = name, "log sink thread has ended, cannot reopen its output");
            }
        }
        let gone: Vec<String> =
            all.sinks.keys().filter(|name| !specs.contains_key(*name)).cloned().collect();
        for name in gone {
            if let Some(open) = all.sinks.remove(&name) {
                all.retired.push(open);
            }
        }
        all.sweep();
    }

    /// Returns when everything written before is in the files.
    pub(crate) fn flush(&self) {
        let all = self.lock();
        for open in all.sinks.values().chain(&all.retired) {
            let (done, wait) = channel();
            // A writer that is gone has nothing left to flush.
            if open.writer.requests.send(Request::Flush(done)).is_ok() {
                let _gone = wait.recv();
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl All {
    /// Closes retired sinks that no plugin has any more: the writer's thread and this list do.
    fn sweep(&mut self) {
        const OWN_REFERENCES: usize = 2;
        self.retired.retain(|open| Arc::strong_count(&open.sink) > OWN_REFERENCES);
    }
}

impl Open {
    fn start(name: &str, output: Output, flush: Duration) -> Result<Self, HostError> {
        let sink = Arc::new(Sink {
            name: name.to_owned(),
            buffers: ThreadLocal::new(),
            lines: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        });
        let (requests, queue) = channel();
        let own = Arc::clone(&sink);
        let thread = thread::Builder::new()
            .name(format!("sink-{name}"))
            .spawn(move || run(&own, output, flush, &queue))
            .map_err(|source| HostError::Io {
                what: format!("cannot start the thread of the sink `{name}`"),
                source,
            })?;
        Ok(Self { sink, writer: Writer { requests, thread: Some(thread) } })
    }
}

fn open_output(name: &str, spec: &SinkSpec) -> Result<Output, HostError> {
    Output::open(&spec.target).map_err(|source| {
        let what = match &spec.target {
            SinkTarget::File(path) => {
                format!("cannot open the sink `{name}` at {}", path.display())
            }
            SinkTarget::Stdout => format!("cannot open the sink `{name}`"),
        };
        HostError::Io { what, source }
    })
}

impl Drop for Writer {
    fn drop(&mut self) {
        let (nothing, _) = channel();
        drop(std::mem::replace(&mut self.requests, nothing));
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("a sink's thread panicked; its last lines are lost");
        }
    }
}

fn run(sink: &Sink, output: Output, interval: Duration, requests: &Receiver<Request>) {
    let mut state = (output, interval);
    // A bug in here costs some lines, not the log for the rest of the process's life.
    while catch_unwind(AssertUnwindSafe(|| write_lines(sink, &mut state, requests))).is_err() {
        tracing::error!(sink = sink.name, "log sink thread panicked, restarting");
        thread::sleep(RESTART_DELAY);
    }
}

/// Between a panic of a sink's thread and its restart.
const RESTART_DELAY: Duration = Duration::from_secs(1);

fn write_lines(
    sink: &Sink,
    (output, interval): &mut (Output, Duration),
    requests: &Receiver<Request>,
) {
    let mut spare = Vec::new();
    let failing = AtomicBool::new(false);
    loop {
        let request = requests.recv_timeout(*interval);
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
                Err(error) => lost(sink, &spare, &failing, &error),
            }
            spare.clear();
        }
        match request {
            // Whoever asked may have given up waiting.
            Ok(Request::Flush(done)) => drop(done.send(())),
            Ok(Request::Output(new, every)) => {
                *output = new;
                *interval = every;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
}

fn lost(sink: &Sink, bytes: &[u8], failing: &AtomicBool, error: &io::Error) {
    let lines = bytes.split(|byte| *byte == b'\n').count().saturating_sub(1);
    sink.dropped.fetch_add(lines as u64, Ordering::Relaxed);
    // Said once, not twenty times a second while a disk is full.
    if !failing.swap(true, Ordering::Relaxed) {
        tracing::error!(sink = sink.name, %error, "cannot write to the sink; its lines are dropped and counted");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

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
        let sink = &sinks.get("access").unwrap();
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

    #[test]
    fn another_configuration_moves_adds_and_retires_outputs_and_loses_no_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let spec = |path: PathBuf| SinkSpec {
            target: SinkTarget::File(path),
            flush: Duration::from_mins(1),
        };
        let sinks = open(file("a.log"));
        let access = sinks.get("access").unwrap();
        access.write(b"before").unwrap();
        // One that cannot be opened changes nothing.
        let wrong = BTreeMap::from([
            ("access".to_owned(), spec(file("b.log"))),
            ("more".to_owned(), spec(file("c.log"))),
            ("wrong".to_owned(), spec(folder.path().to_owned())),
        ]);
        assert!(sinks.prepare(&wrong).is_err());
        assert!(sinks.get("more").is_none());
        access.write(b"still").unwrap();
        sinks.flush();
        assert_eq!(std::fs::read_to_string(file("a.log")).unwrap(), "before\nstill\n");
        let mut specs = wrong;
        specs.remove("wrong");
        let prepared = sinks.prepare(&specs).unwrap();
        let more = sinks.get("more").unwrap();
        sinks.commit(prepared, &specs);
        access.write(b"moved").unwrap();
        more.write(b"new").unwrap();
        sinks.flush();
        access.write(b"last").unwrap();
        sinks.flush();
        let moved = std::fs::read_to_string(file("b.log")).unwrap();
        let all = std::fs::read_to_string(file("a.log")).unwrap() + &moved;
        assert_eq!(all, "before\nstill\nmoved\nlast\n", "each line once, in order");
        assert!(moved.ends_with("last\n"), "{moved}");
        assert_eq!(std::fs::read_to_string(file("c.log")).unwrap(), "new\n");
        // A plugin that still has a retired one writes on.
        specs.remove("more");
        sinks.commit(sinks.prepare(&specs).unwrap(), &specs);
        assert!(sinks.get("more").is_none());
        more.write(b"late").unwrap();
        sinks.flush();
        assert_eq!(std::fs::read_to_string(file("c.log")).unwrap(), "new\nlate\n");
        drop(more);
        sinks.commit(sinks.prepare(&specs).unwrap(), &specs);
        assert!(sinks.lock().retired.is_empty());
    }
}
