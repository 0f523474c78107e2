//! The sections of `pillion.toml` as types. What each key means stands in the file itself,
//! which a test compares with the defaults here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pillion_host::{
    BreakerSpec, Digest, FailurePolicy, Fallback, Grants, InstanceMode, Limits, SinkSpec,
    SinkTarget,
};
use serde::{Deserialize, Deserializer};

use crate::serve::{ForwardedHeader, Network, Proxies};

/// The services that exist, the one that faces clients first. Add new ones at the end: the place
/// is what tells ids of one service from those of another.
pub(crate) const SERVICES: [&str; 9] = [
    "gateway",
    "identity",
    "users",
    "tweets",
    "graph",
    "engagements",
    "timelines",
    "search",
    "notifications",
];

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) server: Server,
    pub(crate) log: Log,
    pub(crate) host: HostSection,
    pub(crate) tokens: Tokens,
    pub(crate) accounts: Accounts,
    pub(crate) tls: TlsSection,
    pub(crate) broker: BrokerSection,
    pub(crate) state: StateSection,
    pub(crate) fleet: FleetSection,
    pub(crate) sinks: BTreeMap<String, Sink>,
    pub(crate) keysets: BTreeMap<String, Keyset>,
    pub(crate) plugins: BTreeMap<String, Plugin>,
    pub(crate) services: BTreeMap<String, Service>,
}

/// Sockets, the data folder and every bound on what a client may take.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Server {
    pub(crate) listen: SocketAddr,
    pub(crate) admin_listen: SocketAddr,
    pub(crate) probe_listen: Option<SocketAddr>,
    pub(crate) data: PathBuf,
    #[serde(deserialize_with = "within::<_, 0, 600_000>")]
    pub(crate) drain_delay_ms: u64,
    #[serde(deserialize_with = "within::<_, 0, 600_000>")]
    pub(crate) drain_deadline_ms: u64,
    #[serde(deserialize_with = "within::<_, 100, 600_000>")]
    pub(crate) header_timeout_ms: u64,
    #[serde(deserialize_with = "within::<_, 100, 600_000>")]
    pub(crate) body_timeout_ms: u64,
    #[serde(deserialize_with = "within::<_, 100, 600_000>")]
    pub(crate) request_timeout_ms: u64,
    #[serde(deserialize_with = "within::<_, 100, 600_000>")]
    pub(crate) response_timeout_ms: u64,
    #[serde(deserialize_with = "within::<_, 100, 600_000>")]
    pub(crate) write_timeout_ms: u64,
    #[serde(deserialize_with = "within::<_, 1_000, 3_600_000>")]
    pub(crate) idle_timeout_ms: u64,
    #[serde(deserialize_with = "within::<_, 8, 256>")]
    pub(crate) headers: u64,
    #[serde(deserialize_with = "within::<_, 8_192, 65_536>")]
    pub(crate) header_bytes: u64,
    #[serde(deserialize_with = "within::<_, 1_024, 16_777_216>")]
    pub(crate) body_bytes: u64,
    #[serde(deserialize_with = "within::<_, 1, 65_536>")]
    pub(crate) connections: u64,
    #[serde(deserialize_with = "within::<_, 1, 65_536>")]
    pub(crate) connections_per_address: u64,
    #[serde(deserialize_with = "within::<_, 1, 1_000>")]
    pub(crate) streams: u64,
    #[serde(deserialize_with = "within::<_, 1, 65_536>")]
    pub(crate) requests: u64,
    #[serde(deserialize_with = "within::<_, 1, 65_536>")]
    pub(crate) requests_per_address: u64,
    #[serde(deserialize_with = "within::<_, 65_536, 4_000_000_000>")]
    pub(crate) unread_bytes_per_address: u64,
    #[serde(deserialize_with = "within::<_, 1, 65_536>")]
    pub(crate) live_streams: u64,
    #[serde(deserialize_with = "within::<_, 1, 65_536>")]
    pub(crate) live_streams_per_address: u64,
    #[serde(deserialize_with = "within::<_, 1, 65_536>")]
    pub(crate) live_streams_per_account: u64,
    #[serde(deserialize_with = "within::<_, 16, 128>")]
    pub(crate) ipv6_prefix: u64,
    pub(crate) trusted_proxies: Vec<Network>,
    pub(crate) forwarded_header: ForwardedHeader,
    pub(crate) proxy_protocol: bool,
    pub(crate) tls: ServerTls,
}

impl Server {
    /// What stands before the clients' listener.
    pub(crate) fn proxies(&self) -> Proxies {
        Proxies::new(&self.trusted_proxies, self.forwarded_header, self.proxy_protocol)
    }

    /// From the signal that ends the process until its last request has ended.
    pub(crate) fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_delay_ms + self.drain_deadline_ms)
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 8081)),
            probe_listen: None,
            data: PathBuf::from("pillion-data"),
            drain_delay_ms: 0,
            drain_deadline_ms: 10_000,
            header_timeout_ms: 5_000,
            body_timeout_ms: 10_000,
            request_timeout_ms: 10_000,
            response_timeout_ms: 30_000,
            write_timeout_ms: 20_000,
            idle_timeout_ms: 60_000,
            headers: 64,
            header_bytes: 16 << 10,
            body_bytes: 64 << 10,
            connections: 1_024,
            connections_per_address: 128,
            streams: 64,
            requests: 1_024,
            requests_per_address: 128,
            unread_bytes_per_address: 16 << 20,
            live_streams: 1_024,
            live_streams_per_address: 32,
            live_streams_per_account: 8,
            ipv6_prefix: 64,
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::default(),
            proxy_protocol: false,
            tls: ServerTls::default(),
        }
    }
}

/// What clients are shown.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ServerTls {
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

/// What services show each other.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TlsSection {
    pub(crate) ca: Option<PathBuf>,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) trust_domain: String,
    pub(crate) servers: ServersTls,
}

/// What `PostgreSQL`, NATS and Redis must show, and what they are shown.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ServersTls {
    pub(crate) ca: Option<PathBuf>,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

impl TlsSection {
    /// Whether services show each other anything.
    pub(crate) fn is_on(&self) -> bool {
        self.ca.is_some()
    }

    /// What their addresses begin with.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.is_on() { "https" } else { "http" }
    }
}

impl Default for TlsSection {
    fn default() -> Self {
        Self {
            ca: None,
            certificate: None,
            key: None,
            trust_domain: "pillion".to_owned(),
            servers: ServersTls::default(),
        }
    }
}

/// The process's own diagnostics.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    pub(crate) filter: String,
    pub(crate) format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Text }
    }
}

/// How a diagnostic line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The plugin host.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HostSection {
    pub(crate) plugin_dir: Option<PathBuf>,
    #[serde(deserialize_with = "within::<_, 0, 256>")]
    pub(crate) workers: u64,
}

/// What carries events between services.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BrokerSection {
    pub(crate) url: Option<String>,
    #[serde(deserialize_with = "within::<_, 1, 3>")]
    pub(crate) replicas: u64,
}

impl Default for BrokerSection {
    fn default() -> Self {
        Self { url: None, replicas: 1 }
    }
}

/// Where plugins keep what they keep.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct StateSection {
    pub(crate) kv: String,
    pub(crate) limiter: String,
}

impl Default for StateSection {
    fn default() -> Self {
        Self { kv: "memory".to_owned(), limiter: "memory".to_owned() }
    }
}

/// What many hosts have in common.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FleetSection {
    pub(crate) plugins: Option<String>,
    pub(crate) host: Option<String>,
}

/// What access tokens say, and the key of those that services have for themselves.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Tokens {
    pub(crate) issuer: String,
    pub(crate) audience: String,
    pub(crate) client_id: String,
    pub(crate) service_key: Option<PathBuf>,
    pub(crate) key_encryption_key: Option<PathBuf>,
    /// At most what identity keeps a revocation for.
    #[serde(deserialize_with = "within::<_, 60, 86_400>")]
    pub(crate) user_token_s: u64,
    #[serde(deserialize_with = "within::<_, 1, 1_095>")]
    pub(crate) app_token_days: u64,
    #[serde(deserialize_with = "within::<_, 1, 365>")]
    pub(crate) refresh_token_days: u64,
    #[serde(deserialize_with = "within::<_, 0, 300>")]
    pub(crate) refresh_grace_s: u64,
    #[serde(deserialize_with = "within::<_, 1, 365>")]
    pub(crate) key_rotation_days: u64,
    pub(crate) plain_pkce: bool,
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            issuer: "pillion".to_owned(),
            audience: "pillion-api".to_owned(),
            client_id: "pillion".to_owned(),
            service_key: None,
            key_encryption_key: None,
            user_token_s: 2 * 60 * 60,
            app_token_days: 365,
            refresh_token_days: 30,
            refresh_grace_s: 30,
            key_rotation_days: 30,
            plain_pkce: false,
        }
    }
}

/// How long people are waited for.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Accounts {
    /// At most a year.
    #[serde(deserialize_with = "within::<_, 0, 31_536_000>")]
    deactivation_grace_s: u64,
    #[serde(deserialize_with = "within::<_, 1, 365>")]
    follow_request_days: u64,
    pub(crate) service_name: String,
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            deactivation_grace_s: 30 * 24 * 60 * 60,
            follow_request_days: 90,
            service_name: "Pillion".to_owned(),
        }
    }
}

impl Accounts {
    pub(crate) fn deactivation_grace(&self) -> Duration {
        Duration::from_secs(self.deactivation_grace_s)
    }

    pub(crate) fn follow_request_time(&self) -> Duration {
        Duration::from_hours(24 * self.follow_request_days)
    }
}

/// An output that plugins may be granted.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sink {
    pub(crate) path: PathBuf,
    #[serde(default = "Sink::flush_ms_default", deserialize_with = "within::<_, 1, 60_000>")]
    pub(crate) flush_ms: u64,
}

impl Sink {
    /// The sink as the host wants it. Relative paths begin in `folder`.
    pub(crate) fn spec(&self, folder: &Path) -> SinkSpec {
        let target = if self.is_stdout() {
            SinkTarget::Stdout
        } else {
            SinkTarget::File(folder.join(&self.path))
        };
        SinkSpec { target, flush: Duration::from_millis(self.flush_ms) }
    }

    /// Where its lines go, for people.
    pub(crate) fn place(&self, folder: &Path) -> String {
        if self.is_stdout() {
            return "standard output".to_owned();
        }
        folder.join(&self.path).display().to_string()
    }

    fn is_stdout(&self) -> bool {
        self.path.as_os_str() == "-"
    }

    /// A crash loses at most this much of a log; more often costs a system call each.
    fn flush_ms_default() -> u64 {
        50
    }
}

/// Keys that plugins may be granted the use of.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Keyset {
    pub(crate) source: Option<KeySource>,
    pub(crate) hs256: BTreeMap<String, PathBuf>,
}

/// Where public keys come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum KeySource {
    /// The identity service's published key set.
    Identity,
}

/// One plugin.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plugin {
    pub(crate) component: PathBuf,
    #[serde(default)]
    pub(crate) digest: Option<Digest>,
    #[serde(default)]
    pub(crate) failure_policy: FailurePolicy,
    #[serde(default)]
    pub(crate) mode: InstanceMode,
    #[serde(default)]
    pub(crate) grants: Grants,
    #[serde(default)]
    pub(crate) limits: Limits,
    #[serde(default)]
    pub(crate) breaker: BreakerSpec,
    #[serde(default)]
    pub(crate) fallback: Fallback,
    #[serde(default = "Plugin::self_check_default")]
    pub(crate) self_check: bool,
    #[serde(default)]
    pub(crate) config: toml::Table,
}

impl Plugin {
    /// A version that fails on a plain request is found out before clients are.
    fn self_check_default() -> bool {
        true
    }
}

/// One service.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Service {
    pub(crate) plugins: Vec<String>,
    #[serde(default)]
    pub(crate) listen: Option<SocketAddr>,
    #[serde(default)]
    pub(crate) admin_listen: Option<SocketAddr>,
    #[serde(default)]
    pub(crate) url: Option<Urls>,
    #[serde(default)]
    pub(crate) database: Option<String>,
}

/// Where a service is: at one address, or at several that are alike.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Urls {
    One(String),
    Several(Vec<String>),
}

impl Service {
    /// The addresses that are written for it.
    pub(crate) fn urls(&self) -> &[String] {
        match &self.url {
            None => &[],
            Some(Urls::One(url)) => std::slice::from_ref(url),
            Some(Urls::Several(urls)) => urls,
        }
    }
}

/// A whole number within these bounds; the message says both.
fn within<'de, D: Deserializer<'de>, const MIN: u64, const MAX: u64>(
    deserializer: D,
) -> Result<u64, D::Error> {
    let number = i64::deserialize(deserializer)?;
    u64::try_from(number).ok().filter(|number| (MIN..=MAX).contains(number)).ok_or_else(|| {
        serde::de::Error::custom(format!("{number} is out of range: write {MIN} to {MAX}"))
    })
}
