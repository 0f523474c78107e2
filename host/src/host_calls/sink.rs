//! `sink`: lines to the outputs that the operator granted.

use wasmtime::component::{LinkerInstance, WasmList, WasmStr};

use super::enter;
use crate::sinks;
use crate::state::State;
use crate::wit::v0_1::pillion::plugin::sink::SinkError;

pub(super) fn define(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap("write", |mut store, (name, line): (WasmStr, WasmList<u8>)| {
        enter(&mut store)?;
        let name = name.to_str(&store)?;
        let granted = &store.data().granted;
        let Some(sink) = granted.sinks.iter().find(|sink| sink.name == *name) else {
            return Ok((Err(SinkError::NotGranted),));
        };
        if granted.is_rehearsal {
            return Ok((Ok(()),));
        }
        let written = sink.write(line.as_le_slice(&store)).map_err(|error| match error {
            sinks::SinkError::TooLarge => SinkError::TooLarge,
            sinks::SinkError::Invalid => SinkError::Invalid,
            sinks::SinkError::Full => SinkError::Full,
        });
        Ok((written,))
    })
}
