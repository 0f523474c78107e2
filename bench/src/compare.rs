//! The comparison: interleaved rounds, a server at a time, each on a core of its own.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::app::{LOG, Mode};
use crate::clock;
use crate::load::Load;
use crate::memory;
use crate::parity;
use crate::report::{Figures, Run, report};
use crate::server::{CPU, LISTENING, cores, pin};
use crate::workload;

/// Before each measurement: caches fill, the processor's clock settles.
const WARM_UP: Duration = Duration::from_millis(500);

/// After each: the last lines get into the log.
const SETTLE: Duration = Duration::from_millis(100);

/// How a comparison goes.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Times that every server is measured.
    pub rounds: u32,
    /// Length of each measurement.
    pub time: Duration,
    /// The servers, [`Mode::Bare`] among them.
    pub modes: Vec<Mode>,
}

/// Checks that the servers do the same, measures them, prints the tables and writes the figures.
pub fn compare(plan: &Plan) -> Result<()> {
    let (server_core, load_core) = cores()?;
    if server_core == load_core {
        eprintln!("there is one core for servers and load: requests/s mean little");
    }
    let folder = tempfile::tempdir()?;
    eprintln!("checking that the servers do the same");
    parity::check(&plan.modes, folder.path(), server_core)?;
    eprintln!("measuring the memory of warm instances");
    let memory = memory::measure(folder.path())?;
    pin(load_core)?;
    let requests = workload::requests(clock::now_us());
    let mut runs = Vec::new();
    for round in 1..=plan.rounds {
        eprintln!("round {round} of {}", plan.rounds);
        for mode in &plan.modes {
            runs.push(
                run(*mode, round, plan.time, &requests, folder.path(), server_core)
                    .with_context(|| format!("{} in round {round}", mode.name()))?,
            );
        }
    }
    report(&Figures { plan: plan.clone(), requests: requests.len(), runs, memory })
}

fn run(
    mode: Mode,
    round: u32,
    time: Duration,
    requests: &[Vec<u8>],
    folder: &Path,
    core: usize,
) -> Result<Run> {
    let log = folder.join(LOG);
    // Some 100 MB a run; the bare server writes none.
    if log.exists() {
        fs::remove_file(&log)?;
    }
    let mut server = Server::start(mode, folder, core)?;
    let mut load = Load::start(server.address, requests)?;
    let warm_up = load.run(WARM_UP)?;
    let (began, cpu_before) = (Instant::now(), server.cpu_ns()?);
    let responses = load.run(time)?;
    let (cpu_after, took) = (server.cpu_ns()?, began.elapsed());
    drop(load);
    thread::sleep(SETTLE);
    drop(server);
    let lines_lost = match mode {
        Mode::Bare => 0,
        _ => (warm_up + responses).saturating_sub(count_lines(&log)?),
    };
    if lines_lost > 0 {
        eprintln!("{} lost {lines_lost} log lines: it did less than it should", mode.name());
    }
    let cpu_ns = cpu_after.saturating_sub(cpu_before);
    Ok(Run { mode, round, responses, took, cpu_ns, lines_lost })
}

#[expect(clippy::naive_bytecount, reason = "nothing is measured meanwhile")]
fn count_lines(log: &Path) -> Result<u64> {
    let mut file = File::open(log).context("there is no log")?;
    let mut chunk = vec![0; 1 << 20];
    let mut lines = 0;
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(lines),
            bytes => {
                let read = chunk.get(..bytes).unwrap_or_default();
                lines += read.iter().filter(|byte| **byte == b'\n').count() as u64;
            }
        }
    }
}

/// A server in a process of its own. Ends with this value, or with this process.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    child: Child,
    ask: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Server {
    /// Returns once it listens.
    pub(crate) fn start(mode: Mode, folder: &Path, core: usize) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", mode.name(), "--core", &core.to_string()])
            .arg("--folder")
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start the server {}", mode.name()))?;
        let ask = child.stdin.take();
        let stdout = child.stdout.take().context("the server has no output")?;
        let mut answers = BufReader::new(stdout);
        let mut line = String::new();
        answers.read_line(&mut line)?;
        let address = line
            .trim_end()
            .strip_prefix(LISTENING)
            .and_then(|address| address.parse().ok())
            .with_context(|| {
                format!("the server {} does not start; it says why above", mode.name())
            })?;
        Ok(Self { address, child, ask, answers })
    }

    /// CPU time of the server so far.
    fn cpu_ns(&mut self) -> Result<u64> {
        let ask = self.ask.as_mut().context("the server has no input")?;
        writeln!(ask, "{CPU}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        line.trim_end()
            .parse()
            .with_context(|| format!("the server says {line:?} for its CPU time"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It ends when its input does.
        drop(self.ask.take());
        if let Err(error) = self.child.wait() {
            eprintln!("cannot wait for a server: {error}");
        }
    }
}
