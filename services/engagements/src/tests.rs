//! The service as a whole, on both back ends: requests and foreign events in, answers and own
//! events out.

mod counting;
mod deactivation;
mod engaging;
mod harness;
mod listing;
mod refusing;
mod settling;
mod statements;
mod storing;
