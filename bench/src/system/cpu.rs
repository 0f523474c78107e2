//! CPU time of processes, as the kernel counts it.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// A tick of the kernel's count of CPU time: 100 a second on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// What a process has used so far, in user mode and in the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    /// All of its threads.
    pub(crate) own: Duration,
    /// Its children that have ended.
    pub(crate) children: Duration,
}

/// The CPU time of a process that runs.
pub(crate) fn used(pid: u32) -> Result<Used> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    let stat = stat.with_context(|| format!("the process {pid} has ended"))?;
    // The second field, the program's name, may hold anything. From the 14th to the 17th come own
    // times in user mode and in the kernel, and the same of children.
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest).context("no stat")?;
    let mut ticks = fields.split_whitespace().skip(11);
    let mut time = || -> Result<Duration> {
        let ticks: u32 = ticks.next().context("a short stat")?.parse()?;
        Ok(TICK * ticks)
    };
    Ok(Used { own: time()? + time()?, children: time()? + time()? })
}

/// The children of a process's first thread.
pub(crate) fn children(pid: u32) -> Result<Vec<u32>> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    children.split_whitespace().map(|pid| Ok(pid.parse()?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_uses_cpu_time() {
        let pid = std::process::id();
        let before = used(pid).unwrap().own;
        let began = std::time::Instant::now();
        while used(pid).unwrap().own < before + 3 * TICK {
            assert!(began.elapsed() < Duration::from_mins(1), "nothing was counted");
        }
        used(u32::MAX).unwrap_err();
    }
}
