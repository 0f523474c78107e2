//! `clock`: the time of day and a steady clock.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use wasmtime::component::LinkerInstance;

use super::enter;
use crate::state::State;

pub(super) fn define(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap("now", |mut store, (): ()| {
        enter(&mut store)?;
        Ok((now_us(),))
    })?;
    linker.func_wrap("monotonic", |mut store, (): ()| {
        enter(&mut store)?;
        Ok((monotonic_ns(),))
    })
}

/// Microseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the one place where the host reads the time of day")]
pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Nanoseconds since the first call in this process.
pub(super) fn monotonic_ns() -> u64 {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    u64::try_from(ORIGIN.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}
