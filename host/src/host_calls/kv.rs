//! `kv`: the plugin's own keys and values.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, WasmList, WasmStr};

use super::{enter, stored_key, waiting};
use crate::backends::{Access, Accessed, Condition, Operation, Unavailable};
use crate::kv;
use crate::state::State;
use crate::wit::v0_1::pillion::plugin::kv::KvError;

pub(super) fn define(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap("get", |mut store, (key,): (WasmStr,)| {
        enter(&mut store)?;
        let key = stored_key(key.to_str(&store)?);
        if let Err(refused) = kv::check(&key, &[]) {
            return Ok((Err(error(refused)),));
        }
        let value = store.data().granted.shared.kv.get(&key, Instant::now());
        Ok((Ok::<_, KvError>(value),))
    })?;
    linker.func_wrap(
        "set",
        |mut store, (key, value, ttl_ms): (WasmStr, WasmList<u8>, Option<u64>)| {
            enter(&mut store)?;
            let key = stored_key(key.to_str(&store)?);
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
        let key = stored_key(key.to_str(&store)?);
        if let Err(refused) = kv::check(&key, &[]) {
            return Ok((Err(error(refused)),));
        }
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
            let key = stored_key(key.to_str(&store)?);
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

/// The same for entries outside this process.
pub(super) fn define_awaiting(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap_async("get", |store, (key,): (WasmStr,)| {
        Box::new(async move {
            let accessed = access(store, key, |_, _| Ok(Operation::Get)).await?;
            Ok((accessed.map(|accessed| match accessed {
                Accessed::Value(value) => value,
                Accessed::Changed { .. } | Accessed::Full => None,
            }),))
        })
    })?;
    linker.func_wrap_async(
        "set",
        |store, (key, value, ttl_ms): (WasmStr, WasmList<u8>, Option<u64>)| {
            Box::new(async move {
                let accessed = access(store, key, |store, key| {
                    set(store, key, &value, ttl_ms, Condition::Anything)
                });
                Ok((changed(accessed.await?).map(|_| ()),))
            })
        },
    )?;
    linker.func_wrap_async("delete", |store, (key,): (WasmStr,)| {
        Box::new(async move {
            let accessed = access(store, key, |_, _| Ok(Operation::Delete)).await?;
            Ok((changed(accessed),))
        })
    })?;
    linker.func_wrap_async(
        "compare-and-swap",
        |store,
         (key, expected, value, ttl_ms): (
            WasmStr,
            Option<WasmList<u8>>,
            WasmList<u8>,
            Option<u64>,
        )| {
            Box::new(async move {
                let accessed = access(store, key, |store, key| {
                    let condition = match &expected {
                        Some(expected) => Condition::Equal(expected.as_le_slice(store).to_vec()),
                        None => Condition::Nothing,
                    };
                    set(store, key, &value, ttl_ms, condition)
                });
                Ok((changed(accessed.await?),))
            })
        },
    )
}

fn set(
    store: &StoreContextMut<'_, State>,
    key: &str,
    value: &WasmList<u8>,
    ttl_ms: Option<u64>,
    condition: Condition,
) -> Result<Operation, kv::KvError> {
    let value = value.as_le_slice(store);
    kv::check(key, value)?;
    let bytes_max = store.data().granted.limits.kv_bytes;
    Ok(Operation::Set { value: value.to_vec(), ttl_ms, bytes_max, condition })
}

async fn access(
    mut store: StoreContextMut<'_, State>,
    key: WasmStr,
    operation: impl FnOnce(&StoreContextMut<'_, State>, &str) -> Result<Operation, kv::KvError> + Send,
) -> wasmtime::Result<Result<Accessed, KvError>> {
    enter(&mut store)?;
    let key = stored_key(key.to_str(&store)?).into_owned();
    let checked = kv::check(&key, &[]).and_then(|()| operation(&store, &key));
    let operation = match checked {
        Ok(operation) => operation,
        Err(refused) => return Ok(Err(error(refused))),
    };
    let granted = Arc::clone(&store.data().granted);
    let Some(backend) = &granted.outside.kv else {
        return Ok(Err(KvError::Unavailable("there is none".to_owned())));
    };
    let access = Access { plugin: Arc::clone(&granted.shared.name), key, operation };
    let accessed = waiting(&mut store, async |wait_max| backend.access(access, wait_max).await);
    Ok(match accessed.await {
        Ok(Accessed::Changed { done, bytes }) => {
            granted.shared.outside.bytes.store(bytes, Ordering::Relaxed);
            Ok(Accessed::Changed { done, bytes })
        }
        Ok(accessed) => Ok(accessed),
        Err(Unavailable(reason)) => Err(KvError::Unavailable(reason)),
    })
}

/// Whether it was done.
fn changed(accessed: Result<Accessed, KvError>) -> Result<bool, KvError> {
    match accessed? {
        Accessed::Changed { done, .. } => Ok(done),
        Accessed::Full => Err(KvError::Full),
        Accessed::Value(_) => Ok(false),
    }
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
