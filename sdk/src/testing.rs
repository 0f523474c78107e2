//! A host in memory, so that a plugin's tests run natively. Not part of a component.
//!
//! Each thread, and so each test, has a host of its own: it grants everything, its time moves
//! only by [`advance`] and [`set_time`], and it keeps what the plugin wrote. Call [`reset`] first
//! where several tests share a thread (`--test-threads=1`).
//!
//! ```
//! use pillion_plugin::{kv, testing};
//!
//! kv::set("seen", b"1", Some(1_000)).unwrap();
//! testing::advance(std::time::Duration::from_secs(1));
//! assert_eq!(kv::get("seen").unwrap(), None);
//! ```

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    ConfigError, Descriptor, Exported, Plugin, config, crypto::Algorithm, kv::KvError,
    limiter::LimiterError, log::Level, metrics::Label, sink::SinkError,
};

pub(crate) mod imports;
mod keys;
mod quota;
mod request;

pub use request::Request;

/// What the host in memory knows.
pub(crate) struct Host {
    now_us: u64,
    fields: Option<BTreeMap<String, Vec<u8>>>,
    logs: Vec<(Level, String)>,
    lines: BTreeMap<String, Vec<Vec<u8>>>,
    entries: BTreeMap<String, imports::Entry>,
    quotas: quota::Quotas,
    counters: BTreeMap<String, u64>,
    gauges: BTreeMap<String, f64>,
    histograms: BTreeMap<String, Vec<f64>>,
    keys: BTreeMap<String, BTreeMap<String, keys::Key>>,
    random_state: u64,
    verifications: u64,
    revocations: BTreeSet<String>,
    revocation_checks: u64,
    sink_error: Option<SinkError>,
    kv_error: Option<KvError>,
    limiter_error: Option<LimiterError>,
}

/// 2026-01-01T00:00:00Z in microseconds: where the time of a new host stands.
pub const START_US: u64 = 1_767_225_600_000_000;

impl Host {
    fn new() -> Self {
        Self {
            now_us: START_US,
            fields: None,
            logs: Vec::new(),
            lines: BTreeMap::new(),
            entries: BTreeMap::new(),
            quotas: quota::Quotas::default(),
            counters: BTreeMap::new(),
            gauges: BTreeMap::new(),
            histograms: BTreeMap::new(),
            keys: BTreeMap::new(),
            random_state: 0,
            verifications: 0,
            revocations: BTreeSet::new(),
            revocation_checks: 0,
            sink_error: None,
            kv_error: None,
            limiter_error: None,
        }
    }
}

thread_local! {
    static HOST: RefCell<Host> = RefCell::new(Host::new());
}

pub(crate) fn host<R>(action: impl FnOnce(&mut Host) -> R) -> R {
    HOST.with_borrow_mut(action)
}

/// Forgets everything, and sets the time to [`START_US`].
pub fn reset() {
    host(|host| *host = Host::new());
}

/// Configures a plugin as a host would.
///
/// # Errors
/// What an operator would see.
pub fn configure<P: Plugin>(json: &str) -> Result<P, Vec<ConfigError>> {
    config::configure(json)
}

/// What a plugin says of itself.
pub fn describe<P: Exported>() -> Descriptor {
    P::describe()
}

/// Sets the time of day, in microseconds since 1970.
pub fn set_time(now_us: u64) {
    host(|host| host.now_us = now_us);
}

/// The time of day, in microseconds since 1970.
pub fn time() -> u64 {
    host(|host| host.now_us)
}

/// Lets time pass.
pub fn advance(by: Duration) {
    let us = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
    host(|host| host.now_us = host.now_us.saturating_add(us));
}

/// The messages that the plugin logged.
pub fn logs() -> Vec<(Level, String)> {
    host(|host| host.logs.clone())
}

/// The lines that the plugin wrote to an output, as text.
pub fn lines(sink: &str) -> Vec<String> {
    host(|host| {
        let lines = host.lines.get(sink).map(Vec::as_slice).unwrap_or_default();
        lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    })
}

/// From now on outputs answer with this error; `None` ends it.
pub fn fail_sink(error: Option<SinkError>) {
    host(|host| host.sink_error = error);
}

/// From now on [`kv`](crate::kv) answers with this error; `None` ends it.
pub fn fail_kv(error: Option<KvError>) {
    host(|host| host.kv_error = error);
}

/// From now on [`limiter`](crate::limiter) answers with this error; `None` ends it.
pub fn fail_limiter(error: Option<LimiterError>) {
    host(|host| host.limiter_error = error);
}

/// The value of a counter; 0 when it was never added to.
pub fn counter(name: &str, labels: &[Label<'_>]) -> u64 {
    let series = imports::series(name, labels);
    host(|host| host.counters.get(&series).copied().unwrap_or(0))
}

/// The value of a gauge.
pub fn gauge(name: &str, labels: &[Label<'_>]) -> Option<f64> {
    let series = imports::series(name, labels);
    host(|host| host.gauges.get(&series).copied())
}

/// The values that a histogram got.
pub fn histogram(name: &str, labels: &[Label<'_>]) -> Vec<f64> {
    let series = imports::series(name, labels);
    host(|host| host.histograms.get(&series).cloned().unwrap_or_default())
}

/// Adds a key to a key set: for `HmacSha256` a secret of any length, for `Ed25519` the 32 bytes
/// of a seed.
///
/// # Panics
/// When an Ed25519 seed has another length.
pub fn add_key(keyset: &str, kid: &str, algorithm: Algorithm, secret: &[u8]) {
    let key = keys::Key::new(algorithm, secret);
    host(|host| host.keys.entry(keyset.to_owned()).or_default().insert(kid.to_owned(), key));
}

/// Signs with a key that was added.
///
/// # Panics
/// When there is none.
pub fn sign(keyset: &str, kid: &str, message: &[u8]) -> Vec<u8> {
    host(|host| {
        let key = host.keys.get(keyset).and_then(|keys| keys.get(kid));
        key.map(|key| key.sign(message))
    })
    .unwrap_or_else(|| keys::absent(keyset, kid))
}

/// Revokes an id, which raises the revision unless it is revoked already.
pub fn revoke(id: &str) {
    host(|host| host.revocations.insert(id.to_owned()));
}

/// How often the plugin asked whether ids are revoked: to see that a cache works.
pub fn revocation_checks() -> u64 {
    host(|host| host.revocation_checks)
}

/// How many signatures the plugin has had checked: to see that a cache works.
pub fn verifications() -> u64 {
    host(|host| host.verifications)
}
