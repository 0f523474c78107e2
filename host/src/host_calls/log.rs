//! `log`: diagnostics, bounded by lines a second.

use wasmtime::component::{LinkerInstance, WasmStr};

use super::enter;
use crate::state::State;
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
    let message = clean(message);
    match level {
        Level::Trace => tracing::trace!(target: "plugin", plugin, request, "{message}"),
        Level::Debug => tracing::debug!(target: "plugin", plugin, request, "{message}"),
        Level::Info => tracing::info!(target: "plugin", plugin, request, "{message}"),
        Level::Warn => tracing::warn!(target: "plugin", plugin, request, "{message}"),
        Level::Error => tracing::error!(target: "plugin", plugin, request, "{message}"),
    }
}

/// Cuts and escapes, so that a message can neither forge a line nor speak to a terminal.
pub(crate) fn clean(message: &str) -> String {
    clean_to(message, MESSAGE_BYTES_MAX)
}

/// As [`clean`], cut after so many bytes.
pub(crate) fn clean_to(message: &str, bytes_max: usize) -> String {
    let end = message.floor_char_boundary(bytes_max);
    let cut = message.get(..end).unwrap_or_default();
    let mut out = String::with_capacity(cut.len());
    for char in cut.chars() {
        if char.is_control() {
            out.extend(char.escape_default());
        } else {
            out.push(char);
        }
    }
    if end < message.len() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_long_messages_cut() {
        assert_eq!(clean("a\nb\u{1b}[31mc\r"), "a\\nb\\u{1b}[31mc\\r");
        let long = clean(&"é".repeat(MESSAGE_BYTES_MAX));
        assert_eq!(long.chars().count(), MESSAGE_BYTES_MAX / 2 + 1);
    }
}
