//! `kv`: the plugin's own keys and values.

use std::time::{Duration, Instant};

use wasmtime::component::{LinkerInstance, WasmList, WasmStr};

use super::enter;
use crate::kv;
use crate::state::State;
use crate::wit::v0_1::pillion::plugin::kv::KvError;

pub(super) fn define(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap("get", |mut store, (key,): (WasmStr,)| {
        enter(&mut store)?;
        let key = key.to_str(&store)?;
        let value = store.data().granted.shared.kv.get(&key, Instant::now());
        Ok((Ok::<_, KvError>(value),))
    })?;
    linker.func_wrap(
        "set",
        |mut store, (key, value, ttl_ms): (WasmStr, WasmList<u8>, Option<u64>)| {
            enter(&mut store)?;
            let key = key.to_str(&store)?;
            let value = value.as_le_slice(&store).to_vec();
            let granted = &store.data().granted;
            let now = Instant::now();
            let result = granted.shared.kv.set(
                &key,
                value,
                expires(now, ttl_ms),
                now,
                granted.limits.kv_bytes,
            );
            Ok((result.map_err(error),))
        },
    )?;
    linker.func_wrap("delete", |mut store, (key,): (WasmStr,)| {
        enter(&mut store)?;
        let key = key.to_str(&store)?;
        let deleted = store.data().granted.shared.kv.delete(&key, Instant::now());
        Ok((Ok::<_, KvError>(deleted),))
    })?;
    linker.func_wrap(
        "compare-and-swap",
        |mut store,
         (key, expected, value, ttl_ms): (
            WasmStr,
            Option<WasmList<u8>>,
            WasmList<u8>,
            Option<u64>,
        )| {
            enter(&mut store)?;
            let key = key.to_str(&store)?;
            let expected = expected.as_ref().map(|list| list.as_le_slice(&store));
            let value = value.as_le_slice(&store).to_vec();
            let granted = &store.data().granted;
            let now = Instant::now();
            let swapped = granted.shared.kv.compare_and_swap(
                &key,
                expected,
                value,
                expires(now, ttl_ms),
                now,
                granted.limits.kv_bytes,
            );
            Ok((swapped.map_err(error),))
        },
    )
}

/// A time to live too long for the clock is no time to live.
fn expires(now: Instant, ttl_ms: Option<u64>) -> Option<Instant> {
    now.checked_add(Duration::from_millis(ttl_ms?))
}

fn error(error: kv::KvError) -> KvError {
    match error {
        kv::KvError::TooLarge => KvError::TooLarge,
        kv::KvError::Full => KvError::Full,
    }
}
