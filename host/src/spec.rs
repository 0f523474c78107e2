//! What an operator says about plugins: which component, with which configuration, grants,
//! limits and failure policy, and in which chains. Plain data, no Wasm.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

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
}

impl PluginSpec {
    /// A component with default settings, no grants and no configuration.
    pub fn new(component: impl Into<PathBuf>) -> Self {
        Self {
            component: component.into(),
            digest: None,
            config: serde_json::Value::Null,
            grants: Grants::default(),
            limits: Limits::default(),
            failure_policy: FailurePolicy::default(),
            mode: InstanceMode::default(),
        }
    }

    /// For looking at a component that will not see a request.
    pub(crate) fn everything_granted(component: impl Into<PathBuf>) -> Self {
        let mut spec = Self::new(component);
        spec.limits.component_bytes = usize::MAX;
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

/// What happens to a request when a plugin's hook fails, or when the plugin is quarantined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailurePolicy {
    /// The client gets 503. The only choice for a plugin with the grant `identity`.
    #[default]
    Closed,
    /// The request goes on as if the hook had said `continue`.
    Open,
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

/// What one plugin may use up. Exceeding one ends that call only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// CPU time for one hook; one that spins is ended after one and a half of it at the latest.
    pub deadline_ms: u32,
    /// Time that one hook may wait, summed, for `kv` and `limiter` where they are kept outside
    /// the host's memory. It is no CPU time and does not count against the deadline.
    pub wait_ms: u32,
    /// CPU time for instantiation, `describe` and `configure` together.
    pub load_deadline_ms: u32,
    /// Linear memory, summed over all memories of one instance.
    pub memory_bytes: usize,
    /// Elements, summed over all tables of one instance.
    pub table_elements: usize,
    /// Data that one host call may bring into the host.
    pub host_call_bytes: usize,
    /// Resource handles that one instance may hold.
    pub handles: usize,
    /// Host calls of one hook.
    pub host_calls: u32,
    /// Diagnostic lines a second, over all instances; `log`, stdout and stderr.
    pub log_lines_per_second: u32,
    /// Keys and values in `kv`, summed.
    pub kv_bytes: usize,
    /// Keys in the limiter. One takes about 100 bytes of the host's memory.
    pub limiter_keys: usize,
    /// Series in `metrics`.
    pub metric_series: usize,
    /// Size of the component itself.
    pub component_bytes: usize,
}

impl Limits {
    /// Names a limit that is too small for any plugin to start with.
    pub(crate) fn check(&self) -> Result<(), String> {
        let least: [(&str, usize, usize); 5] = [
            ("deadline_ms", self.deadline_ms as usize, 1),
            ("load_deadline_ms", self.load_deadline_ms as usize, 1),
            ("memory_bytes", self.memory_bytes, 64 << 10),
            ("host_call_bytes", self.host_call_bytes, 4 << 10),
            ("host_calls", self.host_calls as usize, 1),
        ];
        match least.into_iter().find(|(_, value, least)| value < least) {
            Some((name, value, least)) => {
                Err(format!("limits.{name} is {value}; no plugin runs with less than {least}"))
            }
            None => Ok(()),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A hook takes microseconds; 10 ms is far out and still no pause that a user sees.
            deadline_ms: 10,
            // Four calls that take as long as one may.
            wait_ms: 1_000,
            load_deadline_ms: 100,
            memory_bytes: 16 << 20,
            table_elements: 4_096,
            host_call_bytes: 1 << 20,
            handles: 1_024,
            // Each takes about 0.1 µs, so this is a tenth of the deadline.
            host_calls: 10_000,
            log_lines_per_second: 100,
            kv_bytes: 1 << 20,
            limiter_keys: 1_000_000,
            metric_series: 100,
            component_bytes: 8 << 20,
        }
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
