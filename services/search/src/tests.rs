//! The service as a whole: events and requests in, answers and streams out, on both back ends.

mod agreement;
mod counting;
mod deactivation;
mod harness;
mod plans;
mod rules;
mod searching;
mod statements;
mod storing;
mod streaming;
