//! What plugins cost, and how the whole system bears load.
//!
//! Two programs stand on this: `benches/hooks.rs` measures single hooks and swaps, and the
//! binary compares whole servers: a bare handler, native middleware, and the three plugins that
//! do the same work. `cargo xtask bench` runs both. The binary also puts a running system under
//! load: `cargo xtask bench load`; measures what in it cannot be multiplied: `cargo xtask bench
//! bounds`; and how its costs grow: `cargo xtask bench growth`.

mod app;
mod clock;
mod compare;
mod load;
mod memory;
mod native;
mod parity;
mod places;
mod report;
mod server;
mod system;
mod wasm;
mod workload;

pub use app::Mode;
pub use compare::{Plan, compare};
pub use places::{criterion_folder, fixture};
pub use server::{pin, serve};
pub use system::{BoundsPlan, Form, GrowthPlan, LoadPlan, bounds, growth, load};
pub use wasm::{Tokens, host, plugins, routes};
pub use workload::{SERVICE, authorized, request};
