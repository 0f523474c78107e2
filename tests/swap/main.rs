//! Plugins exchanged under load: no failed request, no request on two generations, no lost
//! state; and after `kill -9` the old or the new set, never none.

#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a suite that finds what it did not expect ends there, with the reason"
)]

mod bad_artifacts;
mod crash;
mod fleet;
mod streams;
mod under_load;
mod usage;
