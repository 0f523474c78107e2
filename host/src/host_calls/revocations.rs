//! `revocations`: whether a token was revoked before it expired.

use wasmtime::component::{LinkerInstance, WasmList, WasmStr};

use super::enter;
use crate::state::State;

/// Most ids of one call. A token carries four.
const IDS_MAX: usize = 16;

pub(super) fn define(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap("revision", |mut store, (): ()| {
        let state = enter(&mut store)?;
        Ok((state.granted.revocations.revision(),))
    })?;
    linker.func_wrap("is-revoked", |mut store, (ids,): (WasmList<WasmStr>,)| {
        enter(&mut store)?;
        wasmtime::ensure!(
            ids.len() <= IDS_MAX,
            "asked about {} revoked ids at once; the most is {IDS_MAX}",
            ids.len()
        );
        for index in 0..ids.len() {
            let Some(id) = ids.get(&mut store, index) else { break };
            let id = id?;
            let id = id.to_str(&store)?;
            if store.data().granted.revocations.contains(&id) {
                return Ok((true,));
            }
        }
        Ok((false,))
    })
}
