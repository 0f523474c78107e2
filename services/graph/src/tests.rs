//! The service as a whole, on both back ends: requests and foreign events in, answers and own
//! events out.

mod blocking;
mod elsewhere;
mod following;
mod gone;
mod harness;
mod internal;
mod listing;
mod plans;
mod races;
mod requests;
mod sagas;
mod settling;
mod statements;
mod storing;
