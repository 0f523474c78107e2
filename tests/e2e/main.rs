//! The system as its users meet it: `pillion up` as a process, real sockets, the real
//! components.

#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a suite that finds what it did not expect ends there, with the reason"
)]

mod accounts;
mod authorization;
mod bad_input;
mod edge;
mod encrypted;
mod new_plugin;
mod one_address;
mod operator;
mod overload;
mod policy;
mod rate_limits;
mod reload;
mod restart;
mod social;
mod split;
mod steady;
mod supervision;
mod tokens;
mod tweets;
