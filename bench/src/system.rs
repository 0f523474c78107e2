//! How the whole system bears load: `pillion up` or a fleet of processes, with every plugin, on
//! stores that hold a made-up population.

mod api;
mod bounds;
mod cpu;
mod delivery;
mod form;
mod growth;
mod latency;
mod mix;
mod numbers;
mod open_loop;
mod plans;
mod population;
mod running;
mod seed;
mod services;
mod table;
mod text;

pub use bounds::{BoundsPlan, bounds};
pub use form::Form;
pub use growth::{GrowthPlan, growth};
pub use mix::{LoadPlan, load};
