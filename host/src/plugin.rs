//! A loaded version of a plugin: checked, described, configured once on trial, and its warm
//! instances.

mod failures;

use std::cell::RefCell;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use thread_local::ThreadLocal;
use tokio::sync::{Semaphore, SemaphorePermit};
use wasmtime::component::{Component, InstancePre};

use crate::backends::Outside;
use crate::breaker::Breaker;
use crate::error::{HookError, LoadErrorReason};
use crate::exchange::Exchange;
use crate::fields::{FIELDS_MAX, Field, Phase};
use crate::host_calls;
use crate::instance::{Exports, Hook, Instance, block_on};
use crate::spec::{Digest, FailurePolicy, Fallback, InstanceMode, PluginSpec};
use crate::state::{Granted, State};
use crate::stats::Stats;
use crate::text::{ITEM_BYTES_MAX, printable, printable_json, printable_list};
use crate::wit::v0_1::pillion::plugin::types::Descriptor;

/// Instances of one plugin that awaits that requests may hold at once. With an answer in 1 ms
/// that is 128,000 hooks a second; who finds none waits for one.
pub(crate) const AWAITING_INSTANCES_MAX: usize = 128;

/// Of these, how many per worker are kept when no request holds them.
pub(crate) const IDLE_INSTANCES_PER_WORKER: usize = 16;

/// Limits of what a plugin says of itself. A schema of 40 keys with a sentence each has 8 KiB.
const DESCRIPTION_BYTES_MAX: usize = 1 << 10;
const SCHEMA_BYTES_MAX: usize = 64 << 10;
const GRANTS_MAX: usize = 64;

/// What a plugin says of itself, and what was found out about it.
#[derive(Clone, Debug, Serialize)]
pub struct Description {
    /// The plugin's own name, which need not be the operator's.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// One sentence.
    pub description: String,
    /// Fields of each phase that it asked for and exports.
    pub phases: Vec<PhaseDescription>,
    /// Grants it says it needs.
    pub grants: Vec<String>,
    /// JSON Schema of its configuration.
    pub config_schema: serde_json::Value,
}

/// One phase of a plugin.
#[derive(Clone, Debug, Serialize)]
pub struct PhaseDescription {
    /// When it runs.
    pub phase: Phase,
    /// What it wants to see.
    pub fields: Vec<String>,
}

impl Description {
    /// The fields of a phase, if the plugin has it.
    pub(crate) fn fields(&self, phase: Phase) -> Option<&[String]> {
        self.phases.iter().find(|found| found.phase == phase).map(|found| found.fields.as_slice())
    }
}

/// A component's exports, imports and description without any grant or configuration.
pub(crate) struct Prepared {
    pre: InstancePre<State>,
    exports: Exports,
    /// Some of its imports are kept outside this process.
    awaits: bool,
}

/// Links a component against exactly what it was granted.
pub(crate) fn prepare(
    component: &Component,
    spec: &PluginSpec,
    outside: &Outside,
) -> Result<Prepared, LoadErrorReason> {
    let engine = component.engine();
    check_exports(component)?;
    let (linker, awaits) = host_calls::linker(engine, component, &spec.grants, outside)?;
    let wrong = |error: wasmtime::Error| {
        LoadErrorReason::WrongWorld(format!(
            "does not fit the world pillion:plugin/plugin@{}: {error:#}",
            host_calls::VERSION
        ))
    };
    let pre = linker.instantiate_pre(component).map_err(wrong)?;
    let exports = Exports::of(&pre, awaits).map_err(wrong)?;
    Ok(Prepared { pre, exports, awaits })
}

/// `lifecycle` must be there, in a version that this host speaks.
fn check_exports(component: &Component) -> Result<(), LoadErrorReason> {
    let kind = component.component_type();
    let mut exports = kind.exports(component.engine()).map(|(name, _)| name);
    match exports.find(|name| name.starts_with("pillion:plugin/lifecycle")) {
        Some(name) if name.starts_with("pillion:plugin/lifecycle@0.1.") => Ok(()),
        Some(name) => Err(LoadErrorReason::WrongWorld(host_calls::wrong_version(name))),
        None => {
            let found: Vec<_> =
                kind.exports(component.engine()).map(|(name, _)| name.to_owned()).collect();
            let found = if found.is_empty() {
                "nothing".to_owned()
            } else {
                printable_list(found.iter().map(String::as_str), ", ")
            };
            Err(LoadErrorReason::WrongWorld(format!(
                "is a component but no plugin: it does not export `pillion:plugin/lifecycle@{}` \
                 (it exports {found})",
                host_calls::VERSION
            )))
        }
    }
}

/// One version of a plugin with one configuration. Shared by all chains that name it and by all
/// generations in which it is the same.
pub(crate) struct LoadedPlugin {
    pub(crate) spec: PluginSpec,
    pub(crate) digest: Digest,
    pub(crate) component_bytes: usize,
    pub(crate) description: Description,
    pub(crate) granted: Arc<Granted>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) breaker: Breaker,
    component: Component,
    prepared: Prepared,
    config: String,
    warm: ThreadLocal<RefCell<Option<Box<Instance>>>>,
    /// Made at activation, one for each worker to take at its first request. Those of a plugin
    /// that awaits belong to no worker and come back here.
    #[expect(
        clippy::vec_box,
        reason = "an instance is moved in and out of its place on every hook"
    )]
    ready: Mutex<Vec<Box<Instance>>>,
    /// One for each instance of a plugin that awaits that a request may hold.
    held: Semaphore,
    /// So many of them are kept for later requests.
    idle_max: usize,
    /// A hook has failed since the supervisor last looked; with a fallback only.
    suspect: AtomicBool,
}

impl std::fmt::Debug for LoadedPlugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "LoadedPlugin({} {} {})",
            self.granted.shared.name,
            self.description.version,
            self.digest.short()
        )
    }
}

impl LoadedPlugin {
    /// Makes a trial instance, has it describe itself and take its configuration, and keeps it
    /// as the first warm one of `workers`.
    pub(crate) fn load(
        component: &Component,
        spec: PluginSpec,
        digest: Digest,
        component_bytes: usize,
        granted: Granted,
        workers: usize,
    ) -> Result<Self, LoadErrorReason> {
        if spec.grants.identity && spec.failure_policy == FailurePolicy::Open {
            return Err(LoadErrorReason::Settings(
                "failure_policy = \"open\" with the grant `identity` would let everybody in when \
                 it fails; use \"closed\""
                    .to_owned(),
            ));
        }
        if spec.grants.identity && spec.fallback == Fallback::Previous {
            return Err(LoadErrorReason::Settings(
                "fallback = \"previous\" with the grant `identity` would let clients bring back a \
                 version that decides who they are; use \"none\""
                    .to_owned(),
            ));
        }
        let prepared = prepare(component, &spec, &granted.outside)?;
        let granted = Arc::new(granted);
        let config = if spec.config.is_null() { "{}".to_owned() } else { spec.config.to_string() };
        let mut trial = block_on(Instance::new(&prepared.pre, &prepared.exports, &granted))?;
        let description = describe(&mut trial, &prepared.exports)?;
        if let Some(grant) = description.grants.iter().find(|grant| !spec.grants.allows(grant)) {
            return Err(LoadErrorReason::NeedsGrant(grant.clone()));
        }
        block_on(trial.configure(&config))?;
        let stats = granted.shared.stats(digest);
        let loaded = Self {
            breaker: Breaker::new(spec.breaker.clone(), Instant::now(), stats.ran()),
            stats,
            component: component.clone(),
            digest,
            component_bytes,
            description,
            granted,
            prepared,
            config,
            warm: ThreadLocal::new(),
            ready: Mutex::new(vec![Box::new(trial)]),
            held: Semaphore::new(AWAITING_INSTANCES_MAX),
            idle_max: workers * IDLE_INSTANCES_PER_WORKER,
            suspect: AtomicBool::new(false),
            spec,
        };
        if loaded.spec.self_check {
            loaded.self_check()?;
        }
        if loaded.spec.mode == InstanceMode::Warm {
            for _ in 1..workers {
                let instance = block_on(loaded.instance())?;
                loaded.ready.lock().unwrap_or_else(PoisonError::into_inner).push(instance);
            }
        }
        Ok(loaded)
    }

    /// Whether its hooks have to be awaited.
    pub(crate) fn awaits(&self) -> bool {
        self.prepared.awaits
    }

    /// A new configured instance.
    async fn instance(&self) -> Result<Box<Instance>, LoadErrorReason> {
        let made = Instance::new(&self.prepared.pre, &self.prepared.exports, &self.granted);
        let mut instance = made.await?;
        instance.configure(&self.config).await?;
        Ok(Box::new(instance))
    }

    /// One that was made at activation, or a new one.
    async fn take_instance(&self) -> Result<Box<Instance>, HookError> {
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match ready {
            Some(instance) => Ok(instance),
            None => self.instance().await.map_err(|reason| match reason {
                LoadErrorReason::NoRoom => HookError::NoRoom,
                reason => HookError::Instance(reason.to_string()),
            }),
        }
    }

    /// Runs `hook` on this worker's warm instance, or in `fresh` mode on the request's own.
    /// Whatever fails, its instance is not used again.
    pub(crate) fn run<T>(
        &self,
        place: usize,
        mut exchange: Box<Exchange>,
        hook: impl FnOnce(&mut Instance, Box<Exchange>) -> (Box<Exchange>, Result<T, HookError>),
    ) -> (Box<Exchange>, Result<T, HookError>) {
        match self.spec.mode {
            InstanceMode::Warm => {
                let cell = self.warm.get_or_default();
                // Taken out while it runs: a hook that fails leaves an empty place behind.
                let taken = cell.borrow_mut().take();
                match taken.map_or_else(|| block_on(self.take_instance()), Ok) {
                    Err(error) => (exchange, Err(error)),
                    Ok(mut instance) => {
                        let (exchange, result) = hook(&mut instance, exchange);
                        if result.is_ok() {
                            *cell.borrow_mut() = Some(instance);
                        }
                        (exchange, result)
                    }
                }
            }
            InstanceMode::Fresh => {
                let own = exchange.fresh.iter().position(|(of, _)| *of == place);
                let own = own.map(|at| exchange.fresh.swap_remove(at).1);
                match own.map_or_else(|| block_on(self.take_instance()), Ok) {
                    Err(error) => (exchange, Err(error)),
                    Ok(mut instance) => {
                        let (mut exchange, result) = hook(&mut instance, exchange);
                        if result.is_ok() {
                            exchange.fresh.push((place, instance));
                        }
                        (exchange, result)
                    }
                }
            }
        }
    }

    /// Runs a hook that may await, with the exchange in `slot`, where it is again afterwards, and
    /// also when this future is dropped before it is done. Whatever fails or is dropped, its
    /// instance is not used again.
    pub(crate) async fn run_awaiting<H: Hook>(
        &self,
        place: usize,
        slot: &mut Option<Box<Exchange>>,
        fields: &[Field],
    ) -> Result<H::Decision, HookError> {
        if !self.awaits() {
            let exchange = slot.take().ok_or(HookError::NoRoom)?;
            let run = |instance: &mut Instance, exchange| H::call(instance, exchange, fields);
            let (exchange, result) = self.run(place, exchange, run);
            *slot = Some(exchange);
            return result;
        }
        match self.spec.mode {
            InstanceMode::Warm => self.run_held::<H>(slot, fields).await,
            InstanceMode::Fresh => self.run_fresh::<H>(place, slot, fields).await,
        }
    }

    async fn run_held<H: Hook>(
        &self,
        slot: &mut Option<Box<Exchange>>,
        fields: &[Field],
    ) -> Result<H::Decision, HookError> {
        let _permit = self.permit().await?;
        let mut held = Held { instance: Some(self.take_instance().await?), slot };
        let result = held.call::<H>(fields).await;
        if let (Ok(_), Some(instance)) = (&result, held.finish()) {
            let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
            if ready.len() < self.idle_max {
                ready.push(instance);
            }
        }
        result
    }

    async fn run_fresh<H: Hook>(
        &self,
        place: usize,
        slot: &mut Option<Box<Exchange>>,
        fields: &[Field],
    ) -> Result<H::Decision, HookError> {
        let own = slot.as_mut().and_then(|exchange| {
            let at = exchange.fresh.iter().position(|(of, _)| *of == place)?;
            Some(exchange.fresh.swap_remove(at).1)
        });
        let instance = match own {
            Some(instance) => instance,
            None => self.take_instance().await?,
        };
        let mut held = Held { instance: Some(instance), slot };
        let result = held.call::<H>(fields).await;
        let instance = held.finish();
        if let (Ok(_), Some(instance), Some(exchange)) = (&result, instance, slot.as_mut()) {
            exchange.fresh.push((place, instance));
        }
        result
    }

    /// Leave to hold an instance; who has to wait for it waits as long as a hook may.
    async fn permit(&self) -> Result<SemaphorePermit<'_>, HookError> {
        if let Ok(permit) = self.held.try_acquire() {
            return Ok(permit);
        }
        let Some(handle) = &self.granted.outside.handle else {
            return Err(HookError::NoRoom);
        };
        let wait_max = Duration::from_millis(u64::from(self.granted.limits.wait_ms));
        let permit = {
            // The timer belongs to the host's own executor, whatever runs this.
            let _inside = handle.enter();
            tokio::time::timeout(wait_max, self.held.acquire())
        };
        match permit.await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(HookError::NoRoom),
        }
    }
}

/// An instance while a hook awaits on it. Dropped, it gives the exchange back.
struct Held<'a> {
    instance: Option<Box<Instance>>,
    slot: &'a mut Option<Box<Exchange>>,
}

impl Held<'_> {
    async fn call<H: Hook>(&mut self, fields: &[Field]) -> Result<H::Decision, HookError> {
        match (self.instance.as_mut(), self.slot.take()) {
            (Some(instance), Some(exchange)) => instance.hook_awaiting::<H>(exchange, fields).await,
            _ => Err(HookError::NoRoom),
        }
    }

    /// Gives the exchange back, and the instance to whoever can use it again.
    fn finish(mut self) -> Option<Box<Instance>> {
        let mut instance = self.instance.take()?;
        *self.slot = instance.take_exchange();
        Some(instance)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(instance) = &mut self.instance
            && self.slot.is_none()
        {
            *self.slot = instance.take_exchange();
        }
    }
}

/// Asks a component what it is, with nothing granted beyond what it imports.
pub(crate) fn describe_only(
    prepared: &Prepared,
    granted: Granted,
) -> Result<Description, LoadErrorReason> {
    let granted = Arc::new(granted);
    let mut trial = block_on(Instance::new(&prepared.pre, &prepared.exports, &granted))?;
    describe(&mut trial, &prepared.exports)
}

fn describe(trial: &mut Instance, exports: &Exports) -> Result<Description, LoadErrorReason> {
    let said: Descriptor = block_on(trial.describe())?;
    let wrong = |text: String| Err(LoadErrorReason::Descriptor(text));
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let shown = |text: &str| printable(text, ITEM_BYTES_MAX).into_owned();
    if said.name.is_empty() || said.name.len() > 64 || !said.name.bytes().all(legal) {
        return wrong(format!("the name `{}` is not 1–64 of a-z, 0-9, -", shown(&said.name)));
    }
    if !is_semver(&said.version) {
        let version = shown(&said.version);
        return wrong(format!("the version `{version}` is not semantic, like 1.2.3"));
    }
    if said.description.len() > DESCRIPTION_BYTES_MAX {
        return wrong(format!(
            "its description has {} bytes; the most is {DESCRIPTION_BYTES_MAX}",
            said.description.len()
        ));
    }
    if said.config_schema.len() > SCHEMA_BYTES_MAX {
        return wrong(format!(
            "its configuration schema has {} bytes; the most is {SCHEMA_BYTES_MAX}",
            said.config_schema.len()
        ));
    }
    if said.grants.len() > GRANTS_MAX {
        let count = said.grants.len();
        return wrong(format!("it needs {count} grants; the most is {GRANTS_MAX}"));
    }
    let config_schema = match serde_json::from_str(&said.config_schema) {
        Ok(schema) => printable_json(schema),
        Err(error) => return wrong(format!("its configuration schema is not JSON: {error}")),
    };
    let [request, response, completion] = exports.phases();
    let wanted = [
        (Phase::Request, request, said.request),
        (Phase::Response, response, said.response),
        (Phase::Completion, completion, said.completion),
    ];
    let mut phases = Vec::new();
    for (phase, exported, fields) in wanted {
        match fields {
            Some(_) if !exported => {
                return wrong(format!(
                    "it asks for the {} phase but does not export it",
                    phase.name()
                ));
            }
            Some(fields) if fields.len() > FIELDS_MAX => {
                return wrong(format!(
                    "it asks for {} fields in the {} phase; the most is {FIELDS_MAX}",
                    fields.len(),
                    phase.name()
                ));
            }
            Some(fields) => {
                for field in &fields {
                    if let Err(reason) = Field::parse(field, phase, &said.name, |_| Some(0)) {
                        return wrong(format!("in the {} phase: {reason}", phase.name()));
                    }
                }
                phases.push(PhaseDescription { phase, fields });
            }
            None => {}
        }
    }
    Ok(Description {
        name: said.name,
        version: said.version,
        description: printable(&said.description, DESCRIPTION_BYTES_MAX).into_owned(),
        phases,
        grants: said.grants.iter().map(|grant| shown(grant)).collect(),
        config_schema,
    })
}

/// A version by semver.org, 2.0.0, of a length that fits a metric's label.
fn is_semver(version: &str) -> bool {
    version.len() <= 64 && semver::Version::parse(version).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h24_versions_are_those_of_semver_org() {
        for good in ["1.2.3", "0.1.0-rc.1", "1.0.0+build", "10.20.30-x.7+a.01"] {
            assert!(is_semver(good), "{good}");
        }
        let long = format!("1.2.3-{}", "a".repeat(60));
        for bad in [
            "",
            "1",
            "1.2",
            "1.2.x",
            "v1.2.3",
            "1..3",
            "1.2.3-",
            "01.2.3",
            "1.2.3-01",
            "1.2.3+",
            "1.2.3-a..b",
            "1.2.3 ",
            &long,
        ] {
            assert!(!is_semver(bad), "{bad}");
        }
    }
}
