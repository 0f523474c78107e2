//! `limiter`: buckets and windows, taken from atomically.
//!
//! A limiter outside this process that gives no answer is stood in for by the one in this host's
//! memory, with the same quotas: a limit per host is wrong by the number of hosts, and refusing
//! everybody, or counting nobody, would be wrong for everybody.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, WasmStr};

use super::{clock, enter, stored_key, waiting};
use crate::backends::{self, Taken};
use crate::limiter::{self, Quota};
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

/// The same for a limiter outside this process.
pub(super) fn define_awaiting(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap_async("gcra", |store, (key, burst, period_ms): (WasmStr, u32, u32)| {
        let bucket = limiter::Bucket::new(burst, Duration::from_millis(u64::from(period_ms)));
        Box::new(take_outside(store, key, bucket.map(Quota::Bucket)))
    })?;
    linker.func_wrap_async("window", |store, (key, limit, window_ms): (WasmStr, u32, u32)| {
        let window = limiter::Window::new(limit, Duration::from_millis(u64::from(window_ms)));
        Box::new(take_outside(store, key, window.map(Quota::Window)))
    })
}

async fn take_outside(
    mut store: StoreContextMut<'_, State>,
    key: WasmStr,
    quota: Result<Quota, limiter::LimiterError>,
) -> wasmtime::Result<(Result<Verdict, LimiterError>,)> {
    enter(&mut store)?;
    let key = stored_key(key.to_str(&store)?).into_owned();
    let granted = Arc::clone(&store.data().granted);
    let quota = match limiter::check_key(&key).and(quota) {
        Ok(quota) => quota,
        Err(error) => return Ok((Err(shown_error(error)),)),
    };
    let Some(backend) = &granted.outside.limiter else {
        return Ok((Err(LimiterError::Unavailable("there is none".to_owned())),));
    };
    let keys_max = granted.limits.limiter_keys;
    let shared = &granted.shared;
    let plugin = Arc::clone(&shared.name);
    let take = backends::Take { plugin, key: key.clone(), quota, keys_max };
    // One that is known to be away answers at once.
    let taken = waiting(&mut store, async |wait_max| backend.take(take, wait_max).await).await;
    Ok((match taken {
        Ok(Taken::Judged { verdict, keys }) => {
            shared.outside.keys.store(keys, Ordering::Relaxed);
            Ok(shown(verdict))
        }
        Ok(Taken::Full) => Err(LimiterError::Full),
        Err(_) => {
            backend.took_locally();
            let taken = shared.limiter.take(&key, quota, Instant::now(), keys_max);
            taken.map(shown).map_err(shown_error)
        }
    },))
}

fn take(
    mut store: StoreContextMut<'_, State>,
    key: &WasmStr,
    quota: u32,
    period_ms: u32,
    take: Take,
) -> wasmtime::Result<(Result<Verdict, LimiterError>,)> {
    enter(&mut store)?;
    let key = stored_key(key.to_str(&store)?);
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
    Ok((verdict.map(shown).map_err(shown_error),))
}

fn shown_error(error: limiter::LimiterError) -> LimiterError {
    match error {
        limiter::LimiterError::BadKey => LimiterError::BadKey,
        limiter::LimiterError::BadQuota => LimiterError::BadQuota,
        limiter::LimiterError::Full => LimiterError::Full,
    }
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
