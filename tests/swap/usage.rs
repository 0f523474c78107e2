//! What a process has taken of the machine.

use rustix::process::Pid;

/// Of one process, at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) resident_bytes: u64,
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
}

impl Usage {
    pub(crate) fn of(pid: Pid) -> Self {
        let folder = format!("/proc/{}", pid.as_raw_nonzero());
        let count =
            |name: &str| std::fs::read_dir(format!("{folder}/{name}")).expect("it runs").count();
        let status = std::fs::read_to_string(format!("{folder}/status")).expect("it runs");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = resident.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
        Self {
            resident_bytes: kib.expect("a number of KiB") << 10,
            descriptors: count("fd"),
            threads: count("task"),
        }
    }
}
