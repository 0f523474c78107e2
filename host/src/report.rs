//! What the host tells operators: shapes for JSON, and Prometheus' text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use serde::Serialize;

use crate::backends::{self, Outside};
use crate::changes::Changes;
use crate::error::LoadError;
use crate::fields::Phase;
use crate::generation::{Cause, Generation, Record};
use crate::plugin::{Description, LoadedPlugin};
use crate::shared::PluginShared;
use crate::sinks::Sinks;
use crate::spec::{Digest, FailurePolicy, InstanceMode};
use crate::stats::{self, PhaseTotals};

/// One generation on record.
#[derive(Clone, Debug, Serialize)]
pub struct GenerationInfo {
    /// Its number.
    pub generation: u64,
    /// Whether it runs.
    pub active: bool,
    /// When it was activated, in microseconds since 1970.
    pub activated_us: u64,
    /// Why.
    #[serde(flatten)]
    pub cause: Cause,
    /// Digest of each plugin's component.
    pub plugins: BTreeMap<String, String>,
    /// Digest of each plugin's configuration.
    pub configs: BTreeMap<String, Digest>,
    /// How it differs from the generation that ran before; `None` when that is not on record.
    pub changes: Option<Changes>,
    /// Requests that were still on the generation before when the drain deadline was over.
    pub still_draining: usize,
    /// Streams that were still on it then; they end on the generation that they began on.
    pub streams: usize,
    /// The change asked for what runs already: no generation was made.
    pub unchanged: bool,
}

/// One plugin that runs.
#[derive(Clone, Debug, Serialize)]
pub struct PluginStatus {
    /// The operator's name for it.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// Of its component.
    pub digest: Digest,
    /// Where the component came from.
    pub component: PathBuf,
    /// Its size.
    pub component_bytes: usize,
    /// Whether instances are reused.
    pub mode: InstanceMode,
    /// What a request sees when it fails.
    pub failure_policy: FailurePolicy,
    /// `active`, or the state of its circuit breaker: `breaker-open`, `breaker-half-open`.
    pub state: &'static str,
    /// The generation that runs.
    pub generation: u64,
    /// Sums by phase of this component, since it was loaded.
    pub phases: BTreeMap<String, PhaseTotals>,
    /// Instances that exist, of all versions.
    pub instances: usize,
    /// Their linear memory.
    pub memory_bytes: usize,
}

/// What a check found of one plugin.
#[derive(Clone, Debug, Serialize)]
pub struct PluginReport {
    /// The operator's name for it.
    pub name: String,
    /// Of its component, when it could be read.
    pub digest: Option<Digest>,
    /// What it says of itself.
    pub description: Option<Description>,
    /// Why it would not be activated.
    pub error: Option<String>,
}

/// What can be seen of a component without running it for a request.
#[derive(Clone, Debug, Serialize)]
pub struct ComponentReport {
    /// What it says of itself.
    #[serde(flatten)]
    pub description: Description,
    /// Interfaces that it imports.
    pub imports: Vec<String>,
    /// Its size.
    pub bytes: usize,
    /// Its digest.
    pub digest: Digest,
}

impl GenerationInfo {
    pub(crate) fn of(record: &Record, active: u64) -> Self {
        let digest = |config: &serde_json::Value| Digest::of(config.to_string().as_bytes());
        let plugins = record.spec.plugins.iter();
        let configs = plugins.map(|(name, plugin)| (name.clone(), digest(&plugin.config)));
        Self {
            generation: record.id,
            active: record.id == active,
            activated_us: record.activated_us,
            cause: record.cause.clone(),
            plugins: record
                .spec
                .plugins
                .iter()
                .map(|(name, plugin)| {
                    (
                        name.clone(),
                        plugin.digest.map(|digest| digest.to_string()).unwrap_or_default(),
                    )
                })
                .collect(),
            configs: configs.collect(),
            changes: None,
            still_draining: 0,
            streams: 0,
            unchanged: false,
        }
    }
}

impl PluginReport {
    pub(crate) fn of(name: &str, loaded: Result<&LoadedPlugin, &LoadError>) -> Self {
        match loaded {
            Ok(plugin) => Self {
                name: name.to_owned(),
                digest: Some(plugin.digest),
                description: Some(plugin.description.clone()),
                error: None,
            },
            Err(error) => Self {
                name: name.to_owned(),
                digest: None,
                description: None,
                error: Some(error.reason.to_string()),
            },
        }
    }
}

impl PluginStatus {
    pub(crate) fn of(plugin: &LoadedPlugin, generation: &Generation) -> Self {
        let shared = &plugin.granted.shared;
        let count = |atomic: &AtomicUsize| atomic.load(Ordering::Relaxed);
        Self {
            name: shared.name.to_string(),
            version: plugin.description.version.clone(),
            digest: plugin.digest,
            component: plugin.spec.component.clone(),
            component_bytes: plugin.component_bytes,
            mode: plugin.spec.mode,
            failure_policy: plugin.spec.failure_policy,
            state: match plugin.breaker.state() {
                "open" => "breaker-open",
                "half-open" => "breaker-half-open",
                _ => "active",
            },
            generation: generation.id,
            phases: Phase::ALL
                .into_iter()
                .filter(|phase| plugin.description.fields(*phase).is_some())
                .map(|phase| (phase.name().to_owned(), plugin.stats.totals(phase)))
                .collect(),
            instances: count(&shared.instances),
            memory_bytes: count(&shared.memory_bytes),
        }
    }
}

/// Prometheus' text format, version 0.0.4.
pub(crate) fn metrics(
    generation: &Generation,
    shared: &BTreeMap<String, Arc<PluginShared>>,
    sinks: &Sinks,
    outside: &Outside,
) -> String {
    let mut out = String::new();
    let stats: Vec<_> = shared
        .values()
        .flat_map(|plugin| {
            let versions = plugin.all_stats().into_iter();
            versions.map(|(digest, stats)| (&*plugin.name, digest, stats))
        })
        .collect();
    stats::render(&stats, &mut out);
    of_plugins(shared, &mut out);
    of_breakers(generation, shared, &mut out);
    backends::render(outside, &mut out);
    of_sinks(sinks, &mut out);
    of_generation(generation, &mut out);
    let mut families = BTreeMap::new();
    // A version's series are dropped with it.
    for (name, plugin) in &generation.plugins {
        plugin.granted.series.render(name, &mut families);
    }
    for (name, (kind, lines)) in families {
        let _ = write!(out, "# HELP {name} A plugin's own.\n# TYPE {name} {kind}\n{lines}");
    }
    out
}

/// One family; writing to a String cannot fail.
fn family(
    out: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    samples: impl Iterator<Item = (String, u64)>,
) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (labels, value) in samples {
        let _ = writeln!(out, "{name}{{{labels}}} {value}");
    }
}

fn of_plugins(shared: &BTreeMap<String, Arc<PluginShared>>, out: &mut String) {
    type Pick = fn(&PluginShared) -> u64;
    let families: [(&str, &str, &str, Pick); 6] = [
        ("pillion_plugin_instances", "gauge", "Instances that exist.", |p| {
            p.instances.load(Ordering::Relaxed) as u64
        }),
        ("pillion_plugin_memory_bytes", "gauge", "Linear memory of all instances.", |p| {
            p.memory_bytes.load(Ordering::Relaxed) as u64
        }),
        ("pillion_plugin_kv_bytes", "gauge", "Bytes kept in kv.", |p| {
            p.kv.bytes() as u64 + p.outside.bytes.load(Ordering::Relaxed)
        }),
        ("pillion_plugin_limiter_keys", "gauge", "Keys that the limiter holds.", |p| {
            p.limiter.keys() as u64 + p.outside.keys.load(Ordering::Relaxed)
        }),
        (
            "pillion_plugin_waits_total",
            "counter",
            "Waits for kv or limiter outside the host's memory.",
            |p| p.outside.waits.load(Ordering::Relaxed),
        ),
        (
            "pillion_plugin_log_lines_dropped_total",
            "counter",
            "Diagnostic lines over the bound.",
            |p| p.log.dropped.load(Ordering::Relaxed),
        ),
    ];
    let name = "pillion_plugin_wait_seconds_total";
    let _ = writeln!(out, "# HELP {name} Time in such waits.\n# TYPE {name} counter");
    for (plugin, state) in shared {
        let waited = Duration::from_micros(state.outside.wait_micros.load(Ordering::Relaxed));
        let _ = writeln!(out, "{name}{{plugin=\"{plugin}\"}} {}", waited.as_secs_f64());
    }
    for (name, kind, help, pick) in families {
        let samples =
            shared.iter().map(|(plugin, state)| (format!("plugin=\"{plugin}\""), pick(state)));
        family(out, name, kind, help, samples);
    }
}

fn of_breakers(
    generation: &Generation,
    shared: &BTreeMap<String, Arc<PluginShared>>,
    out: &mut String,
) {
    let of_running = |pick: fn(&LoadedPlugin) -> u64| {
        let plugins = generation.plugins.iter();
        plugins.map(move |(name, plugin)| (format!("plugin=\"{name}\""), pick(plugin)))
    };
    let name = "pillion_plugin_series_dropped_total";
    let help = "Samples of the running version over the limit of series, or invalid.";
    let dropped = of_running(|plugin| plugin.granted.series.dropped.load(Ordering::Relaxed));
    family(out, name, "counter", help, dropped);
    let name = "pillion_plugin_breaker_open";
    let help = "1 while the circuit breaker is open or half-open and the failure policy answers.";
    let open = of_running(|plugin| u64::from(plugin.breaker.is_open()));
    family(out, name, "gauge", help, open);
    let name = "pillion_plugin_breaker_transitions_total";
    let _ = writeln!(
        out,
        "# HELP {name} Changes of the circuit breaker's state.\n# TYPE {name} counter"
    );
    for (plugin, state) in shared {
        for (to, count) in [
            ("open", &state.breaker.opened),
            ("half-open", &state.breaker.half_opened),
            ("closed", &state.breaker.closed),
        ] {
            let count = count.load(Ordering::Relaxed);
            let _ = writeln!(out, "{name}{{plugin=\"{plugin}\",to=\"{to}\"}} {count}");
        }
    }
    let of_all = |pick: fn(&PluginShared) -> &AtomicU64| {
        let plugins = shared.iter();
        plugins.map(move |(name, plugin)| {
            (format!("plugin=\"{name}\""), pick(plugin).load(Ordering::Relaxed))
        })
    };
    let name = "pillion_plugin_throttled_clients_total";
    let help = "Times that a client used up its failure budget.";
    family(out, name, "counter", help, of_all(|plugin| &plugin.breaker.throttled_clients));
    let help = "Times that a failing new version was replaced by the one before it.";
    let fallbacks = of_all(|plugin| &plugin.breaker.fallbacks);
    family(out, "pillion_fallbacks_total", "counter", help, fallbacks);
}

fn of_sinks(sinks: &Sinks, out: &mut String) {
    let lines = |pick: fn(&crate::sinks::Sink) -> &std::sync::atomic::AtomicU64| {
        sinks.all().into_iter().map(move |sink| {
            (format!("sink=\"{}\"", sink.name), pick(&sink).load(Ordering::Relaxed))
        })
    };
    family(out, "pillion_sink_lines_total", "counter", "Lines taken.", lines(|sink| &sink.lines));
    let help = "Lines dropped because the output cannot keep up.";
    family(out, "pillion_sink_dropped_total", "counter", help, lines(|sink| &sink.dropped));
}

fn of_generation(generation: &Generation, out: &mut String) {
    let versions = generation.plugins.iter().map(|(name, plugin)| {
        let labels = format!(
            "plugin=\"{name}\",version=\"{}\",digest=\"{}\"",
            plugin.description.version, plugin.digest
        );
        (labels, 1)
    });
    family(out, "pillion_plugin_info", "gauge", "Versions that run.", versions);
    let _ = writeln!(
        out,
        "# HELP pillion_generation The set of plugins that runs.\n# TYPE pillion_generation gauge\npillion_generation {}",
        generation.id
    );
}
