//! What the suites share: where built things are, a running system, and an HTTP client.

pub mod build;
pub mod client;
pub mod rig;
pub mod system;
pub mod token;
