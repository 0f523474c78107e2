//! How the whole system bears load: `pillion up` as a process of its own, with every plugin, on a
//! data folder that holds a made-up population.

mod api;
mod delivery;
mod growth;
mod latency;
mod mix;
mod numbers;
mod open_loop;
mod plans;
mod population;
mod running;
mod seed;
mod text;

pub use growth::{GrowthPlan, growth};
pub use mix::{LoadPlan, load};
