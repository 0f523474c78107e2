//! How this host stands with the document, for its reports and its metrics.

use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::document::{Report, State};

/// The last thing known; written by the follower, read by whoever asks.
#[derive(Debug)]
pub(super) struct Standing(Mutex<Known>);

#[derive(Clone, Debug)]
pub(super) struct Known {
    /// `at_us` is set when it is sent.
    pub(super) report: Report,
    /// The newest revision that was seen.
    pub(super) desired: Option<u64>,
}

impl Standing {
    pub(super) fn new(host: String, service: String) -> Self {
        let report = Report {
            host,
            service,
            generation: None,
            revision: None,
            state: State::Activating,
            error: None,
            at_us: 0,
        };
        Self(Mutex::new(Known { report, desired: None }))
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In Prometheus' text format; writing to a String cannot fail.
    pub(super) fn metrics(&self) -> String {
        let Known { report, desired } = self.known().clone();
        let mut page = String::new();
        for (name, help, value) in [
            ("desired_revision", "The newest revision of the fleet's plugins seen here.", desired),
            ("revision", "The revision of the fleet's plugins that runs here.", report.revision),
        ] {
            let name = format!("pillion_fleet_plugins_{name}");
            let value = value.unwrap_or_default();
            let _ = write!(page, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n");
        }
        let name = "pillion_fleet_plugins_state";
        let _ = write!(
            page,
            "# HELP {name} 1 for how this host stands with the fleet's plugins.\n# TYPE {name} gauge\n"
        );
        for state in State::ALL {
            let is_it = u8::from(state == report.state);
            let _ = writeln!(page, "{name}{{state=\"{}\"}} {is_it}", state.name());
        }
        page
    }
}
