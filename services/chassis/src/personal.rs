//! Personal data inside events, sealed so that it can be erased without changing an event.
//!
//! A service seals what [`Event::personal`](pillion_events::Event::personal) names with a key for
//! each user before the event goes into its log; what the log, the broker and every copy of them
//! hold is the sealed form, in which `"sealed": {"box", "subject"}` stands for the personal
//! fields. Keys are in the service's own database, beside the log. A service that takes the event
//! up and needs what is in it asks the service whose log it is, once for each user, and keeps the
//! key in its own database: a rebuild needs nobody.
//!
//! [`shred`] overwrites all keys of a user that a database has, for good. What they sealed is
//! unreadable from then on, and tables take the event up without it: the fields have their
//! defaults. A user who is shredded says nothing any more; recording fails.
//!
//! What is left after it. Of the key, on `SQLite`: nothing, once the write-ahead log was folded in,
//! which is done at once. On `PostgreSQL`, which overwrites no row: the dead row until the page is
//! used again, and the server's own write-ahead log with its archive. Of what tables held in plain
//! form and delete: on `SQLite` it is overwritten where it was (`secure_delete`), but copies that
//! were left as rows moved between pages stay until the page is used again or `VACUUM`; on
//! `PostgreSQL` as for the key. Backups from before hold keys and tables as of then, on both:
//! whoever restores one has to erase again who was erased since, and one that is older than erased
//! data may be is to be deleted.

mod exchange;
mod keys;
mod sealing;

pub use exchange::{PersonalKeysError, exchange};
pub use keys::shred;

pub(crate) use exchange::KeyPeers;
pub(crate) use keys::{Cache, Keys, append, keep};
pub(crate) use sealing::{Key, SealError, Unreadable, open};

#[cfg(test)]
mod tests;
