//! `current`: lazy reads of the request at hand.

use wasmtime::component::{LinkerInstance, WasmStr};

use super::enter;
use crate::fields::{Field, NAME_BYTES_MAX};
use crate::state::State;

pub(super) fn define(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap("field", |mut store, (name,): (WasmStr,)| {
        enter(&mut store)?;
        let name = name.to_str(&store)?;
        if name.len() > NAME_BYTES_MAX {
            return Ok((None,));
        }
        let state = store.data();
        let Some(exchange) = state.exchange.as_deref() else {
            return Ok((None,));
        };
        let plugin = &*state.granted.shared.name;
        let value = match name.strip_prefix("attribute:") {
            Some(name) => exchange.attributes.find(plugin, name).map(<[u8]>::to_vec),
            None => Field::parse(&name, state.phase, plugin, |_| None)
                .ok()
                .and_then(|field| field.read(exchange)),
        };
        Ok((value,))
    })
}
