//! The system as its users meet it: `pillion up` as a process, real sockets, the real
//! components.

#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a suite that finds what it did not expect ends there, with the reason"
)]

mod accounts;
mod bad_input;
mod edge;
mod encrypted;
mod new_plugin;
mod operator;
mod policy;
mod rate_limits;
mod restart;
mod social;
mod split;
mod tokens;
mod tweets;
