//! `log`: diagnostics, bounded by lines a second.

use wasmtime::component::{LinkerInstance, WasmStr};

use super::enter;
use crate::state::State;
use crate::text;
use crate::wit::v0_1::pillion::plugin::log::Level;

/// Longer messages are cut.
const MESSAGE_BYTES_MAX: usize = 4 << 10;

pub(super) fn define(linker: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    linker.func_wrap("log", |mut store, (level, message): (Level, WasmStr)| {
        enter(&mut store)?;
        let message = message.to_str(&store)?;
        write(store.data(), level, &message);
        Ok(())
    })
}

/// Writes a line to the host's log if the plugin's budget allows.
pub(super) fn write(state: &State, level: Level, message: &str) {
    let granted = &state.granted;
    // Logging is no hot path: a clock is read only here.
    if !granted.shared.log.take(std::time::Instant::now(), granted.limits.log_lines_per_second) {
        return;
    }
    let plugin = &*granted.shared.name;
    let request = state.exchange.as_deref().map_or("-", |exchange| &*exchange.request_id);
    let message = text::printable(message, MESSAGE_BYTES_MAX);
    match level {
        Level::Trace => tracing::trace!(target: "plugin", plugin, request, "{message}"),
        Level::Debug => tracing::debug!(target: "plugin", plugin, request, "{message}"),
        Level::Info => tracing::info!(target: "plugin", plugin, request, "{message}"),
        Level::Warn => tracing::warn!(target: "plugin", plugin, request, "{message}"),
        Level::Error => tracing::error!(target: "plugin", plugin, request, "{message}"),
    }
}
