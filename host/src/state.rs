//! What a store holds for one instance: the request at hand, what it was granted, what it may
//! still use up.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use wasmtime::{ResourceLimiter, Trap, UpdateDeadline};

use crate::backends::Outside;
use crate::exchange::Exchange;
use crate::fields::Phase;
use crate::host_calls::now_us;
use crate::keyring::Keyring;
use crate::revocations::Revocations;
use crate::series::Series;
use crate::shared::PluginShared;
use crate::sinks::Sink;
use crate::spec::Limits;

/// What a plugin's host calls work with; one per loaded plugin.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) shared: Arc<PluginShared>,
    pub(crate) limits: Limits,
    pub(crate) sinks: Vec<Arc<Sink>>,
    pub(crate) keyring: Keyring,
    pub(crate) keysets: Vec<String>,
    pub(crate) revocations: Revocations,
    /// Where `kv` and `limiter` are, unless in this process.
    pub(crate) outside: Outside,
    /// May set the caller.
    pub(crate) identity: bool,
    /// The metrics that this version makes: they go with it.
    pub(crate) series: Series,
    /// For a self-check: nothing leaves the instance.
    pub(crate) is_rehearsal: bool,
}

impl Granted {
    /// The same grants with nothing behind them that others share, for a self-check.
    pub(crate) fn rehearsal(&self) -> Self {
        Self {
            shared: Arc::new(PluginShared::new(&self.shared.name, Instant::now())),
            limits: self.limits.clone(),
            sinks: self.sinks.clone(),
            keyring: self.keyring.clone(),
            keysets: self.keysets.clone(),
            revocations: self.revocations.clone(),
            outside: Outside::default(),
            identity: self.identity,
            series: Series::default(),
            is_rehearsal: true,
        }
    }
}

/// A store's data.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) granted: Arc<Granted>,
    /// The request that a hook is running for.
    pub(crate) exchange: Option<Box<Exchange>>,
    pub(crate) phase: Phase,
    pub(crate) host_calls_left: u32,
    pub(crate) memory_bytes: usize,
    table_elements: usize,
    deadline: Duration,
    /// The thread's CPU time when the running hook was first looked at.
    first_look: Option<Duration>,
    /// How long the running call may still wait for what is outside this process.
    wait_left: Duration,
    /// A growth was refused: explains the trap that follows.
    pub(crate) refused: Option<LimitReached>,
    /// The limit that gave the running call its deadline.
    pub(crate) deadline_key: &'static str,
    /// The latest time, in microseconds since 1970, that a plugin without the grant `clock` was
    /// shown: its clocks must not go back.
    frozen_us: u64,
    /// Standard output and error up to the next line feed.
    pub(crate) stdio: Vec<u8>,
    /// The last lines that the running call printed, for the message about its failure: a Rust
    /// guest's panic is there.
    pub(crate) printed: Vec<String>,
}

/// A growth that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitReached {
    Memory,
    Table,
}

/// Raised by a host call past `limits.host_calls`.
#[derive(Debug, thiserror::Error)]
#[error("too many host calls")]
pub(crate) struct TooManyHostCalls;

impl State {
    pub(crate) fn new(granted: Arc<Granted>) -> Self {
        granted.shared.instances.fetch_add(1, Ordering::Relaxed);
        Self {
            host_calls_left: granted.limits.host_calls,
            granted,
            exchange: None,
            phase: Phase::Request,
            memory_bytes: 0,
            table_elements: 0,
            deadline: Duration::ZERO,
            first_look: None,
            wait_left: Duration::ZERO,
            refused: None,
            deadline_key: "deadline_ms",
            frozen_us: 0,
            stdio: Vec::new(),
            printed: Vec::new(),
        }
    }

    /// Gives the next call its bounds.
    pub(crate) fn arm(&mut self, deadline_ms: u32) {
        self.deadline = Duration::from_millis(u64::from(deadline_ms));
        self.first_look = None;
        self.refused = None;
        self.deadline_key = "deadline_ms";
        self.host_calls_left = self.granted.limits.host_calls;
        self.printed.clear();
    }

    /// What happens when a call outlasts its epochs. Epochs pass by the wall clock, and on a
    /// saturated machine a thread may be off its core for longer than any deadline: ending the
    /// call then would fail a request for the machine's fault. So what counts is the thread's
    /// CPU time. Reading it costs a system call, too much for each hook, so it is first read
    /// half a deadline into a call, or 2 ms: one is never ended before it had its deadline in CPU
    /// time, and a spinning one at most 4 ms of CPU time later.
    pub(crate) fn past_deadline(&mut self) -> wasmtime::Result<UpdateDeadline> {
        let now = thread_cpu_time();
        let first = *self.first_look.get_or_insert(now);
        let left = self.deadline.saturating_sub(now.saturating_sub(first));
        if left.is_zero() {
            return Err(Trap::Interrupt.into());
        }
        Ok(UpdateDeadline::Continue(u64::try_from(left.as_millis())?.max(1)))
    }

    /// Gives a call that may await its bounds. Its CPU time is read at once: from its first wait
    /// on it may go on in another thread, with another clock.
    pub(crate) fn arm_awaiting(&mut self, deadline_ms: u32) {
        self.arm(deadline_ms);
        self.first_look = Some(thread_cpu_time());
        self.wait_left = Duration::from_millis(u64::from(self.granted.limits.wait_ms));
    }

    /// Stops the CPU clock for a wait; how long it may last.
    pub(crate) fn pause(&mut self) -> Duration {
        if let Some(first) = self.first_look.take() {
            self.deadline = self.deadline.saturating_sub(thread_cpu_time().saturating_sub(first));
        }
        self.wait_left
    }

    /// Lets the CPU clock go on after a wait, in this thread; the epochs until it is looked at.
    pub(crate) fn resume(&mut self, waited: Duration) -> u64 {
        self.wait_left = self.wait_left.saturating_sub(waited);
        self.first_look = Some(thread_cpu_time());
        self.granted.shared.outside.waited(waited);
        u64::try_from(self.deadline.as_millis()).unwrap_or(u64::MAX / 2).saturating_add(1)
    }

    /// The time that stands still for the running call: when the request arrived, or outside a
    /// hook the whole second.
    pub(crate) fn frozen_us(&mut self) -> u64 {
        const SECOND: u64 = 1_000_000;
        let now = match &self.exchange {
            Some(exchange) => exchange.time_us,
            None => now_us() / SECOND * SECOND,
        };
        self.frozen_us = self.frozen_us.max(now);
        self.frozen_us
    }

    /// Counts a host call.
    pub(crate) fn host_call(&mut self) -> wasmtime::Result<()> {
        self.host_calls_left = self
            .host_calls_left
            .checked_sub(1)
            .ok_or_else(|| wasmtime::Error::new(TooManyHostCalls))?;
        Ok(())
    }
}

fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    // The clock begins with the thread, so neither part is ever negative.
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

impl Drop for State {
    fn drop(&mut self) {
        self.granted.shared.instances.fetch_sub(1, Ordering::Relaxed);
        self.granted.shared.memory_bytes.fetch_sub(self.memory_bytes, Ordering::Relaxed);
    }
}

/// Sums over all memories and tables of the instance; wasmtime's own `StoreLimits` would allow
/// each of them the whole.
impl ResourceLimiter for State {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let wanted = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        if wanted > self.granted.limits.memory_bytes {
            self.refused = Some(LimitReached::Memory);
            return Ok(false);
        }
        self.granted.shared.memory_bytes.fetch_add(wanted - self.memory_bytes, Ordering::Relaxed);
        self.memory_bytes = wanted;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let wanted = self.table_elements.saturating_add(desired.saturating_sub(current));
        if wanted > self.granted.limits.table_elements {
            self.refused = Some(LimitReached::Table);
            return Ok(false);
        }
        self.table_elements = wanted;
        Ok(true)
    }
}
