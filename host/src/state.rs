//! What a store holds for one instance: the request at hand, what it was granted, what it may
//! still use up.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use wasmtime::ResourceLimiter;

use crate::exchange::Exchange;
use crate::fields::Phase;
use crate::keyring::Keyring;
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
    /// May set the caller.
    pub(crate) identity: bool,
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
    /// A growth was refused: explains the trap that follows.
    pub(crate) memory_refused: bool,
    /// Standard output and error up to the next line feed.
    pub(crate) stdio: Vec<u8>,
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
            memory_refused: false,
            stdio: Vec::new(),
        }
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

impl Drop for State {
    fn drop(&mut self) {
        self.granted
            .shared
            .instances
            .fetch_sub(1, Ordering::Relaxed);
        self.granted
            .shared
            .memory_bytes
            .fetch_sub(self.memory_bytes, Ordering::Relaxed);
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
        let wanted = self
            .memory_bytes
            .saturating_add(desired.saturating_sub(current));
        if wanted > self.granted.limits.memory_bytes {
            self.memory_refused = true;
            return Ok(false);
        }
        self.granted
            .shared
            .memory_bytes
            .fetch_add(wanted - self.memory_bytes, Ordering::Relaxed);
        self.memory_bytes = wanted;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let wanted = self
            .table_elements
            .saturating_add(desired.saturating_sub(current));
        if wanted > self.granted.limits.table_elements {
            return Ok(false);
        }
        self.table_elements = wanted;
        Ok(true)
    }
}
