//! One set of plugins for many hosts: a document says which versions are wanted, every host
//! activates it and says what it runs.
//!
//! The document is a file that the hosts share, or an entry in the broker's NATS; components lie
//! beside it under their digests. A host keeps what it last activated, so that it starts without
//! the source, and goes on with that when a new set cannot be activated here.

mod command;
mod document;
mod file_source;
mod follow;
mod nats_source;
mod source;
mod standing;

pub(crate) use command::{publish, rollback, status, swap};
pub(crate) use follow::{Follower, FollowerMetrics};
pub(crate) use source::SourceAddress;
