//! What the suites share: where built things are, a running system, and an HTTP client.

#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a suite that finds what it did not expect ends there, with the reason"
)]

pub mod build;
pub mod client;
pub mod fleet;
pub mod history;
pub mod ledger;
pub mod rig;
pub mod system;
pub mod token;
