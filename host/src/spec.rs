//! What an operator says about plugins: which component, with which configuration, grants,
//! limits and failure policy, and in which chains. Plain data, no Wasm.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{engine, limiter};

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

/// What one plugin may use up. Exceeding one ends that call only.
///
/// Written as a table of these keys, of which those that are missing have their defaults or the
/// values of the `preset` that the table names; or as the name of a preset alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// CPU time for one hook; one that spins is ended at most 4 ms later.
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

/// A bound on a limit: its name, its value, and what the value must be within.
type LimitRange = (&'static str, u64, u64, u64);

impl Limits {
    /// The first limit that no plugin can run with, or that the host could not keep: its name, and
    /// what is wrong with it.
    pub fn out_of_range(&self) -> Option<(&'static str, String)> {
        let wrong = |(_, value, least, most): &LimitRange| !(least..=most).contains(&value);
        let (name, value, least, most) = self.ranges().into_iter().find(wrong)?;
        Some((name, format!("{value} is out of range: write {least} to {most}")))
    }
}

/// Deserializes a table in which every key may be missing.
macro_rules! limits_table {
    ($($name:ident: $type:ty),+ $(,)?) => {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct LimitsTable {
            preset: Option<String>,
            $( $name: Option<$type>, )+
        }

        impl LimitsTable {
            fn over(self, base: Limits) -> Limits {
                Limits { $( $name: self.$name.unwrap_or(base.$name), )+ }
            }
        }
    };
}

limits_table! {
    deadline_ms: u32,
    wait_ms: u32,
    load_deadline_ms: u32,
    memory_bytes: usize,
    table_elements: usize,
    host_call_bytes: usize,
    handles: usize,
    host_calls: u32,
    log_lines_per_second: u32,
    kv_bytes: usize,
    limiter_keys: usize,
    metric_series: usize,
    component_bytes: usize,
}

impl<'de> Deserialize<'de> for Limits {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> serde::de::Visitor<'de> for Either {
            type Value = Limits;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a table of limits, or the name of a preset")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Limits, E> {
                Limits::preset(name).map_err(E::custom)
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Limits, A::Error> {
                let map = serde::de::value::MapAccessDeserializer::new(map);
                let table = LimitsTable::deserialize(map)?;
                let base = match &table.preset {
                    Some(name) => Limits::preset(name).map_err(serde::de::Error::custom)?,
                    None => Limits::default(),
                };
                Ok(table.over(base))
            }
        }

        from.deserialize_any(Either)
    }
}

impl Limits {
    /// Names of [`Self::preset`].
    pub const PRESETS: [&'static str; 2] = ["default", "interpreter"];

    /// The limits that go by a name: `default`, or `interpreter` for a component that brings the
    /// interpreter of its language, such as `CPython`, `SpiderMonkey` or `QuickJS`.
    ///
    /// # Errors
    /// The names that there are.
    pub fn preset(name: &str) -> Result<Self, String> {
        match name {
            "default" => Ok(Self::default()),
            "interpreter" => Ok(Self {
                // One hook takes about 0.1 to 1 ms, and a collection of garbage several.
                deadline_ms: 50,
                load_deadline_ms: 5_000,
                memory_bytes: 128 << 20,
                table_elements: 65_536,
                host_call_bytes: 4 << 20,
                component_bytes: 64 << 20,
                ..Self::default()
            }),
            _ => Err(format!(
                "there is no preset `{name}` of limits; presets are {}",
                Self::PRESETS.join(", ")
            )),
        }
    }

    /// Sets one limit by its key.
    ///
    /// # Errors
    /// The keys that there are, or that the value is too large for this one.
    pub fn set(&mut self, key: &str, value: u64) -> Result<(), String> {
        let mut table = match serde_json::to_value(&*self) {
            Ok(serde_json::Value::Object(table)) => table,
            Ok(_) | Err(_) => serde_json::Map::new(),
        };
        if !table.contains_key(key) {
            let keys: Vec<&str> = table.keys().map(String::as_str).collect();
            return Err(format!("there is no limit `{key}`; limits are {}", keys.join(", ")));
        }
        table.insert(key.to_owned(), value.into());
        *self = serde_json::from_value(table.into())
            .map_err(|_| format!("limits.{key} = {value} is too large"))?;
        Ok(())
    }

    /// Names a limit that no plugin can run with.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self.out_of_range() {
            Some((name, reason)) => Err(format!("limits.{name}: {reason}")),
            None => Ok(()),
        }
    }

    fn ranges(&self) -> [LimitRange; 13] {
        let size = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        let memory_bytes_max = size(engine::MEMORY_BYTES_MAX);
        let table_elements_max = size(engine::TABLE_ELEMENTS_MAX);
        [
            // A hook that takes longer than a minute holds a worker thread for as long.
            ("deadline_ms", self.deadline_ms.into(), 1, 60_000),
            ("wait_ms", self.wait_ms.into(), 1, 60_000),
            ("load_deadline_ms", self.load_deadline_ms.into(), 1, 60_000),
            // What the pool of instances has room for.
            ("memory_bytes", size(self.memory_bytes), 64 << 10, memory_bytes_max),
            ("table_elements", size(self.table_elements), 0, table_elements_max),
            // Strings of a request in, a whole response out.
            ("host_call_bytes", size(self.host_call_bytes), 4 << 10, 64 << 20),
            // Standard output and error, and some for the calls of a hook.
            ("handles", size(self.handles), 16, 65_536),
            ("host_calls", self.host_calls.into(), 1, 100_000_000),
            ("log_lines_per_second", self.log_lines_per_second.into(), 0, 100_000),
            // In Redis sizes are doubles, exact far beyond this.
            ("kv_bytes", size(self.kv_bytes), 0, 64 << 30),
            // In memory each of the limiter's shards has its part.
            ("limiter_keys", size(self.limiter_keys), size(limiter::SHARDS), 100_000_000),
            ("metric_series", size(self.metric_series), 0, 100_000),
            // Compiled within two minutes and some gigabytes.
            ("component_bytes", size(self.component_bytes), 1 << 10, 64 << 20),
        ]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h12_limits_are_a_table_a_preset_or_both() {
        let read = |json: serde_json::Value| serde_json::from_value::<Limits>(json);
        let interpreter = Limits::preset("interpreter").unwrap();
        assert_eq!(read(serde_json::json!("interpreter")).unwrap(), interpreter);
        let both = read(serde_json::json!({ "preset": "interpreter", "handles": 7 })).unwrap();
        assert_eq!(both, Limits { handles: 7, ..interpreter });
        let table = read(serde_json::json!({ "deadline_ms": 3 })).unwrap();
        assert_eq!(table, Limits { deadline_ms: 3, ..Limits::default() });
        for (wrong, says) in [
            (serde_json::json!("interpretr"), "presets are default, interpreter"),
            (serde_json::json!({ "preset": "x" }), "presets are"),
            (serde_json::json!({ "memory_byte": 1 }), "unknown field `memory_byte`"),
            (serde_json::json!(7), "a table of limits, or the name of a preset"),
        ] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        // What is recorded is read back as it was.
        let recorded = serde_json::to_value(&both).unwrap();
        assert_eq!(read(recorded).unwrap(), both);
    }

    #[test]
    fn h12_one_limit_is_set_by_its_key() {
        let mut limits = Limits::default();
        limits.set("memory_bytes", 1 << 30).unwrap();
        assert_eq!(limits, Limits { memory_bytes: 1 << 30, ..Limits::default() });
        assert!(limits.set("memory", 1).unwrap_err().contains("memory_bytes"));
        let error = limits.set("deadline_ms", 1 << 40).unwrap_err();
        assert!(error.contains("limits.deadline_ms = 1099511627776"), "{error}");
    }
}
