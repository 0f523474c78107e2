//! What an operator says about plugins: which component, with which configuration, grants,
//! limits and failure policy, and in which chains. Plain data, no Wasm.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

mod limits;

pub use limits::Limits;

/// The desired set of plugins of one host process. Activating it makes a generation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GenerationSpec {
    /// Plugins by the name that chains, logs and metrics call them.
    pub plugins: BTreeMap<String, PluginSpec>,
    /// For each service the names of its plugins, outermost first.
    pub chains: BTreeMap<String, Vec<String>>,
}

/// One plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PluginSpec {
    /// Where the component is.
    pub component: PathBuf,
    /// `sha256:` and 64 hexadecimal digits; the component is refused when it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Handed to `lifecycle.configure` as JSON.
    #[serde(default)]
    pub config: serde_json::Value,
    /// What it may import. Denied by default.
    #[serde(default)]
    pub grants: Grants,
    /// What it may use up.
    #[serde(default)]
    pub limits: Limits,
    /// What a request sees when a hook fails.
    #[serde(default)]
    pub failure_policy: FailurePolicy,
    /// Whether instances are reused.
    #[serde(default)]
    pub mode: InstanceMode,
    /// When its circuit breaker opens.
    #[serde(default)]
    pub breaker: BreakerSpec,
    /// What happens when a version that has just been activated fails for most clients.
    #[serde(default)]
    pub fallback: Fallback,
    /// Runs the hooks on a synthetic request before the plugin is activated, on an instance of
    /// its own and without side effects; a hook that fails there refuses the activation.
    #[serde(default)]
    pub self_check: bool,
}

impl PluginSpec {
    /// A component with default settings, no grants, no configuration and no self-check.
    pub fn new(component: impl Into<PathBuf>) -> Self {
        Self {
            component: component.into(),
            digest: None,
            config: serde_json::Value::Null,
            grants: Grants::default(),
            limits: Limits::default(),
            failure_policy: FailurePolicy::default(),
            mode: InstanceMode::default(),
            breaker: BreakerSpec::default(),
            fallback: Fallback::default(),
            self_check: false,
        }
    }

    /// For looking at a component that will not see a request.
    pub(crate) fn everything_granted(component: impl Into<PathBuf>) -> Self {
        let mut spec = Self::new(component);
        spec.grants = Grants {
            identity: true,
            kv: true,
            limiter: true,
            metrics: true,
            clock: true,
            random: true,
            ..Grants::default()
        };
        spec.grants.any_named = true;
        spec
    }
}

/// What happens to a request when a plugin's hook fails, or while its circuit breaker is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailurePolicy {
    /// The client gets 503. The only choice for a plugin with the grant `identity`.
    #[default]
    Closed,
    /// The request goes on as if the hook had said `continue`.
    Open,
}

/// Whether a failing new version is replaced automatically.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fallback {
    /// Only an operator rolls back.
    #[default]
    None,
    /// The version before takes its place when the breaker opens, or a self-check fails, on the
    /// version's first requests. Never for a plugin with the grant `identity`. An attacker who
    /// controls enough clients can bring back a version that an operator has replaced, with its bugs.
    Previous,
}

/// When the circuit breaker of a plugin opens, and what one client's failures may cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerSpec {
    /// Percentage of requests, and of distinct clients, that must fail within the window.
    pub failure_rate_threshold: u32,
    /// Requests within the window below which it never opens.
    pub minimum_requests: u32,
    /// Distinct failing clients (addresses; IPv6 by /64) within the window below which it never
    /// opens.
    pub minimum_clients: u32,
    /// Length of the window.
    pub window_ms: u32,
    /// How long it stays open at first; twice as long each time that the plugin still fails.
    pub open_ms: u32,
    /// How long it stays open at most.
    pub open_max_ms: u32,
    /// Time that the failing hooks of one client may take within the window; each counts as 1 ms
    /// at least. Then the client gets 429 until its window is over.
    pub client_failure_budget_ms: u32,
}

impl BreakerSpec {
    /// Names a setting that is out of range.
    ///
    /// # Errors
    ///
    /// The key, its value and what it may be.
    pub fn check(&self) -> Result<(), String> {
        let ranges: [(&str, u32, u32, u32); 7] = [
            ("failure_rate_threshold", self.failure_rate_threshold, 1, 100),
            ("minimum_requests", self.minimum_requests, 1, 1_000_000),
            ("minimum_clients", self.minimum_clients, 1, 1_000),
            ("window_ms", self.window_ms, 1_000, 600_000),
            ("open_ms", self.open_ms, 100, 600_000),
            ("open_max_ms", self.open_max_ms, 100, 3_600_000),
            ("client_failure_budget_ms", self.client_failure_budget_ms, 1, 600_000),
        ];
        for (key, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(format!("breaker.{key} is {value}: expected {least} to {most}"));
            }
        }
        if self.open_max_ms < self.open_ms {
            return Err(format!(
                "breaker.open_max_ms is {}: expected at least breaker.open_ms, {}",
                self.open_max_ms, self.open_ms
            ));
        }
        Ok(())
    }

    pub(crate) fn window(&self) -> Duration {
        Duration::from_millis(self.window_ms.into())
    }

    pub(crate) fn open(&self) -> Duration {
        Duration::from_millis(self.open_ms.into())
    }

    pub(crate) fn open_max(&self) -> Duration {
        Duration::from_millis(self.open_max_ms.into())
    }
}

impl Default for BreakerSpec {
    fn default() -> Self {
        Self {
            // A plugin that fails half of the time serves nobody well.
            failure_rate_threshold: 50,
            // Below this a rate says little, and failing each request by policy costs little.
            minimum_requests: 20,
            // Clients are cheap to come by, so this alone protects nobody: most clients have to
            // fail, too. It keeps the breaker of a service with a handful of clients closed,
            // where failing each request by policy is as good.
            minimum_clients: 5,
            window_ms: 10_000,
            open_ms: 1_000,
            open_max_ms: 60_000,
            // 1 % of a core for one client; 100 traps, or seven loops of one and a half deadlines.
            client_failure_budget_ms: 100,
        }
    }
}

/// How instances are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceMode {
    /// One instance per worker thread, replaced after any failure.
    #[default]
    Warm,
    /// A new instance for every request, which its phases share: nothing survives in the guest.
    Fresh,
}

/// The interfaces and names that a plugin may use. `current` and `log` need no grant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
#[expect(clippy::struct_excessive_bools, reason = "each is one grant, independent of the others")]
pub struct Grants {
    /// May set the caller. Needs [`FailurePolicy::Closed`].
    pub identity: bool,
    /// `kv`.
    pub kv: bool,
    /// `limiter`.
    pub limiter: bool,
    /// `metrics`.
    pub metrics: bool,
    /// `clock`.
    pub clock: bool,
    /// `random`.
    pub random: bool,
    /// `revocations`.
    pub revocations: bool,
    /// `sink:NAME`, the names.
    pub sinks: Vec<String>,
    /// `crypto:KEYSET`, the names.
    pub keysets: Vec<String>,
    /// Links `sink` and `crypto` though no name is granted: for looking at a component.
    pub(crate) any_named: bool,
}

impl Grants {
    /// How grants are spelled, for messages and suggestions.
    pub const SPELLINGS: [&'static str; 9] = [
        "identity",
        "kv",
        "limiter",
        "metrics",
        "clock",
        "random",
        "revocations",
        "sink:NAME",
        "crypto:KEYSET",
    ];

    /// Whether an interface of `pillion:plugin` (`kv`, `sink`, …) or `identity` is granted.
    pub fn allows(&self, name: &str) -> bool {
        match name {
            "current" | "log" | "types" => true,
            "identity" => self.identity,
            "kv" => self.kv,
            "limiter" => self.limiter,
            "metrics" => self.metrics,
            "clock" => self.clock,
            "random" => self.random,
            "revocations" => self.revocations,
            "sink" => self.any_named || !self.sinks.is_empty(),
            "crypto" => self.any_named || !self.keysets.is_empty(),
            _ => false,
        }
    }
}

impl TryFrom<Vec<String>> for Grants {
    type Error = String;

    fn try_from(names: Vec<String>) -> Result<Self, String> {
        let mut grants = Self::default();
        for name in names {
            match name.as_str() {
                "identity" => grants.identity = true,
                "kv" => grants.kv = true,
                "limiter" => grants.limiter = true,
                "metrics" => grants.metrics = true,
                "clock" => grants.clock = true,
                "random" => grants.random = true,
                "revocations" => grants.revocations = true,
                other => match other.split_once(':') {
                    Some(("sink", sink)) if !sink.is_empty() => grants.sinks.push(sink.to_owned()),
                    Some(("crypto", set)) if !set.is_empty() => grants.keysets.push(set.to_owned()),
                    _ => {
                        return Err(format!(
                            "there is no grant `{other}`; grants are {}",
                            Self::SPELLINGS.join(", ")
                        ));
                    }
                },
            }
        }
        Ok(grants)
    }
}

impl From<Grants> for Vec<String> {
    fn from(grants: Grants) -> Self {
        let flags = [
            ("identity", grants.identity),
            ("kv", grants.kv),
            ("limiter", grants.limiter),
            ("metrics", grants.metrics),
            ("clock", grants.clock),
            ("random", grants.random),
            ("revocations", grants.revocations),
        ];
        let plain = flags.into_iter().filter(|(_, on)| *on).map(|(name, _)| name.to_owned());
        plain
            .chain(grants.sinks.iter().map(|name| format!("sink:{name}")))
            .chain(grants.keysets.iter().map(|name| format!("crypto:{name}")))
            .collect()
    }
}

/// The SHA-256 of a component, written `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
        let mut out = [0; 32];
        out.copy_from_slice(digest.as_ref());
        Self(out)
    }

    /// The 64 hexadecimal digits.
    pub fn hex(&self) -> String {
        self.0.iter().fold(String::with_capacity(64), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }

    /// The first 12 digits, for people.
    pub fn short(&self) -> String {
        self.hex().chars().take(12).collect()
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no digest: write `sha256:` and 64 hexadecimal digits");
        let hex = text.strip_prefix("sha256:").ok_or_else(wrong)?;
        if hex.len() != 64 || !hex.is_ascii() {
            return Err(wrong());
        }
        let mut out = [0; 32];
        for (byte, pair) in out.iter_mut().zip(hex.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self(out))
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}
