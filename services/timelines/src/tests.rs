//! The service as its callers and the other services' events see it, on both back ends.

mod bounds;
mod deactivation;
mod harness;
mod home;
mod mentions;
mod model;
mod plans;
mod statements;
