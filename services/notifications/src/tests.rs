//! The service as its callers and the other services' events see it, on both back ends.

mod harness;
mod live;
mod plans;
mod reading;
mod rules;
mod sagas;
mod statements;
