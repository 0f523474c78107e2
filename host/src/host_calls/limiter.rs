//! `limiter`: buckets and windows, taken from atomically.

use std::time::{Duration, Instant};

use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, WasmStr};

use super::{clock, enter};
use crate::limiter;
use crate::state::State;
use crate::wit::v0_1::pillion::plugin::limiter::{LimiterError, Verdict};

type Take = fn(
    &limiter::Limiter,
    &str,
    u32,
    Duration,
    Instant,
    usize,
) -> Result<limiter::Verdict, limiter::LimiterError>;

pub(super) fn define(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap("gcra", |store, (key, burst, period_ms): (WasmStr, u32, u32)| {
        take(store, &key, burst, period_ms, limiter::Limiter::gcra)
    })?;
    linker.func_wrap("window", |store, (key, limit, window_ms): (WasmStr, u32, u32)| {
        take(store, &key, limit, window_ms, limiter::Limiter::window)
    })
}

fn take(
    mut store: StoreContextMut<'_, State>,
    key: &WasmStr,
    quota: u32,
    period_ms: u32,
    take: Take,
) -> wasmtime::Result<(Result<Verdict, LimiterError>,)> {
    enter(&mut store)?;
    let key = key.to_str(&store)?;
    let granted = &store.data().granted;
    let period = Duration::from_millis(u64::from(period_ms));
    let verdict = take(
        &granted.shared.limiter,
        &key,
        quota,
        period,
        Instant::now(),
        granted.limits.limiter_keys,
    );
    Ok((verdict.map(shown).map_err(|error| match error {
        limiter::LimiterError::BadKey => LimiterError::BadKey,
        limiter::LimiterError::BadQuota => LimiterError::BadQuota,
        limiter::LimiterError::Full => LimiterError::Full,
    }),))
}

fn shown(verdict: limiter::Verdict) -> Verdict {
    let reset = clock::now_us() + micros(verdict.reset);
    Verdict {
        allowed: verdict.allowed,
        remaining: verdict.remaining,
        reset: reset.div_ceil(1_000_000),
        // Rounded up: who waits exactly this long is let in.
        retry_after_ms: micros(verdict.retry_after).div_ceil(1_000),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 2)
}
