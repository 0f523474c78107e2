//! Hooks of plugins whose imports await: each runs on a fiber of its own, which is left while
//! an answer from outside the process is on its way.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use pin_project_lite::pin_project;
use wasmtime::Store;

use super::exports::awaiting::Guests;
use super::{Instance, explain, first_look, panicked};
use crate::error::HookError;
use crate::exchange::Exchange;
use crate::fields::{Field, Phase, pack};
use crate::host_calls::wasi;
use crate::state::State;
use crate::wit::v0_1::pillion::plugin::types::{Decision, ResponseDecision};

/// One of the three hooks.
pub(crate) trait Hook {
    /// What it decides.
    type Decision: Send;
    /// When it runs.
    const PHASE: Phase;

    /// Calls it where it is a plain function.
    fn call(
        instance: &mut Instance,
        exchange: Box<Exchange>,
        fields: &[Field],
    ) -> (Box<Exchange>, Result<Self::Decision, HookError>);

    /// Calls it where it awaits.
    fn call_awaiting(
        guests: &Guests,
        store: &mut Store<State>,
        bytes: &[u8],
        ends: &[u32],
    ) -> impl Future<Output = wasmtime::Result<Self::Decision>> + Send;
}

pub(crate) enum RequestHook {}
pub(crate) enum ResponseHook {}
pub(crate) enum CompletionHook {}

impl Hook for RequestHook {
    type Decision = Decision;
    const PHASE: Phase = Phase::Request;

    fn call(
        instance: &mut Instance,
        exchange: Box<Exchange>,
        fields: &[Field],
    ) -> (Box<Exchange>, Result<Decision, HookError>) {
        instance.on_request(exchange, fields)
    }

    async fn call_awaiting(
        guests: &Guests,
        store: &mut Store<State>,
        bytes: &[u8],
        ends: &[u32],
    ) -> wasmtime::Result<Decision> {
        match &guests.request {
            Some(guest) => guest.call_on_request(store, bytes, ends).await,
            None => Ok(Decision::Continue),
        }
    }
}

impl Hook for ResponseHook {
    type Decision = ResponseDecision;
    const PHASE: Phase = Phase::Response;

    fn call(
        instance: &mut Instance,
        exchange: Box<Exchange>,
        fields: &[Field],
    ) -> (Box<Exchange>, Result<ResponseDecision, HookError>) {
        instance.on_response(exchange, fields)
    }

    async fn call_awaiting(
        guests: &Guests,
        store: &mut Store<State>,
        bytes: &[u8],
        ends: &[u32],
    ) -> wasmtime::Result<ResponseDecision> {
        match &guests.response {
            Some(guest) => guest.call_on_response(store, bytes, ends).await,
            None => Ok(ResponseDecision::Continue),
        }
    }
}

impl Hook for CompletionHook {
    type Decision = ();
    const PHASE: Phase = Phase::Completion;

    fn call(
        instance: &mut Instance,
        exchange: Box<Exchange>,
        fields: &[Field],
    ) -> (Box<Exchange>, Result<(), HookError>) {
        instance.on_complete(exchange, fields)
    }

    async fn call_awaiting(
        guests: &Guests,
        store: &mut Store<State>,
        bytes: &[u8],
        ends: &[u32],
    ) -> wasmtime::Result<()> {
        match &guests.completion {
            Some(guest) => guest.call_on_complete(store, bytes, ends).await,
            None => Ok(()),
        }
    }
}

impl Instance {
    /// Runs a hook that awaits. Whoever drops this future gets the exchange back by
    /// [`Self::take_exchange`]; the instance must then not be used again.
    pub(crate) async fn hook_awaiting<H: Hook>(
        &mut self,
        exchange: Box<Exchange>,
        fields: &[Field],
    ) -> Result<H::Decision, HookError> {
        pack(fields, &exchange, &mut self.bytes, &mut self.ends);
        let state = self.store.data_mut();
        let deadline_ms = state.granted.limits.deadline_ms;
        state.arm_awaiting(deadline_ms);
        state.phase = H::PHASE;
        state.exchange = Some(exchange);
        self.store.set_epoch_deadline(first_look(deadline_ms));
        let result = match self.guests.awaiting() {
            Ok(guests) => {
                guarded(H::call_awaiting(guests, &mut self.store, &self.bytes, &self.ends)).await
            }
            Err(error) => Err(error),
        };
        result.map_err(|error| explain(&error, &self.store, deadline_ms))
    }

    /// What [`Self::hook_awaiting`] was given, when it is done or was dropped.
    pub(crate) fn take_exchange(&mut self) -> Option<Box<Exchange>> {
        wasi::flush(self.store.data_mut());
        self.store.data_mut().exchange.take()
    }
}

pin_project! {
    struct Guarded<F> {
        #[pin]
        call: F,
    }
}

impl<F: Future<Output = wasmtime::Result<T>>, T> Future for Guarded<F> {
    type Output = wasmtime::Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<wasmtime::Result<T>> {
        let call = self.project().call;
        catch_unwind(AssertUnwindSafe(|| call.poll(cx)))
            .unwrap_or_else(|_| Poll::Ready(Err(panicked())))
    }
}

/// As [`super::guarded`], for a call that awaits.
pub(super) fn guarded<T>(
    call: impl Future<Output = wasmtime::Result<T>> + Send,
) -> impl Future<Output = wasmtime::Result<T>> + Send {
    Guarded { call }
}

/// Waits on this thread: for loading, which blocks anyway. What is awaited is done by other
/// threads, so it needs no executor; and what does not await costs one poll.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let mut future = pin!(future);
    if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        return done;
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => thread::park(),
        }
    }
}
