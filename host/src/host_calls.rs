//! What plugins may import: one file per interface, and the linker that grants them.

mod clock;
mod crypto;
mod current;
mod kv;
mod limiter;
pub(crate) mod log;
mod metrics;
mod random;
mod revocations;
mod sink;
pub(crate) mod wasi;

use std::borrow::Cow;
use std::time::{Duration, Instant};

use wasmtime::component::{Component, Linker, LinkerInstance, types::ComponentItem};
use wasmtime::{Engine, StoreContextMut};

use crate::backends::Outside;
use crate::error::LoadErrorReason;
use crate::spec::{Digest, Grants};
use crate::state::State;
use crate::text::{ITEM_BYTES_MAX, printable};

pub(crate) use clock::now_us;
pub(crate) use wasi::Exited;

/// The prefix of the contract's interfaces.
const PACKAGE: &str = "pillion:plugin/";

/// The released version of the contract that the host speaks.
pub(crate) const VERSION: &str = "0.1.0";

type Define = fn(&mut LinkerInstance<'_, State>) -> wasmtime::Result<()>;

/// Interfaces that can be kept outside this process, defined so that their calls await.
const AWAITING: [(&str, Define); 2] =
    [("kv", kv::define_awaiting), ("limiter", limiter::define_awaiting)];

const INTERFACES: [(&str, Define); 10] = [
    ("current", current::define),
    ("log", log::define),
    ("sink", sink::define),
    ("kv", kv::define),
    ("limiter", limiter::define),
    ("metrics", metrics::define),
    ("clock", clock::define),
    ("random", random::define),
    ("crypto", crypto::define),
    ("revocations", revocations::define),
];

/// A linker with exactly what the component imports and was granted; an import beyond that is
/// an error that names it. Also whether some of it awaits, because it is kept `outside`.
pub(crate) fn linker(
    engine: &Engine,
    component: &Component,
    grants: &Grants,
    outside: &Outside,
) -> Result<(Linker<State>, bool), LoadErrorReason> {
    let mut linker = Linker::new(engine);
    let mut awaits = false;
    let failed = |error: wasmtime::Error| LoadErrorReason::WrongWorld(format!("{error:#}"));
    for (import, item) in component.component_type().imports(engine) {
        if let Some(interface) = contract_interface(import)? {
            // Types only: nothing to grant.
            if interface == "types" {
                continue;
            }
            let Some((_, define)) = INTERFACES.iter().find(|(name, _)| *name == interface) else {
                return Err(LoadErrorReason::WrongWorld(format!(
                    "imports `{}`, which version {VERSION} of the contract does not have",
                    printable(import, ITEM_BYTES_MAX)
                )));
            };
            if !grants.allows(interface) {
                let instance = &mut linker.instance(import).map_err(failed)?;
                deny(engine, instance, interface, &item.ty).map_err(failed)?;
                continue;
            }
            let is_outside = match interface {
                "kv" => outside.kv.is_some(),
                "limiter" => outside.limiter.is_some(),
                _ => false,
            };
            let awaiting = AWAITING.iter().find(|(name, _)| is_outside && *name == interface);
            awaits |= awaiting.is_some();
            let define = awaiting.map_or(define, |(_, define)| define);
            define(&mut linker.instance(import).map_err(failed)?).map_err(failed)?;
        } else if wasi::allowed(import) && matches!(item.ty, ComponentItem::ComponentInstance(_)) {
            wasi::define(&mut linker, import, grants).map_err(failed)?;
        } else {
            return Err(LoadErrorReason::ForbiddenImport {
                import: import.to_owned(),
                hint: forbidden_hint(import),
            });
        }
    }
    Ok((linker, awaits))
}

/// A call of an interface that the operator has not granted.
#[derive(Debug, thiserror::Error)]
#[error(
    "called `{function}` of `{interface}`, which is not granted; if you trust it with that, add \"{grant}\" to its grants"
)]
pub(crate) struct NotGranted {
    interface: String,
    function: String,
    grant: &'static str,
}

impl NotGranted {
    pub(crate) fn new(interface: &str, function: &str) -> Self {
        let grant = match interface {
            "sink" => "sink:NAME",
            "crypto" => "crypto:KEYSET",
            "kv" => "kv",
            "limiter" => "limiter",
            "metrics" => "metrics",
            "revocations" => "revocations",
            "clock" | "wasi:clocks" => "clock",
            "random" | "wasi:random" => "random",
            _ => "identity",
        };
        Self { interface: interface.to_owned(), function: function.to_owned(), grant }
    }
}

/// Defines every function of an interface so that a call traps. Tools that generate bindings for
/// a whole world (componentize-py, jco) import all of it, used or not: what is never called needs
/// no grant, and what the plugin cannot work without, it says in its descriptor.
fn deny(
    engine: &Engine,
    linker: &mut LinkerInstance<'_, State>,
    interface: &str,
    imported: &ComponentItem,
) -> wasmtime::Result<()> {
    let ComponentItem::ComponentInstance(instance) = imported else {
        return Ok(());
    };
    for (function, item) in instance.exports(engine) {
        if matches!(item.ty, ComponentItem::ComponentFunc(_)) {
            let (interface, name) = (interface.to_owned(), function.to_owned());
            linker.func_new(function, move |_, _, _, _| {
                Err(wasmtime::Error::new(NotGranted::new(&interface, &name)))
            })?;
        }
    }
    Ok(())
}

/// The interface's name when `import` belongs to the contract; an error for a version of the
/// contract that this host does not speak.
fn contract_interface(import: &str) -> Result<Option<&str>, LoadErrorReason> {
    let Some(rest) = import.strip_prefix(PACKAGE) else {
        return Ok(None);
    };
    match rest.split_once('@') {
        Some((interface, version)) if version.starts_with("0.1.") => Ok(Some(interface)),
        _ => Err(LoadErrorReason::WrongWorld(wrong_version(import))),
    }
}

/// What to say about another version of the contract.
pub(crate) fn wrong_version(name: &str) -> String {
    format!(
        "is built for another version of the contract (`{}`); this host speaks {VERSION}: \
         build it with a `pillion-plugin` of that version, or use a newer host",
        printable(name, ITEM_BYTES_MAX)
    )
}

fn forbidden_hint(import: &str) -> &'static str {
    if import.starts_with("wasi:filesystem") {
        "; use `kv` to keep data"
    } else if import.starts_with("wasi:sockets") || import.starts_with("wasi:http") {
        "; plugins have no network"
    } else {
        "; build it for wasm32-wasip2 against world pillion:plugin/plugin@0.1.0"
    }
}

/// Longest key of `kv` and `limiter` that is kept as it is.
const KEY_BYTES_MAX: usize = 256;

/// The key under which an entry is kept. Keys often hold what a caller chose, such as a client's
/// id: one that is too long is kept under its SHA-256, instead of failing each of that caller's
/// requests. One that looks like such a digest is hashed too, so that nobody can choose the key of
/// another.
fn stored_key(key: Cow<'_, str>) -> Cow<'_, str> {
    if key.len() <= KEY_BYTES_MAX && !key.starts_with("sha256:") {
        return key;
    }
    Cow::Owned(Digest::of(key.as_bytes()).to_string())
}

/// Counts the call against the hook's bound and gives the store's data.
fn enter<'a>(store: &'a mut StoreContextMut<'_, State>) -> wasmtime::Result<&'a mut State> {
    let state = store.data_mut();
    state.host_call()?;
    Ok(state)
}

/// Awaits what `ask` makes of the time that the hook may still wait. The hook's CPU clock stands
/// meanwhile.
async fn waiting<T>(
    store: &mut StoreContextMut<'_, State>,
    ask: impl AsyncFnOnce(Duration) -> T,
) -> T {
    let wait_max = store.data_mut().pause();
    let began = Instant::now();
    let answer = ask(wait_max).await;
    let epochs = store.data_mut().resume(began.elapsed());
    store.set_epoch_deadline(epochs);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h22_long_keys_are_kept_under_their_digest() {
        let stored = |key: &str| stored_key(Cow::Borrowed(key)).into_owned();
        assert_eq!(stored("user:20"), "user:20");
        assert_eq!(stored(&"k".repeat(256)), "k".repeat(256));
        let long = stored(&"k".repeat(257));
        assert!(long.starts_with("sha256:") && long.len() == 71, "{long}");
        assert_ne!(long, stored(&"k".repeat(258)));
        assert_ne!(long, stored(&long), "a key that is such a digest has another place");
    }
}
