//! The service as a whole, on both back ends: requests and foreign events in, answers and own
//! events out.

mod blocking;
mod following;
mod harness;
mod internal;
mod listing;
mod requests;
mod storing;
