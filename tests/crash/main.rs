//! What was acknowledged outlives every crash, once and in order: the process is ended at every
//! place where something is half done, on files and on PostgreSQL with NATS.

#![expect(clippy::print_stdout, reason = "who runs it by hand reads what it counted")]
#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a suite that finds what it did not expect ends there, with the reason"
)]

mod faults;
mod points;
mod sagas;
mod trace;
mod world;
