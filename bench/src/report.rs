//! What was measured, as a table for people and as JSON, held against the budgets.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::app::Mode;
use crate::compare::Plan;
use crate::memory::Memory;
use crate::places;

/// One measurement of one server.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) mode: Mode,
    pub(crate) round: u32,
    pub(crate) responses: u64,
    pub(crate) took: Duration,
    pub(crate) cpu_ns: u64,
    /// Responses without a line in the log.
    pub(crate) lines_lost: u64,
}

impl Run {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn cpu_us(&self) -> f64 {
        self.cpu_ns as f64 / 1e3 / self.responses.max(1) as f64
    }

    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    fn requests_per_second(&self) -> f64 {
        self.responses as f64 / self.took.as_secs_f64()
    }
}

/// All that was measured.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) plan: Plan,
    /// Connections, each with a user's requests.
    pub(crate) requests: usize,
    pub(crate) runs: Vec<Run>,
    pub(crate) memory: Vec<Memory>,
}

/// One server over all rounds: medians.
#[derive(Clone, Copy, Debug)]
struct Summary {
    mode: Mode,
    requests_per_second: f64,
    cpu_us: f64,
    /// CPU time a request over the bare server of the same round.
    over_bare_us: f64,
    least_over_bare_us: f64,
    /// The median as a multiple of its native twin's.
    ratio: Option<f64>,
}

impl Figures {
    fn median(&self, mode: Mode, figure: impl Fn(&Run) -> Option<f64>) -> f64 {
        let of_mode = self.runs.iter().filter(|run| run.mode == mode);
        let mut values: Vec<f64> = of_mode.filter_map(figure).collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (values.len().saturating_sub(1) / 2, values.len() / 2);
        let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
        f64::midpoint(at(low), at(high))
    }

    /// CPU time of a run over the bare server's in the same round.
    fn over_bare_of(&self, run: &Run) -> Option<f64> {
        let bare = |other: &&Run| other.mode == Mode::Bare && other.round == run.round;
        let bare = self.runs.iter().find(bare)?;
        Some(run.cpu_us() - bare.cpu_us())
    }

    fn over_bare_us(&self, mode: Mode) -> f64 {
        self.median(mode, |run| self.over_bare_of(run))
    }

    /// As in the calmest round of either server: what others do on the machine only ever adds.
    fn least_over_bare_us(&self, mode: Mode) -> f64 {
        let least = |mode: Mode| {
            let of_mode = self.runs.iter().filter(|run| run.mode == mode);
            of_mode.map(Run::cpu_us).fold(f64::NAN, f64::min)
        };
        least(mode) - least(Mode::Bare)
    }

    fn summary(&self, mode: Mode) -> Summary {
        let over_bare_us = self.over_bare_us(mode);
        let native = mode.native().filter(|native| self.plan.modes.contains(native));
        Summary {
            mode,
            requests_per_second: self.median(mode, |run| Some(run.requests_per_second())),
            cpu_us: self.median(mode, |run| Some(run.cpu_us())),
            over_bare_us,
            least_over_bare_us: self.least_over_bare_us(mode),
            ratio: native.map(|native| over_bare_us / self.over_bare_us(native)),
        }
    }
}

/// A line of the contract's table of budgets.
struct Budget {
    what: &'static str,
    unit: &'static str,
    must: f64,
    aim: f64,
    measured: Option<f64>,
}

impl Budget {
    /// `aim`, `must`, or by how much it is missed.
    fn verdict(&self) -> String {
        match self.measured {
            None => "not measured".to_owned(),
            Some(measured) if measured <= self.aim => "met, and its aim".to_owned(),
            Some(measured) if measured <= self.must => "met".to_owned(),
            Some(measured) => {
                let percent = (measured / self.must - 1.0) * 100.0;
                format!("MISSED by {percent:.0} %")
            }
        }
    }
}

fn budgets(figures: &Figures) -> Vec<Budget> {
    let summary = |mode: Mode| {
        let measured = figures.plan.modes.contains(&mode);
        measured.then(|| figures.summary(mode))
    };
    let over_bare = |mode| summary(mode).map(|it| it.over_bare_us);
    let ratio = |mode| summary(mode).and_then(|it| it.ratio);
    let hook = |name: &str| {
        let difference = estimate_ns("hooks", name)? - estimate_ns("hooks", "alone")?;
        Some(difference / 1e3)
    };
    let lifecycle = |name: &str| estimate_ns("lifecycle", name).map(|ns| ns / 1e6);
    let largest = figures.memory.iter().map(|plugin| plugin.resident / 1_024.0).reduce(f64::max);
    let budget = |what, unit, must, aim, measured| Budget { what, unit, must, aim, measured };
    let slower = |a: &str, b: &str| Some(lifecycle(a)?.max(lifecycle(b)?));
    vec![
        budget("a hook that reads one declared header", "us", 0.6, 0.5, hook("one-field")),
        budget("three plugins, tokens checked", "us", 11.0, 9.0, over_bare(Mode::Wasm)),
        budget("  against native middleware", "x", 1.2, 1.1, ratio(Mode::Wasm)),
        budget("three plugins, tokens cached", "us", 8.0, 6.0, over_bare(Mode::WasmCache)),
        budget("  against native middleware", "x", 1.1, 1.0, ratio(Mode::WasmCache)),
        budget("a fresh instance per request", "us", 16.0, 10.0, hook("fresh")),
        budget(
            "swap: precompiled to serving",
            "ms",
            20.0,
            10.0,
            slower("swap-component", "swap-config"),
        ),
        budget("restart to ready, warm cache", "ms", 300.0, 150.0, lifecycle("restart")),
        budget("memory of a warm instance", "KiB", 64.0, 32.0, largest),
    ]
}

/// The median that criterion found, in nanoseconds.
fn estimate_ns(group: &str, name: &str) -> Option<f64> {
    let path = places::criterion_folder().join(format!("{group}/{name}/new/estimates.json"));
    let text = fs::read_to_string(path).ok()?;
    let estimates: Value = serde_json::from_str(&text).ok()?;
    estimates.pointer("/median/point_estimate")?.as_f64()
}

/// Hooks and swaps by the names that `benches/hooks.rs` gives them.
const MICRO: [(&str, &str); 16] = [
    ("hooks", "alone"),
    ("hooks", "no-plugin"),
    ("hooks", "one-field"),
    ("hooks", "one-field-twice"),
    ("hooks", "twenty-fields"),
    ("hooks", "fresh"),
    ("chains", "logging"),
    ("chains", "auth"),
    ("chains", "auth-cache"),
    ("chains", "auth-cache-ratelimit"),
    ("chains", "all"),
    ("chains", "all-cache"),
    ("lifecycle", "swap-config"),
    ("lifecycle", "swap-component"),
    ("lifecycle", "rollback"),
    ("lifecycle", "restart"),
];

/// Prints the tables and writes the figures.
pub(crate) fn report(figures: &Figures) -> Result<()> {
    let summaries: Vec<_> =
        (figures.plan.modes.iter()).map(|mode| figures.summary(*mode)).collect();
    let budgets = budgets(figures);
    let text = tables(figures, &summaries, &budgets).context("cannot write the tables")?;
    std::io::stdout().lock().write_all(text.as_bytes())?;
    let path = places::results();
    let document = document(figures, &summaries, &budgets);
    let folder = path.parent().context("the results have no folder")?;
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&path, format!("{document:#}\n")))
        .with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("figures of every round: {}", path.display());
    Ok(())
}

fn tables(
    figures: &Figures,
    summaries: &[Summary],
    budgets: &[Budget],
) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    writeln!(out, "\nhooks and swaps (medians)            time")?;
    for (group, name) in MICRO {
        let Some(ns) = estimate_ns(group, name) else {
            continue;
        };
        write!(out, "  {:<30} {:>10}", format!("{group}/{name}"), time(ns))?;
        match estimate_ns("hooks", "alone").filter(|_| group != "lifecycle" && name != "alone") {
            Some(alone) => writeln!(out, "   {:>10} over alone", time(ns - alone))?,
            None => writeln!(out)?,
        }
    }
    writeln!(out, "\nwarm instances                  resident     linear")?;
    for plugin in &figures.memory {
        writeln!(
            out,
            "  {:<25} {:>8.1} KiB {:>6.0} KiB",
            plugin.plugin,
            plugin.resident / 1_024.0,
            plugin.linear / 1_024.0
        )?;
    }
    writeln!(
        out,
        "\nservers: medians of {} rounds of {} s, {} connections, one core for each side",
        figures.plan.rounds,
        figures.plan.time.as_secs(),
        figures.requests
    )?;
    writeln!(out, "  mode            requests/s  CPU us/request  over bare   calmest  x native")?;
    for row in summaries {
        let ratio = row.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        writeln!(
            out,
            "  {:<14} {:>11.0} {:>15.2} {:>10.2} {:>10.2} {ratio:>9}",
            row.mode.name(),
            row.requests_per_second,
            row.cpu_us,
            row.over_bare_us,
            row.least_over_bare_us
        )?;
    }
    writeln!(out, "\nbudgets                                    measured     must      aim")?;
    for row in budgets {
        let measured =
            row.measured.map_or_else(|| "-".to_owned(), |measured| format!("{measured:.2}"));
        writeln!(
            out,
            "  {:<38} {measured:>8} {:>3} {:>6} {:>8}  {}",
            row.what,
            row.unit,
            row.must,
            row.aim,
            row.verdict()
        )?;
    }
    Ok(out)
}

fn time(ns: f64) -> String {
    if ns.abs() < 1e3 {
        format!("{ns:.0} ns")
    } else if ns.abs() < 1e6 {
        format!("{:.2} us", ns / 1e3)
    } else {
        format!("{:.2} ms", ns / 1e6)
    }
}

fn document(figures: &Figures, summaries: &[Summary], budgets: &[Budget]) -> Value {
    let micro: serde_json::Map<String, Value> = MICRO
        .iter()
        .filter_map(|(group, name)| {
            Some((format!("{group}/{name}"), estimate_ns(group, name)?.into()))
        })
        .collect();
    json!({
        "machine": machine(),
        "rounds": figures.plan.rounds,
        "seconds": figures.plan.time.as_secs(),
        "connections": figures.requests,
        "micro_ns": micro,
        "memory": figures.memory.iter().map(|it| json!({
            "plugin": it.plugin, "resident_bytes": it.resident, "linear_bytes": it.linear,
        })).collect::<Vec<_>>(),
        "servers": summaries.iter().map(|it| json!({
            "mode": it.mode.name(), "requests_per_second": it.requests_per_second,
            "cpu_us": it.cpu_us, "over_bare_us": it.over_bare_us,
            "least_over_bare_us": it.least_over_bare_us, "ratio_to_native": it.ratio,
        })).collect::<Vec<_>>(),
        "runs": figures.runs.iter().map(|it| json!({
            "mode": it.mode.name(), "round": it.round, "responses": it.responses,
            "seconds": it.took.as_secs_f64(), "cpu_us": it.cpu_us(),
            "lines_lost": it.lines_lost,
        })).collect::<Vec<_>>(),
        "budgets": budgets.iter().map(|it| json!({
            "what": it.what.trim(), "unit": it.unit, "must": it.must, "aim": it.aim,
            "measured": it.measured, "verdict": it.verdict(),
        })).collect::<Vec<_>>(),
    })
}

/// What the figures depend on most.
pub(crate) fn machine() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| Some(line.strip_prefix("model name")?.split_once(": ")?.1.to_owned()));
    json!({
        "processor": processor,
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "load_before": read("/proc/loadavg").split(' ').next(),
    })
}
