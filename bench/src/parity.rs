//! Before anything is compared: the servers do the same. The same requests get the same answers
//! and leave the same lines in the log, whoever does the work.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::app::{LOG, Mode};
use crate::clock;
use crate::compare::Server;
use crate::load::{Connection, Response};
use crate::workload::{SCOPE, SECRET, bytes, token};

/// How long lines may take to be in the file.
const LOG_DEADLINE: Duration = Duration::from_secs(5);

/// What differs from run to run.
const VOLATILE: [&str; 6] = [
    "time",
    "request_id",
    "trace_id",
    "span_id",
    "duration_us",
    // The text of a problem is each side's own.
    "bytes",
];

/// What one request came to.
#[derive(Debug, PartialEq)]
struct Outcome {
    status: u16,
    /// Names, with the values where these are not volatile.
    headers: BTreeMap<String, Option<String>>,
    /// The body of a success; title and status of a problem.
    body: Value,
    /// The log line without what is volatile; all of its keys.
    line: BTreeMap<String, Value>,
}

/// Fails with what differs between a server and its native twin.
pub(crate) fn check(modes: &[Mode], folder: &Path, core: usize) -> Result<()> {
    let now_us = clock::now_us();
    let cases = cases(now_us);
    for mode in modes {
        let Some(native) = mode.native() else {
            continue;
        };
        let expected = outcomes(native, &cases, folder, core)?;
        let found = outcomes(*mode, &cases, folder, core)?;
        for ((name, _), (expected, found)) in cases.iter().zip(expected.iter().zip(&found)) {
            ensure!(
                expected == found,
                "{} and {} differ on {name}, so they cannot be compared:\n{expected:#?}\n{found:#?}",
                native.name(),
                mode.name()
            );
        }
    }
    Ok(())
}

/// Requests by what is special about them.
fn cases(now_us: u64) -> Vec<(&'static str, Vec<u8>)> {
    let good = format!("Bearer {}", token(7, SCOPE, now_us, SECRET));
    let forged = format!("Bearer {}", token(7, SCOPE, now_us, &[0; 32]));
    let narrow = format!("Bearer {}", token(8, "users.read", now_us, SECRET));
    let long_ago = now_us - 100 * 86_400 * 1_000_000;
    let expired = format!("Bearer {}", token(7, SCOPE, long_ago, SECRET));
    let tweet = "/2/tweets/20";
    vec![
        ("a good token", bytes("GET", tweet, Some(&good))),
        ("the same token again", bytes("GET", tweet, Some(&good))),
        ("a query with a secret", bytes("GET", "/2/tweets?ids=20&code=s3cret", Some(&good))),
        ("another method", bytes("DELETE", tweet, Some(&good))),
        ("no token", bytes("GET", tweet, None)),
        ("another scheme", bytes("GET", tweet, Some("Basic YTpi"))),
        ("a forged token", bytes("GET", tweet, Some(&forged))),
        ("an expired token", bytes("GET", tweet, Some(&expired))),
        ("missing scopes", bytes("GET", tweet, Some(&narrow))),
        ("an unknown path", bytes("GET", "/nowhere", Some(&good))),
    ]
}

fn outcomes(
    mode: Mode,
    cases: &[(&'static str, Vec<u8>)],
    folder: &Path,
    core: usize,
) -> Result<Vec<Outcome>> {
    let log = folder.join(LOG);
    // A server of an earlier check may have left one.
    if log.exists() {
        fs::remove_file(&log)?;
    }
    let server = Server::start(mode, folder, core)?;
    let mut connection = Connection::open(server.address)?;
    let mut responses = Vec::new();
    for (name, request) in cases {
        let response = connection
            .exchange(request)
            .with_context(|| format!("{} does not answer {name}", mode.name()))?;
        responses.push(response);
    }
    let lines = lines(&log, cases.len())?;
    responses.into_iter().zip(lines).map(|(response, line)| outcome(response, &line)).collect()
}

fn outcome(response: Response, line: &str) -> Result<Outcome> {
    let mut body: Value = if response.body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&response.body).context("a body is not JSON")?
    };
    if let Some(problem) = body.as_object_mut() {
        problem.remove("detail");
    }
    let mut line: BTreeMap<String, Value> =
        serde_json::from_str(line).context("a log line is not a JSON object")?;
    for key in VOLATILE {
        if let Some(value) = line.get_mut(key) {
            *value = Value::from("*");
        }
    }
    let headers = response
        .headers
        .into_iter()
        .map(|(name, value)| {
            let volatile = matches!(
                name.as_str(),
                "date" | "content-length" | "www-authenticate" | "x-rate-limit-reset"
            );
            (name, (!volatile).then_some(value))
        })
        .collect();
    Ok(Outcome { status: response.status, headers, body, line })
}

fn lines(log: &Path, count: usize) -> Result<Vec<String>> {
    let began = Instant::now();
    loop {
        // It comes into being with the first line.
        let text = fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if lines.len() >= count && text.ends_with('\n') {
            ensure!(lines.len() == count, "{} lines for {count} requests", lines.len());
            return Ok(lines);
        }
        if began.elapsed() > LOG_DEADLINE {
            bail!("{} of {count} lines are in the log", lines.len());
        }
        thread::sleep(Duration::from_millis(10));
    }
}
