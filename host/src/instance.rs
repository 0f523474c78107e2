//! One live instance of a plugin: a store, its hooks, and the buffers that carry fields in.

mod awaiting;
mod exports;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use wasmtime::component::InstancePre;
use wasmtime::{PoolConcurrencyLimitError, Store, Trap};

use crate::error::{ConfigProblem, HookError, LoadErrorReason};
use crate::exchange::Exchange;
use crate::fields::{Field, Phase, pack};
use crate::host_calls::{Exited, NotGranted, wasi};
use crate::spec::Limits;
use crate::state::{Granted, LimitReached, State, TooManyHostCalls};
use crate::text::{ITEM_BYTES_MAX, printable};
use crate::wit::v0_1::pillion::plugin::types::{Decision, Descriptor, ResponseDecision};

pub(crate) use awaiting::{CompletionHook, Hook, RequestHook, ResponseHook, block_on};
pub(crate) use exports::Exports;
use exports::Guests;

/// Bytes that are printed of the cause of a guest's failure.
const CAUSE_BYTES_MAX: usize = 512;

/// What wasmtime says when `limits.handles` is reached.
const HANDLES_EXHAUSTED: &str = "store handle limit exceeded";

/// Configuration errors of one component that are kept; a message shows the first few of them.
const CONFIG_PROBLEMS_MAX: usize = 256;

/// An instance, ready for hooks once it is configured.
pub(crate) struct Instance {
    store: Store<State>,
    guests: Guests,
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
    /// Instantiates under the load deadline. Never waits when the plugin's imports do not.
    pub(crate) async fn new(
        pre: &InstancePre<State>,
        exports: &Exports,
        granted: &Arc<Granted>,
    ) -> Result<Self, LoadErrorReason> {
        let limits = &granted.limits;
        let mut store = Store::new(pre.engine(), State::new(Arc::clone(granted)));
        store.limiter(|state| state);
        store.epoch_deadline_callback(|mut store| store.data_mut().past_deadline());
        store.set_hostcall_fuel(limits.host_call_bytes);
        store.set_max_component_handles(limits.handles);
        let deadline_ms = arm_for_load(&mut store);
        let loaded = match exports {
            Exports::Direct(exports) => guarded(|| {
                let instance = pre.instantiate(&mut store)?;
                exports.load(&mut store, &instance).map(Guests::Direct)
            }),
            Exports::Awaiting(exports) => {
                let instance = awaiting::guarded(pre.instantiate_async(&mut store)).await;
                instance
                    .and_then(|instance| exports.load(&mut store, &instance))
                    .map(Guests::Awaiting)
            }
        };
        match loaded {
            Ok(guests) => Ok(Self { store, guests, bytes: Vec::new(), ends: Vec::new() }),
            Err(error) if error.is::<PoolConcurrencyLimitError>() => Err(LoadErrorReason::NoRoom),
            Err(error) => Err(failed("instantiate", &error, &store, deadline_ms)),
        }
    }

    /// Asks what the plugin is.
    pub(crate) async fn describe(&mut self) -> Result<Descriptor, LoadErrorReason> {
        let deadline_ms = arm_for_load(&mut self.store);
        let store = &mut self.store;
        let described = match &self.guests {
            Guests::Direct(guests) => guarded(|| guests.lifecycle.call_describe(store)),
            Guests::Awaiting(guests) => {
                awaiting::guarded(guests.lifecycle.call_describe(store)).await
            }
        };
        described.map_err(|error| failed("describe", &error, &self.store, deadline_ms))
    }

    /// Hands over the configuration.
    pub(crate) async fn configure(&mut self, json: &str) -> Result<(), LoadErrorReason> {
        let deadline_ms = arm_for_load(&mut self.store);
        let store = &mut self.store;
        let configured = match &self.guests {
            Guests::Direct(guests) => guarded(|| guests.lifecycle.call_configure(store, json)),
            Guests::Awaiting(guests) => {
                awaiting::guarded(guests.lifecycle.call_configure(store, json)).await
            }
        };
        match configured {
            Ok(Ok(())) => Ok(()),
            Ok(Err(problems)) => Err(LoadErrorReason::Config(
                problems
                    .iter()
                    .take(CONFIG_PROBLEMS_MAX)
                    .map(|problem| ConfigProblem::of(&problem.key, &problem.reason))
                    .collect(),
            )),
            Err(error) => Err(failed("configure", &error, &self.store, deadline_ms)),
        }
    }

    /// Runs the request hook. `None`: there is none.
    pub(crate) fn on_request(
        &mut self,
        exchange: Box<Exchange>,
        fields: &[Field],
    ) -> (Box<Exchange>, Result<Decision, HookError>) {
        self.hook(exchange, fields, Phase::Request, |this| match &this.guests.direct()?.request {
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
        self.hook(exchange, fields, Phase::Response, |this| match &this.guests.direct()?.response {
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
        self.hook(exchange, fields, Phase::Completion, |this| {
            match &this.guests.direct()?.completion {
                Some(guest) => guest.call_on_complete(&mut this.store, &this.bytes, &this.ends),
                None => Ok(()),
            }
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

fn arm_for_load(store: &mut Store<State>) -> u32 {
    let deadline_ms = store.data().granted.limits.load_deadline_ms;
    if store.data().granted.outside.handle.is_some() {
        store.data_mut().arm_awaiting(deadline_ms);
    } else {
        store.data_mut().arm(deadline_ms);
    }
    store.data_mut().deadline_key = "load_deadline_ms";
    store.set_epoch_deadline(first_look(deadline_ms));
    deadline_ms
}

/// Until then a call runs without its CPU time being read.
const FIRST_LOOK_MS_MAX: u32 = 2;

/// Epochs until [`State::past_deadline`] looks for the first time: half the deadline, 2 ms at most,
/// and one more because the running epoch may be almost over.
fn first_look(deadline_ms: u32) -> u64 {
    u64::from((deadline_ms / 2).min(FIRST_LOOK_MS_MAX)) + 1
}

/// A panic in a host call is a bug of the host; it must end this hook, not the process or the
/// connection.
fn guarded<T>(call: impl FnOnce() -> wasmtime::Result<T>) -> wasmtime::Result<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| Err(panicked()))
}

fn panicked() -> wasmtime::Error {
    wasmtime::format_err!("a host call panicked; please report this")
}

/// What happened, from the trap and from what the state remembers.
fn explain(error: &wasmtime::Error, store: &Store<State>, deadline_ms: u32) -> HookError {
    let state = store.data();
    let limits: &Limits = &state.granted.limits;
    if error.downcast_ref::<TooManyHostCalls>().is_some() {
        return HookError::HostCalls(limits.host_calls);
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return HookError::NoRoom;
    }
    if let Some(denied) = error.downcast_ref::<NotGranted>() {
        return HookError::Trap(denied.to_string());
    }
    if error.downcast_ref::<Exited>().is_some() {
        return HookError::Trap(with_output(Exited.to_string(), store));
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => HookError::Deadline { key: state.deadline_key, ms: deadline_ms },
        Some(Trap::StackOverflow) => HookError::Stack,
        _ if state.refused == Some(LimitReached::Memory) => HookError::Memory(limits.memory_bytes),
        _ if state.refused == Some(LimitReached::Table) => HookError::Limit {
            key: "table_elements",
            value: limits.table_elements,
            what: "it wanted more table elements",
        },
        Some(trap) => HookError::Trap(with_output(with_backtrace(&trap.to_string(), error), store)),
        // What a host call refused: the reason is at the end of the chain, below wasmtime's
        // backtrace of many lines.
        None => limit_in(error, limits).unwrap_or_else(|| {
            let cause = error.root_cause().to_string();
            let cause = with_backtrace(&printable(&cause, CAUSE_BYTES_MAX), error);
            HookError::Trap(with_output(cause, store))
        }),
    }
}

/// Appends the last lines that the guest printed: a Rust guest's panic message is there.
fn with_output(failure: String, store: &Store<State>) -> String {
    let printed = &store.data().printed;
    if printed.is_empty() { failure } else { format!("{failure}: {}", printed.join(" ")) }
}

/// The limit that wasmtime enforces by itself and whose error has no public type.
fn limit_in(error: &wasmtime::Error, limits: &Limits) -> Option<HookError> {
    let says = |text: &str| error.chain().any(|cause| cause.to_string().contains(text));
    if says("fuel allocated for hostcalls has been exhausted") {
        return Some(HookError::Limit {
            key: "host_call_bytes",
            value: limits.host_call_bytes,
            what: "one host call brought more data into the host",
        });
    }
    if says(HANDLES_EXHAUSTED) {
        return Some(HookError::Limit {
            key: "handles",
            value: limits.handles,
            what: "it held more resource handles",
        });
    }
    None
}

/// The trap and the innermost function that has a name.
fn with_backtrace(trap: &str, error: &wasmtime::Error) -> String {
    let backtrace = error.downcast_ref::<wasmtime::WasmBacktrace>();
    let name =
        backtrace.and_then(|trace| trace.frames().iter().find_map(|frame| frame.func_name()));
    match name {
        Some(name) => format!("{trap} in {}", printable(name, ITEM_BYTES_MAX)),
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
