//! Messages for the operator, in the host's log. Needs no grant.

#[cfg(target_family = "wasm")]
use crate::bindings::pillion::plugin::log as host;
#[cfg(not(target_family = "wasm"))]
use crate::testing::imports::log as host;

pub use crate::bindings::pillion::plugin::log::Level;

/// Writes a message with the plugin's name and the request's id. Cut at 4 KiB; past the
/// plugin's bound of lines a second messages are counted and dropped.
pub fn log(level: Level, message: &str) {
    host::log(level, message);
}

/// What only somebody who follows every step wants.
pub fn trace(message: &str) {
    log(Level::Trace, message);
}

/// What helps to find a mistake.
pub fn debug(message: &str) {
    log(Level::Debug, message);
}

/// What an operator may want to know.
pub fn info(message: &str) {
    log(Level::Info, message);
}

/// What an operator should look at.
pub fn warn(message: &str) {
    log(Level::Warn, message);
}

/// What an operator must repair.
pub fn error(message: &str) {
    log(Level::Error, message);
}
