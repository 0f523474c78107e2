//! The service as a whole: requests in, answers and events out.

mod harness;
mod listing;
mod posting;
mod reading;
mod storing;
