//! The host: loads sets of plugins, activates them as generations, and goes back.

mod change;
mod desired;
mod fallback;
mod reload;

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use wasmtime::Engine;

use crate::artifacts::Artifacts;
use crate::audit::{Attempt, Audit};
use crate::backends::{Backends, Outside};
use crate::chain::Chain;
use crate::changes::Changes;
use crate::completions::Completions;
use crate::crash;
use crate::engine;
use crate::error::{ActivateError, HostError, LoadError, LoadErrorReason};
use crate::generation::{Cause, Generation, Record, Records};
use crate::host_calls::now_us;
use crate::layer::PluginLayer;
use crate::options::HostOptions;
use crate::plugin::{self, Description, LoadedPlugin};
use crate::report::{self, GenerationInfo, PluginReport, PluginStatus};
use crate::routes::RouteTable;
use crate::series::Series;
use crate::shared::PluginShared;
use crate::sinks::Sinks;
use crate::spec::{Digest, GenerationSpec, Limits, PluginSpec};
use crate::state::Granted;
use crate::text::{ITEM_BYTES_MAX, printable};

pub use self::reload::ReloadError;

/// How often a swap looks whether the generation before is done.
const DRAIN_POLL: Duration = Duration::from_millis(1);

/// Imports of a component that a report lists; a guest with an interpreter has about 40.
const IMPORTS_SHOWN_MAX: usize = 256;

/// Runs plugins. Clones are the same host.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    engine: Engine,
    options: HostOptions,
    artifacts: Artifacts,
    records: Records,
    sinks: Sinks,
    backends: Backends,
    audit: Audit,
    current: ArcSwap<Generation>,
    activation: Mutex<Activation>,
    /// State of plugins by their name, which outlives versions.
    shared: Mutex<BTreeMap<String, Arc<PluginShared>>>,
    completions: Arc<Completions>,
    origin: Instant,
}

/// One activation at a time, and what the next one needs to know.
#[derive(Default)]
struct Activation {
    /// The set that runs.
    record: Option<Record>,
    /// The one before, with its instances still warm.
    previous: Option<(Record, Arc<Generation>)>,
    /// Versions that a fallback has replaced, by the plugin's name.
    set_aside: Vec<(String, PluginSpec)>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Host(generation {})", self.0.current.load().id)
    }
}

impl Host {
    /// Starts the engine and opens the state folder. No plugin runs yet: see [`Self::start`].
    pub fn new(options: HostOptions) -> Result<Self, HostError> {
        let backends = Backends::open(&options)?;
        let awaits = backends.outside.handle.is_some();
        let engine = engine::running(options.instances_max, awaits)?;
        let artifacts =
            Artifacts::open(&options.state_dir, engine.clone(), options.compiler.clone())?;
        let folder = options.state_dir.join("generations");
        let records = Records::open(folder.clone()).map_err(|source| HostError::Io {
            what: format!("cannot make {}", folder.display()),
            source,
        })?;
        let sinks = Sinks::open(&options.sinks)?;
        let path = options.state_dir.join("audit.jsonl");
        let audit = Audit::open(path.clone()).map_err(|source| HostError::Io {
            what: format!("cannot open the audit log {}", path.display()),
            source,
        })?;
        let origin = Instant::now();
        let completions = Arc::new(Completions::new(origin));
        let host = Self(Arc::new(Inner {
            engine,
            options,
            artifacts,
            records,
            sinks,
            backends,
            audit,
            current: ArcSwap::from_pointee(Generation::new(
                0,
                Vec::new(),
                BTreeMap::new(),
                Arc::clone(&completions),
            )),
            activation: Mutex::default(),
            shared: Mutex::default(),
            completions,
            origin,
        }));
        host.supervise()?;
        Ok(host)
    }

    /// Activates the set that should run now: the recorded one, with its swaps, if the
    /// configuration is still what it was based on; else what the configuration says.
    /// Blocks while components compile.
    pub fn start(&self, spec: GenerationSpec) -> Result<GenerationInfo, ActivateError> {
        let mut activation = self.lock();
        let (resolved, mut components) = resolve(spec)?;
        let base = base_digest(&resolved);
        let recorded = self.0.records.active();
        if let Some(record) = recorded.clone().filter(|record| record.base == base) {
            match self.build(record.id, &record.spec, &BTreeMap::new(), &BTreeMap::new()) {
                Ok(generation) => {
                    self.0.current.store(Arc::new(generation));
                    let info = GenerationInfo::of(&record, record.id);
                    activation.record = Some(record);
                    return Ok(info);
                }
                Err(error) => tracing::error!(
                    generation = record.id, %error,
                    "the recorded generation does not load; the configuration's own is used"
                ),
            }
        }
        let before = recorded.as_ref().map(|record| record.id);
        let record = self.record(Cause::Configuration, base, resolved, before);
        let none = GenerationSpec::default();
        let earlier = recorded.as_ref().map_or(&none, |recorded| &recorded.spec);
        let attempt = Attempt::new(Some("host"), "configuration").between(earlier, &record.spec);
        let attempt = Attempt { from: before, ..attempt };
        let built = self
            .build(record.id, &record.spec, &BTreeMap::new(), &components)
            .and_then(|generation| self.keep(&mut components).map(|()| generation));
        let generation = match built {
            Ok(generation) => generation,
            Err(error) => return self.conclude(attempt, Err(error)),
        };
        if let Some(recorded) = recorded.filter(|recorded| recorded.cause != Cause::Configuration) {
            let plugins = recorded.spec.plugins.iter();
            let differ = plugins.filter(|(name, old)| record.spec.plugins.get(*name) != Some(old));
            tracing::warn!(
                generation = recorded.id,
                plugins = differ.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", "),
                "the configuration has changed since it was last started, so it counts again; \
                 what was swapped at run time is set aside, and a rollback brings it back"
            );
        }
        let flipped = self.flip(&mut activation, record, Arc::new(generation));
        self.conclude(attempt, flipped)
    }

    /// Loads everything as [`Self::start`] would and reports on each plugin; activates nothing.
    pub fn check(&self, spec: &GenerationSpec) -> Vec<PluginReport> {
        spec.plugins
            .iter()
            .map(|(name, plugin)| {
                let loaded = read_component(name, plugin)
                    .and_then(|(digest, bytes)| self.load(name, plugin, digest, &bytes));
                PluginReport::of(name, loaded.as_ref())
            })
            .collect()
    }

    /// Looks at a component without any grant or configuration, within the default limits.
    pub fn inspect(&self, path: &Path) -> Result<report::ComponentReport, LoadError> {
        self.inspect_within(path, &Limits::default())
    }

    /// As [`Self::inspect`], within these limits. That of the component's size does not hold.
    pub fn inspect_within(
        &self,
        path: &Path,
        limits: &Limits,
    ) -> Result<report::ComponentReport, LoadError> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let failed = |reason| LoadError { plugin: name.clone(), reason };
        let mut spec = PluginSpec::everything_granted(path);
        limits.check().map_err(LoadErrorReason::Settings).map_err(failed)?;
        spec.limits = Limits { component_bytes: usize::MAX, ..limits.clone() };
        let (digest, bytes) = read_component(&name, &spec)?;
        let component = self.0.artifacts.load(&digest, &bytes).map_err(failed)?;
        let kind = component.component_type();
        let imports = kind.imports(&self.0.engine).take(IMPORTS_SHOWN_MAX);
        let imports =
            imports.map(|(import, _)| printable(import, ITEM_BYTES_MAX).into_owned()).collect();
        let mut granted = self.granted(&name, &spec).map_err(failed)?;
        granted.outside = Outside::default();
        let prepared = plugin::prepare(&component, &spec, &granted.outside).map_err(failed)?;
        let description: Description = plugin::describe_only(&prepared, granted).map_err(failed)?;
        Ok(report::ComponentReport { description, imports, bytes: bytes.len(), digest })
    }

    /// What runs now.
    pub fn list(&self) -> Vec<PluginStatus> {
        let generation = self.generation();
        generation.plugins.values().map(|plugin| PluginStatus::of(plugin, &generation)).collect()
    }

    /// All generations on record, newest first.
    pub fn history(&self) -> Vec<GenerationInfo> {
        let active = self.generation().id;
        let records =
            self.0.records.ids().into_iter().rev().filter_map(|id| self.0.records.read(id));
        records.map(|record| self.told(&record, active)).collect()
    }

    /// With what it changed.
    fn told(&self, record: &Record, active: u64) -> GenerationInfo {
        let before = record.previous.and_then(|id| self.0.records.read(id));
        let changes = before.map(|before| Changes::between(&before.spec, &record.spec));
        GenerationInfo { changes, ..GenerationInfo::of(record, active) }
    }

    /// Attempts to change what runs, refused ones too, newest first: the last thousand.
    pub fn attempts(&self) -> Vec<Attempt> {
        self.0.audit.attempts()
    }

    /// The plugins' part of `/metrics`, in Prometheus' text format.
    pub fn metrics(&self) -> String {
        let shared = self.0.shared.lock().unwrap_or_else(PoisonError::into_inner);
        report::metrics(&self.generation(), &shared, &self.0.sinks, &self.0.backends.outside)
    }

    /// The layer that puts a service's chain around it. `routes` are the service's own.
    pub fn layer(&self, service: &str, routes: RouteTable) -> PluginLayer {
        PluginLayer::new(self.clone(), service, routes)
    }

    /// Runs the completion hooks of every response that has ended, and returns when every line
    /// written to a sink so far is in its output. Blocks: for the end of a process.
    pub fn flush_sinks(&self) {
        self.0.completions.finish();
        self.0.sinks.flush();
    }

    pub(crate) fn generation(&self) -> Arc<Generation> {
        self.0.current.load_full()
    }

    fn lock(&self) -> MutexGuard<'_, Activation> {
        self.0.activation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loads what is new, takes over from `running` what is the same, and forms the chains.
    fn build(
        &self,
        id: u64,
        spec: &GenerationSpec,
        running: &BTreeMap<String, Arc<LoadedPlugin>>,
        components: &BTreeMap<Digest, Vec<u8>>,
    ) -> Result<Generation, ActivateError> {
        let mut plugins = BTreeMap::new();
        for (name, plugin) in &spec.plugins {
            let digest = plugin.digest.ok_or_else(|| ActivateError::NotLoaded(name.clone()))?;
            let same = running
                .get(name)
                .filter(|loaded| loaded.digest == digest && loaded.spec == *plugin);
            let loaded = match (same, components.get(&digest)) {
                (Some(same), _) => Arc::clone(same),
                (None, Some(bytes)) => Arc::new(self.load(name, plugin, digest, bytes)?),
                (None, None) => {
                    let kept = self.0.artifacts.component(&digest);
                    let bytes =
                        kept.map_err(|reason| LoadError { plugin: name.clone(), reason })?;
                    Arc::new(self.load(name, plugin, digest, &bytes)?)
                }
            };
            plugins.insert(name.clone(), loaded);
        }
        let mut chains = Vec::new();
        for (service, names) in &spec.chains {
            let members: Result<Vec<_>, _> = names
                .iter()
                .map(|name| {
                    plugins.get(name).cloned().ok_or_else(|| ActivateError::UnknownPlugin {
                        service: service.clone(),
                        plugin: name.clone(),
                        suggestion: nearest(name, plugins.keys()),
                    })
                })
                .collect();
            chains.push(Chain::new(service, members?)?);
        }
        Ok(Generation::new(id, chains, plugins, Arc::clone(&self.0.completions)))
    }

    fn load(
        &self,
        name: &str,
        spec: &PluginSpec,
        digest: Digest,
        bytes: &[u8],
    ) -> Result<LoadedPlugin, LoadError> {
        let load = || {
            spec.limits.check().map_err(LoadErrorReason::Settings)?;
            spec.breaker.check().map_err(LoadErrorReason::Settings)?;
            let component = self.0.artifacts.load(&digest, bytes)?;
            let granted = self.granted(name, spec)?;
            LoadedPlugin::load(
                &component,
                spec.clone(),
                digest,
                bytes.len(),
                granted,
                self.0.options.workers,
            )
        };
        load().map_err(|reason| LoadError { plugin: name.to_owned(), reason })
    }

    fn granted(&self, name: &str, spec: &PluginSpec) -> Result<Granted, LoadErrorReason> {
        let sink = |sink: &String| {
            self.0.sinks.get(sink).ok_or_else(|| {
                LoadErrorReason::Settings(format!(
                    "is granted `sink:{sink}`, but there is no such sink"
                ))
            })
        };
        let mut shared = self.0.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let own = shared
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(PluginShared::new(name, self.0.origin)));
        Ok(Granted {
            shared: Arc::clone(own),
            limits: spec.limits.clone(),
            sinks: spec.grants.sinks.iter().map(sink).collect::<Result<_, _>>()?,
            keyring: self.0.options.keyring.clone(),
            keysets: spec.grants.keysets.clone(),
            revocations: self.0.options.revocations.clone(),
            outside: self.0.backends.outside.clone(),
            identity: spec.grants.identity,
            series: Series::default(),
            is_rehearsal: false,
        })
    }

    fn record(
        &self,
        cause: Cause,
        base: Digest,
        spec: GenerationSpec,
        previous: Option<u64>,
    ) -> Record {
        let (id, activated_us) = (self.0.records.next_id(), now_us());
        Record { id, activated_us, cause, base, desired: None, spec, previous }
    }

    /// A record must never name a component that is not kept.
    fn keep(&self, components: &mut BTreeMap<Digest, Vec<u8>>) -> Result<(), ActivateError> {
        for (digest, bytes) in std::mem::take(components) {
            self.0
                .artifacts
                .keep(&digest, &bytes)
                .map_err(|reason| LoadError { plugin: digest.short(), reason })?;
        }
        Ok(())
    }

    /// First the durable record, then the pointer: what requests have seen holds after a crash.
    fn flip(
        &self,
        activation: &mut Activation,
        record: Record,
        generation: Arc<Generation>,
    ) -> Result<GenerationInfo, ActivateError> {
        self.0.records.activate(&record)?;
        let is_new =
            matches!(record.cause, Cause::Configuration | Cause::Fleet { .. } | Cause::Swap { .. });
        {
            let old = self.generation();
            for (name, plugin) in &generation.plugins {
                let before = old.plugins.get(name);
                if !before.is_some_and(|before| Arc::ptr_eq(before, plugin)) {
                    plugin.activated(is_new && before.is_some());
                }
            }
        }
        let old = self.0.current.swap(generation);
        crash::point("activate.flip.after");
        let mut info = self.told(&record, record.id);
        (info.still_draining, info.streams) = self.drain(&old);
        crash::point("activate.drain.after");
        tracing::info!(generation = record.id, cause = %record.cause, "activated");
        let before = activation.record.replace(record);
        activation.previous = before.map(|record| (record, old));
        self.0.artifacts.retain(&self.0.records.prune());
        Ok(info)
    }

    /// Waits until no request is on `old` any more, or the deadline is over; how many are left,
    /// and how many streams, which nobody waits for: they end on the generation they began on.
    fn drain(&self, old: &Arc<Generation>) -> (usize, usize) {
        let began = Instant::now();
        loop {
            // One reference is ours; the others belong to requests. New ones do not come, and a
            // stream is counted as such before it is a reference less: none is missed.
            let requests = Arc::strong_count(old) - 1;
            let streams = old.streams.load(Ordering::Acquire);
            let left = requests.saturating_sub(streams);
            if left == 0 || began.elapsed() >= self.0.options.drain_deadline {
                return (left, streams);
            }
            std::thread::sleep(DRAIN_POLL);
        }
    }
}

/// Reads every component and pins its digest.
fn resolve(
    mut spec: GenerationSpec,
) -> Result<(GenerationSpec, BTreeMap<Digest, Vec<u8>>), ActivateError> {
    let mut components = BTreeMap::new();
    for (name, plugin) in &mut spec.plugins {
        let (digest, bytes) = read_component(name, plugin)?;
        plugin.digest = Some(digest);
        components.insert(digest, bytes);
    }
    Ok((spec, components))
}

/// Reads a component, within its bound, and checks its pin.
fn read_component(name: &str, spec: &PluginSpec) -> Result<(Digest, Vec<u8>), LoadError> {
    let failed = |reason| LoadError { plugin: name.to_owned(), reason };
    let read = |source: io::Error| {
        let hint = if source.kind() == io::ErrorKind::NotFound {
            "; build it, or correct the path in the configuration"
        } else {
            ""
        };
        failed(LoadErrorReason::Read { path: spec.component.clone(), source, hint })
    };
    let bytes_max = spec.limits.component_bytes;
    let metadata = std::fs::metadata(&spec.component).map_err(read)?;
    if !metadata.is_file() {
        // A pipe or a device could be waited for, or read, for ever.
        return Err(failed(LoadErrorReason::NotAComponent(format!(
            "{} is no file",
            spec.component.display()
        ))));
    }
    let mut bytes = Vec::new();
    let most = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    let file = std::fs::File::open(&spec.component).map_err(read)?;
    file.take(most).read_to_end(&mut bytes).map_err(read)?;
    if bytes.len() > bytes_max {
        let size = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
        return Err(failed(LoadErrorReason::TooLarge { bytes: size, bytes_max }));
    }
    let found = Digest::of(&bytes);
    match spec.digest {
        Some(expected) if expected != found => {
            Err(failed(LoadErrorReason::Digest { expected, found }))
        }
        _ => Ok((found, bytes)),
    }
}

/// Of a set with its digests. Paths do not matter.
fn base_digest(spec: &GenerationSpec) -> Digest {
    let mut spec = spec.clone();
    for plugin in spec.plugins.values_mut() {
        plugin.component = PathBuf::new();
    }
    Digest::of(serde_json::to_string(&spec).unwrap_or_default().as_bytes())
}

/// `; did you mean …?`, or nothing.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> String {
    known
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| format!("; did you mean `{known}`?"))
        .unwrap_or_default()
}
