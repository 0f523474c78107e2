//! The referee: tries each case on a host and says whether the host did what it should. It knows
//! nothing of Pillion; `pillion.rs` is the adapter through which it reaches it, and any other host
//! needs one like it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::case::{Case, Reaction, Request};
use crate::make::Made;

/// What a case submits to a host.
#[derive(Debug)]
pub(crate) struct Submission<'a> {
    pub(crate) case: &'a Case,
    pub(crate) component: &'a Made,
}

/// What became of a submission.
#[derive(Clone, Debug)]
pub(crate) enum Loaded {
    /// It runs.
    Accepted,
    /// It does not, and what ran before still does. `class` as in the cases.
    Refused { class: String, message: String },
}

/// A whole response.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What became of a request.
#[derive(Clone, Debug)]
pub(crate) struct Called {
    /// Without one the host broke the connection, which is never right.
    pub(crate) answer: Result<Answer, String>,
    /// Failures of the plugin that the host counted for it: phase and class.
    pub(crate) failures: Vec<(String, String)>,
    /// From the request to the whole response.
    pub(crate) took: Duration,
}

/// A host that cases are tried on. It runs a healthy plugin, the neighbor, from the beginning, and
/// beside it one submission at a time.
pub(crate) trait HostUnderTest {
    /// Loads the submission in the place of the one before. A refusal leaves what runs as it is.
    async fn load(&mut self, submission: &Submission<'_>) -> Loaded;

    /// Sends one request through the submission's plugin, from a client of its own. Failures in
    /// `phase` are waited for when the plugin is expected to fail there.
    async fn call(&mut self, request: &Request, phase: Option<&str>) -> Called;

    /// Sends one request through the neighbor; what is wrong, if something is.
    async fn neighbor(&mut self) -> Result<(), String>;

    /// Whether the host's process lives.
    fn alive(&mut self) -> bool;

    /// How much of this was dropped of the submission's plugin; `None` when the host does not
    /// count it.
    fn dropped(&mut self, what: &str) -> Option<u64>;

    /// Everything that was printed or logged for people since the last call: each line as it would
    /// reach a terminal.
    fn printed(&mut self) -> Vec<String>;

    /// Metrics in the Prometheus text format, where the host has them.
    fn metrics(&mut self) -> String;
}

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) expected: &'static str,
    pub(crate) observed: String,
    pub(crate) took: Duration,
    /// What is wrong.
    pub(crate) wrong: Vec<String>,
}

/// A longer refusal was not cut.
const REFUSAL_BYTES_MAX: usize = 8 << 10;

/// A longer line of a log was not cut: 4 KiB, of which each byte may be escaped.
const LOGGED_BYTES_MAX: usize = 32 << 10;

/// Tries a case: loads it, calls it, and sees that the host and the neighbor are well.
pub(crate) async fn try_case(host: &mut impl HostUnderTest, case: &Case, component: &Made) -> Row {
    let began = Instant::now();
    let mut wrong = Vec::new();
    let observed = match host.load(&Submission { case, component }).await {
        Loaded::Refused { class, message } => {
            judge_refusal(case, &class, &message, &mut wrong);
            format!("refused: {class}")
        }
        Loaded::Accepted if case.expect.reaction == Reaction::Refused => {
            wrong.push("it was loaded".to_owned());
            "loaded".to_owned()
        }
        Loaded::Accepted => called(host, case, &mut wrong).await,
    };
    if !host.alive() {
        wrong.push("the host's process is gone".to_owned());
    }
    if let Err(reason) = host.neighbor().await {
        wrong.push(format!("the neighbor does not work: {reason}"));
    }
    for line in host.printed() {
        judge_print(&line, LOGGED_BYTES_MAX, &mut wrong);
    }
    let took = began.elapsed();
    let expected = case.expect.reaction.name();
    Row { name: case.name.clone(), expected, observed, took, wrong }
}

async fn called(host: &mut impl HostUnderTest, case: &Case, wrong: &mut Vec<String>) -> String {
    let fails = matches!(case.expect.reaction, Reaction::Interrupted | Reaction::Contained);
    let phase = fails.then_some(case.expect.phase.as_str());
    let mut called = host.call(&case.request, phase).await;
    for _ in 1..case.request.times {
        called = host.call(&case.request, phase).await;
    }
    judge_call(case, &called, wrong);
    for (what, least) in &case.expect.dropped {
        if let Some(dropped) = host.dropped(what).filter(|dropped| dropped < least) {
            wrong.push(format!("{dropped} {what} were dropped, not {least}"));
        }
    }
    judge_metrics(&host.metrics(), &case.name, wrong);
    let answer = called.answer.map_or_else(|error| error, |answer| answer.status.to_string());
    match called.failures.first() {
        Some((phase, class)) => format!("{class} in {phase}, {answer}"),
        None => answer,
    }
}

fn judge_refusal(case: &Case, class: &str, message: &str, wrong: &mut Vec<String>) {
    if case.expect.reaction != Reaction::Refused {
        wrong.push(format!("it was refused: {message}"));
        return;
    }
    if !case.expect.class.iter().any(|expected| expected == class) {
        wrong.push(format!("the class is `{class}`, not {:?}: {message}", case.expect.class));
    }
    if !message.contains(&case.expect.says) {
        wrong.push(format!("`{}` is not in: {message}", case.expect.says));
    }
    judge_print(message, REFUSAL_BYTES_MAX, wrong);
}

/// Whatever a component says must neither speak to a terminal nor fill it.
fn judge_print(line: &str, bytes_max: usize, wrong: &mut Vec<String>) {
    if let Some(control) = line.chars().find(|char| char.is_control() && *char != '\n') {
        wrong.push(format!("{control:?} is printed in {line:?}"));
    }
    if line.len() > bytes_max {
        let start: String = line.chars().take(100).collect();
        wrong.push(format!("{} bytes are printed: {start}…", line.len()));
    }
}

fn judge_call(case: &Case, called: &Called, wrong: &mut Vec<String>) {
    let expect = &case.expect;
    let answer = match &called.answer {
        Ok(answer) => answer,
        Err(error) => return wrong.push(format!("there is no answer: {error}")),
    };
    let body = String::from_utf8_lossy(&answer.body);
    let fails = matches!(expect.reaction, Reaction::Interrupted | Reaction::Contained);
    let failed = |(phase, class): &(String, String)| {
        *phase == expect.phase && expect.class.iter().any(|expected| expected == class)
    };
    if fails && !called.failures.iter().any(failed) {
        wrong.push(format!("it failed with {:?}, not {:?}", called.failures, expect.class));
    }
    if !fails && !called.failures.is_empty() {
        wrong.push(format!("it failed with {:?}", called.failures));
    }
    let status = expect.status.unwrap_or(if fails { 503 } else { 200 });
    if answer.status.as_u16() != status {
        wrong.push(format!("the status is {}, not {status}: {body}", answer.status));
    }
    if expect.body.as_ref().is_some_and(|expected| *expected != body) {
        wrong.push(format!("the body is {body:?}, not {:?}", expect.body));
    }
    for (name, value) in &expect.headers {
        if answer.headers.get(name).is_none_or(|found| found != value.as_str()) {
            wrong.push(format!("`{name}` is {:?}, not {value:?}", answer.headers.get(name)));
        }
    }
    for name in expect.without.iter().filter(|name| answer.headers.contains_key(name.as_str())) {
        wrong.push(format!("there is a header `{name}`"));
    }
}

/// What the metrics have of this plugin are samples with numbers that can be added up.
fn judge_metrics(metrics: &str, plugin: &str, wrong: &mut Vec<String>) {
    let own = format!("\"{plugin}\"");
    let own = |line: &&str| line.contains(&own) || line.starts_with("forged");
    for line in metrics.lines().filter(own) {
        let value = line.rsplit_once(' ').and_then(|(_, value)| value.parse::<f64>().ok());
        if value.is_none_or(|value| !value.is_finite()) || line.starts_with("forged") {
            wrong.push(format!("metrics have the line {line:?}"));
        }
    }
}

/// The table's first line.
pub(crate) fn heading() -> String {
    format!("{:<44} {:<11} {:<40} {:>8}", "case", "expected", "observed", "ms")
}

/// One line of it.
pub(crate) fn line(row: &Row) -> String {
    let Row { name, expected, observed, took, wrong } = row;
    let mark = if wrong.is_empty() { "" } else { "  WRONG" };
    let took = took.as_secs_f64() * 1_000.0;
    format!("{name:<44} {expected:<11} {observed:<40} {took:>8.1}{mark}")
}
