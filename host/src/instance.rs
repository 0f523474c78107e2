//! One live instance of a plugin: a store, its hooks, and the buffers that carry fields in.

use std::panic::{AssertUnwindSafe, catch_unwind};

use wasmtime::component::InstancePre;
use wasmtime::{PoolConcurrencyLimitError, Store, Trap};

use crate::error::{ConfigProblem, HookError, LoadErrorReason};
use crate::exchange::Exchange;
use crate::fields::{Field, Phase, pack};
use crate::host_calls::{Exited, wasi};
use crate::spec::Limits;
use crate::state::{Granted, State, TooManyHostCalls};
use crate::wit::v0_1::exports::pillion::plugin::{completion, lifecycle, request, response};
use crate::wit::v0_1::pillion::plugin::types::{Decision, Descriptor, ResponseDecision};

/// Where a component's exports are, found once when it is loaded.
pub(crate) struct Exports {
    pub(crate) lifecycle: lifecycle::GuestIndices,
    pub(crate) request: Option<request::GuestIndices>,
    pub(crate) response: Option<response::GuestIndices>,
    pub(crate) completion: Option<completion::GuestIndices>,
}

impl Exports {
    /// Phases are found by name; only `lifecycle` must be there.
    pub(crate) fn of(pre: &InstancePre<State>) -> Result<Self, wasmtime::Error> {
        Ok(Self {
            lifecycle: lifecycle::GuestIndices::new(pre)?,
            request: request::GuestIndices::new(pre).ok(),
            response: response::GuestIndices::new(pre).ok(),
            completion: completion::GuestIndices::new(pre).ok(),
        })
    }
}

/// An instance, ready for hooks once it is configured.
pub(crate) struct Instance {
    store: Store<State>,
    lifecycle: lifecycle::Guest,
    request: Option<request::Guest>,
    response: Option<response::Guest>,
    completion: Option<completion::Guest>,
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance")
            .field("plugin", &self.store.data().granted.shared.name)
            .finish_non_exhaustive()
    }
}

impl Instance {
    /// Instantiates under the load deadline.
    pub(crate) fn new(
        pre: &InstancePre<State>,
        exports: &Exports,
        granted: &std::sync::Arc<Granted>,
    ) -> Result<Self, LoadErrorReason> {
        let limits = &granted.limits;
        let mut store = Store::new(pre.engine(), State::new(std::sync::Arc::clone(granted)));
        store.limiter(|state| state);
        store.epoch_deadline_callback(|mut store| store.data_mut().past_deadline());
        store.set_hostcall_fuel(limits.host_call_bytes);
        store.set_max_component_handles(limits.handles);
        store.data_mut().arm(limits.load_deadline_ms);
        store.set_epoch_deadline(first_look(limits.load_deadline_ms));
        let loaded = guarded(|| {
            let instance = pre.instantiate(&mut store)?;
            let lifecycle = exports.lifecycle.load(&mut store, &instance)?;
            let request =
                exports.request.as_ref().map(|at| at.load(&mut store, &instance)).transpose()?;
            let response =
                exports.response.as_ref().map(|at| at.load(&mut store, &instance)).transpose()?;
            let completion =
                exports.completion.as_ref().map(|at| at.load(&mut store, &instance)).transpose()?;
            Ok((lifecycle, request, response, completion))
        });
        match loaded {
            Ok((lifecycle, request, response, completion)) => Ok(Self {
                store,
                lifecycle,
                request,
                response,
                completion,
                bytes: Vec::new(),
                ends: Vec::new(),
            }),
            Err(error) if error.is::<PoolConcurrencyLimitError>() => Err(LoadErrorReason::NoRoom),
            Err(error) => Err(failed("instantiate", &error, &store, limits.load_deadline_ms)),
        }
    }

    /// Asks what the plugin is.
    pub(crate) fn describe(&mut self) -> Result<Descriptor, LoadErrorReason> {
        let deadline_ms = self.arm_for_load();
        let (lifecycle, store) = (&self.lifecycle, &mut self.store);
        guarded(|| lifecycle.call_describe(&mut *store))
            .map_err(|error| failed("describe", &error, &self.store, deadline_ms))
    }

    /// Hands over the configuration.
    pub(crate) fn configure(&mut self, json: &str) -> Result<(), LoadErrorReason> {
        let deadline_ms = self.arm_for_load();
        let (lifecycle, store) = (&self.lifecycle, &mut self.store);
        match guarded(|| lifecycle.call_configure(&mut *store, json)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(problems)) => Err(LoadErrorReason::Config(
                problems
                    .into_iter()
                    .map(|problem| ConfigProblem { key: problem.key, reason: problem.reason })
                    .collect(),
            )),
            Err(error) => Err(failed("configure", &error, &self.store, deadline_ms)),
        }
    }

    fn arm_for_load(&mut self) -> u32 {
        let limits = &self.store.data().granted.limits;
        let deadline_ms = limits.load_deadline_ms;
        self.store.data_mut().arm(deadline_ms);
        self.store.set_epoch_deadline(first_look(deadline_ms));
        deadline_ms
    }

    /// Runs the request hook. `None`: there is none.
    pub(crate) fn on_request(
        &mut self,
        exchange: Box<Exchange>,
        fields: &[Field],
    ) -> (Box<Exchange>, Result<Decision, HookError>) {
        self.hook(exchange, fields, Phase::Request, |this| match &this.request {
            Some(guest) => guest.call_on_request(&mut this.store, &this.bytes, &this.ends),
            None => Ok(Decision::Continue),
        })
    }

    /// Runs the response hook.
    pub(crate) fn on_response(
        &mut self,
        exchange: Box<Exchange>,
        fields: &[Field],
    ) -> (Box<Exchange>, Result<ResponseDecision, HookError>) {
        self.hook(exchange, fields, Phase::Response, |this| match &this.response {
            Some(guest) => guest.call_on_response(&mut this.store, &this.bytes, &this.ends),
            None => Ok(ResponseDecision::Continue),
        })
    }

    /// Runs the completion hook.
    pub(crate) fn on_complete(
        &mut self,
        exchange: Box<Exchange>,
        fields: &[Field],
    ) -> (Box<Exchange>, Result<(), HookError>) {
        self.hook(exchange, fields, Phase::Completion, |this| match &this.completion {
            Some(guest) => guest.call_on_complete(&mut this.store, &this.bytes, &this.ends),
            None => Ok(()),
        })
    }

    fn hook<T>(
        &mut self,
        exchange: Box<Exchange>,
        fields: &[Field],
        phase: Phase,
        call: impl FnOnce(&mut Self) -> wasmtime::Result<T>,
    ) -> (Box<Exchange>, Result<T, HookError>) {
        pack(fields, &exchange, &mut self.bytes, &mut self.ends);
        let state = self.store.data_mut();
        let deadline_ms = state.granted.limits.deadline_ms;
        state.arm(deadline_ms);
        state.phase = phase;
        state.exchange = Some(exchange);
        self.store.set_epoch_deadline(first_look(deadline_ms));
        let result = guarded(|| call(self));
        wasi::flush(self.store.data_mut());
        let exchange = self.store.data_mut().exchange.take();
        let result = result.map_err(|error| explain(&error, &self.store, deadline_ms));
        (exchange.expect("host calls never take the exchange"), result)
    }
}

/// Epochs until [`State::past_deadline`] looks for the first time: half the deadline, and one
/// more because the running epoch may be almost over.
fn first_look(deadline_ms: u32) -> u64 {
    u64::from(deadline_ms / 2) + 1
}

/// A panic in a host call is a bug of the host; it must end this hook, not the process or the
/// connection.
fn guarded<T>(call: impl FnOnce() -> wasmtime::Result<T>) -> wasmtime::Result<T> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err(wasmtime::format_err!("a host call panicked; please report this")))
}

/// What happened, from the trap and from what the state remembers.
fn explain(error: &wasmtime::Error, store: &Store<State>, deadline_ms: u32) -> HookError {
    let limits: &Limits = &store.data().granted.limits;
    if error.downcast_ref::<TooManyHostCalls>().is_some() {
        return HookError::HostCalls(limits.host_calls);
    }
    if error.downcast_ref::<Exited>().is_some() {
        return HookError::Trap(Exited.to_string());
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => HookError::Deadline(deadline_ms),
        Some(Trap::StackOverflow) => HookError::Stack,
        _ if store.data().memory_refused => HookError::Memory(limits.memory_bytes),
        Some(trap) => HookError::Trap(with_backtrace(&trap.to_string(), error)),
        None => HookError::Trap(format!("{error:#}")),
    }
}

/// The trap and the innermost function that has a name.
fn with_backtrace(trap: &str, error: &wasmtime::Error) -> String {
    let backtrace = error.downcast_ref::<wasmtime::WasmBacktrace>();
    let name =
        backtrace.and_then(|trace| trace.frames().iter().find_map(|frame| frame.func_name()));
    match name {
        Some(name) => format!("{trap} in {name}"),
        None => trap.to_owned(),
    }
}

fn failed(
    step: &'static str,
    error: &wasmtime::Error,
    store: &Store<State>,
    deadline_ms: u32,
) -> LoadErrorReason {
    LoadErrorReason::Failed { step, failure: explain(error, store, deadline_ms).to_string() }
}
