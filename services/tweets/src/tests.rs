//! The service as a whole: requests in, answers and events out.

mod deactivation;
mod harness;
mod hiding;
mod listing;
mod posting;
mod reading;
mod retweets;
mod statements;
mod storing;
mod upgrade;
mod usage;
