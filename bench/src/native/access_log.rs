//! One JSON line per request: buffered per thread, written by one background thread.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result};
use axum::extract::MatchedPath;
use pillion_plugin::timestamp::rfc3339;
use serde::Serialize;
use thread_local::ThreadLocal;

use super::Seen;
use crate::wasm::FLUSH;
use crate::workload::SERVICE;

/// Lines that one thread may have waiting; what comes faster is dropped and counted.
const BUFFER_BYTES_MAX: usize = 1 << 20;

/// Query parameters that never reach the log: the plugin's default.
const MASKED: [&str; 10] = [
    "access_token",
    "client_secret",
    "code",
    "code_verifier",
    "oauth_signature",
    "oauth_token",
    "oauth_verifier",
    "password",
    "refresh_token",
    "token",
];

/// The keys of the logging plugin's line, in its order.
#[derive(Serialize)]
struct Line<'a> {
    time: &'a str,
    request_id: &'a str,
    trace_id: &'a str,
    span_id: &'a str,
    service: &'a str,
    method: &'a str,
    route: Option<&'a str>,
    path: &'a str,
    query: Option<String>,
    status: u16,
    bytes: u64,
    duration_us: u64,
    user_id: Option<&'a str>,
    client_id: Option<&'a str>,
    address: Option<IpAddr>,
    user_agent: Option<Cow<'a, str>>,
    ended_by: &'a str,
    decisions: &'a str,
}

/// The log.
#[derive(Debug)]
pub(super) struct AccessLog(Arc<Buffers>);

#[derive(Debug, Default)]
struct Buffers {
    threads: ThreadLocal<Mutex<Vec<u8>>>,
    dropped: AtomicU64,
}

impl AccessLog {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("cannot open the log {}", path.display()))?;
        let buffers = Arc::new(Buffers::default());
        let weak = Arc::downgrade(&buffers);
        thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            let mut spare = Vec::new();
            // Ends with the log, after the last lines.
            loop {
                thread::sleep(FLUSH);
                let Some(buffers) = weak.upgrade() else { break };
                buffers.flush(&file, &mut spare);
            }
        })?;
        Ok(Self(buffers))
    }

    /// Writes the line of a request that is over.
    pub(super) fn write(&self, seen: &Seen, status: u16, bytes: u64, ended_by: &str) {
        let time = rfc3339(seen.time_us);
        let line = Line {
            time: time.as_str(),
            request_id: seen.request_id.as_str(),
            trace_id: seen.trace.trace_id(),
            span_id: seen.trace.span_id(),
            service: SERVICE,
            method: seen.method.as_str(),
            route: seen.route.as_ref().map(MatchedPath::as_str),
            path: seen.uri.path(),
            query: seen.uri.query().map(mask),
            status,
            bytes,
            duration_us: u64::try_from(seen.arrived.elapsed().as_micros()).unwrap_or(u64::MAX),
            user_id: seen.caller.as_ref().and_then(|it| it.user_id.as_deref()),
            client_id: seen.caller.as_ref().map(|it| it.client_id.as_str()),
            address: seen.address,
            user_agent: seen
                .user_agent
                .as_ref()
                .map(|value| String::from_utf8_lossy(value.as_bytes())),
            ended_by,
            decisions: seen.decisions,
        };
        // Only the background thread ever contends for it, for the time of a swap.
        let buffer = self.0.threads.get_or_default();
        let mut buffer = buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let full = buffer.len() >= BUFFER_BYTES_MAX;
        if full || serde_json::to_writer(&mut *buffer, &line).is_err() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            buffer.push(b'\n');
        }
    }
}

impl Buffers {
    fn flush(&self, mut file: &File, spare: &mut Vec<u8>) {
        for buffer in &self.threads {
            let mut buffer = buffer.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut *buffer, spare);
            drop(buffer);
            if !spare.is_empty()
                && let Err(error) = file.write_all(spare)
            {
                eprintln!("the access log loses lines: {error}");
            }
            spare.clear();
        }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        let dropped = *self.dropped.get_mut();
        if dropped > 0 {
            eprintln!("the access log dropped {dropped} lines");
        }
    }
}

/// The query without the values of the masked parameters.
fn mask(query: &str) -> String {
    let pairs = query.split('&').map(|pair| {
        let name = form_urlencoded::parse(pair.as_bytes()).next();
        match (name, pair.split_once('=')) {
            (Some((name, _)), Some((written, _)))
                if MASKED.iter().any(|masked| name.eq_ignore_ascii_case(masked)) =>
            {
                Cow::Owned(format!("{written}=[redacted]"))
            }
            _ => Cow::Borrowed(pair),
        }
    });
    pairs.collect::<Vec<_>>().join("&")
}
