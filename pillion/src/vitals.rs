//! What a process takes of its machine and whether it is well, in Prometheus' text form. The names
//! that begin with `process_` are those of Prometheus' own clients, which dashboards know.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use pillion_chassis::{Clock as _, SystemClock, Timestamp};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::serve::{Admission, Health};

/// Where the numbers come from.
#[derive(Debug)]
pub(crate) struct Vitals {
    started: Timestamp,
    health: Health,
    admission: Arc<Admission>,
    /// The data folder, whose disk must not be full.
    data: PathBuf,
}

impl Vitals {
    /// Of a process that starts now.
    pub(crate) fn new(health: Health, admission: Arc<Admission>, data: PathBuf) -> Self {
        Self { started: SystemClock.now(), health, admission, data }
    }

    /// What `/readyz` says.
    pub(crate) fn is_ready(&self) -> bool {
        self.health.is_ready()
    }

    /// What this machine cannot tell is left out.
    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        let version = env!("CARGO_PKG_VERSION");
        let _ = writeln!(
            text,
            "# HELP pillion_build_info The program that runs.\n\
             # TYPE pillion_build_info gauge\n\
             pillion_build_info{{version=\"{version}\"}} 1"
        );
        let truth = |is: bool| Some(u64::from(is));
        let samples = [
            (
                "pillion_ready",
                "gauge",
                "Whether /readyz is 200: 0 while it starts, drains, or lacks a database.",
                truth(self.health.is_ready()),
            ),
            (
                "pillion_databases_up",
                "gauge",
                "Whether all databases of the process answer; without one, its events and sagas \
                 are not told of.",
                truth(*self.health.databases.borrow()),
            ),
            (
                "pillion_requests_in_flight",
                "gauge",
                "Requests that are worked on; at pillion_requests_limit more are shed.",
                u64::try_from(self.admission.in_flight()).ok(),
            ),
            (
                "pillion_requests_limit",
                "gauge",
                "Requests that may be worked on at once: server.requests, and fewer while requests \
                 wait for the processor or the database.",
                u64::try_from(self.admission.limit()).ok(),
            ),
            (
                "pillion_data_free_bytes",
                "gauge",
                "Room on the disk of the data folder.",
                rustix::fs::statvfs(&self.data).ok().map(|it| it.f_bavail * it.f_frsize),
            ),
            (
                "process_start_time_seconds",
                "gauge",
                "When the process started, in seconds since 1970.",
                Some(self.started.as_secs()),
            ),
            (
                "process_resident_memory_bytes",
                "gauge",
                "Memory that the process has in RAM.",
                resident_bytes(),
            ),
            ("process_open_fds", "gauge", "Open files and sockets.", open_fds()),
            (
                "process_max_fds",
                "gauge",
                "How many files and sockets may be open.",
                getrlimit(Resource::Nofile).current,
            ),
        ];
        for (name, kind, help, value) in samples {
            if let Some(value) = value {
                let _ =
                    writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
            }
        }
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let _ = writeln!(
            text,
            "# HELP process_cpu_seconds_total CPU time of all threads.\n\
             # TYPE process_cpu_seconds_total counter\n\
             process_cpu_seconds_total {}.{:09}",
            cpu.tv_sec, cpu.tv_nsec
        );
        text
    }
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn open_fds() -> Option<u64> {
    // The folder itself is open while it is read.
    let all = fs::read_dir("/proc/self/fd").ok()?.count();
    u64::try_from(all.saturating_sub(1)).ok()
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;
    use crate::workers::WorkerBoard;

    #[test]
    fn a_process_tells_how_it_is() {
        let (_serving, serving) = watch::channel(true);
        let (databases_well, databases) = watch::channel(true);
        let health = Health { serving, databases, workers: WorkerBoard::default() };
        let vitals = Vitals::new(health, Arc::new(Admission::new(1, 1)), std::env::temp_dir());
        let value = |name: &str| {
            let page = vitals.metrics();
            let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("no {name} in\n{page}")).parse::<f64>().unwrap()
        };
        assert!(value("process_cpu_seconds_total") > 0.0);
        assert!(value("process_resident_memory_bytes") > 1_000_000.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        assert!(value("pillion_data_free_bytes") > 0.0);
        assert!(value("process_start_time_seconds") > 1_700_000_000.0);
        assert!(value("pillion_requests_in_flight") < 1.0);
        assert!(value("pillion_ready") > 0.0 && value("pillion_databases_up") > 0.0);
        databases_well.send_replace(false);
        assert!(value("pillion_ready") < 1.0 && value("pillion_databases_up") < 1.0);
    }
}
