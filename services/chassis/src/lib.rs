//! What every Pillion service stands on: how it answers errors, who is calling, what time it
//! is, ids, pages, its table of routes, its database on either back end, its journal of events and
//! the broker that carries them, and how it reaches the other services. A module is here only
//! because at least two services need it.

pub mod answer;
pub mod backlog;
pub mod backup;
pub mod broker;
pub mod caller;
pub mod client_address;
pub mod clock;
mod crash;
pub mod database;
pub mod dialect;
pub mod event_log;
pub mod ids;
pub mod journal;
pub mod json;
pub mod page;
pub mod parameters;
pub mod path;
pub mod peers;
pub mod personal;
pub mod problem;
pub mod random;
pub mod routes;
pub mod saga;
pub mod secrets;
pub mod service;
pub mod service_token;
pub mod sql;
pub mod start;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod tls;
pub mod visibility;

pub use answer::Answer;
pub use broker::Broker;
pub use caller::{Caller, Scopes, UserCaller};
pub use client_address::ClientAddress;
pub use clock::{Clock, FakeClock, SystemClock, Timestamp};
pub use database::{Backend, Database, DatabaseError, Migrations, Transaction};
pub use event_log::{AppendError, Recorded};
pub use ids::{Ids, NodeLease, TweetId, UserId};
pub use journal::{ApplyError, Journal, Projection};
pub use json::Json;
pub use parameters::Parameters;
pub use path::Path;
pub use peers::{HttpPeers, InProcessPeers, Onward, PeerError, Peers};
pub use problem::Problem;
pub use random::{Random, SystemRandom};
pub use routes::{RouteId, Routes};
pub use saga::Sagas;
pub use service::{Deps, Service, Shutdown, StartError, Worker};
pub use service_token::{ServiceKeys, ServiceTokens};
pub use tls::{Identities, ServerTls, Tls, TlsFiles};
