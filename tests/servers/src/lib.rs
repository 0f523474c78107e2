//! `PostgreSQL`, NATS and Redis for tests: real servers, each in a temporary folder, on a loopback
//! port of its own.
//!
//! A server ends with the process that started it, however that ends. One that cannot be started
//! fails the test and says what to install; no test is ever skipped.

#![expect(clippy::panic, reason = "a test without its server ends there, with the reason")]

mod fleet;
mod folder;
mod nats;
mod network;
mod options;
mod pgbouncer;
mod place;
pub mod port;
mod postgres;
mod process;
mod program;
mod redis;
mod server;

pub use fleet::{BUSY, Fleet, FleetOptions, FleetTls, Host, SERVICES, with_key};
pub use nats::Nats;
pub use network::{Cut, Network};
pub use options::{ServerFiles, ServerOptions};
pub use pgbouncer::{PgBouncer, PoolMode};
pub use place::Place;
pub use postgres::{Postgres, PostgresOptions, postgres};
pub use redis::Redis;
pub use server::Server;
