//! What plugins may import: one file per interface, and the linker that grants them.

mod clock;
mod crypto;
mod current;
mod kv;
mod limiter;
mod log;
mod metrics;
mod random;
mod revocations;
mod sink;
pub(crate) mod wasi;

use std::time::{Duration, Instant};

use wasmtime::component::{Component, Linker, LinkerInstance, types::ComponentItem};
use wasmtime::{Engine, StoreContextMut};

use crate::backends::Outside;
use crate::error::LoadErrorReason;
use crate::spec::Grants;
use crate::state::State;

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
                    "imports `{import}`, which version {VERSION} of the contract does not have"
                )));
            };
            if !grants.allows(interface) {
                let grant = match interface {
                    "sink" => "sink:NAME",
                    "crypto" => "crypto:KEYSET",
                    other => other,
                };
                return Err(LoadErrorReason::NotGranted {
                    import: import.to_owned(),
                    grant: grant.to_owned(),
                });
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
            wasi::define(&mut linker, import).map_err(failed)?;
        } else {
            return Err(LoadErrorReason::ForbiddenImport {
                import: import.to_owned(),
                hint: forbidden_hint(import),
            });
        }
    }
    Ok((linker, awaits))
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
        "is built for another version of the contract (`{name}`); this host speaks {VERSION}: \
         build it with a `pillion-plugin` of that version, or use a newer host"
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
