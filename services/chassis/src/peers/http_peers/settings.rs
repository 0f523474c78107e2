//! The bounds of calls over HTTP.

use std::time::Duration;

use crate::peers::PEER_ANSWER_TIME_MAX;

/// Bounds of the calls to peers; they hold for each address by itself unless they say otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerSettings {
    /// How long opening a connection may take. Within one data centre it takes a millisecond;
    /// longer than the default second means that nobody is there.
    pub connect_timeout: Duration,
    /// From a call until its answer begins, all attempts together. By default
    /// [`PEER_ANSWER_TIME_MAX`], as for peers in this process.
    pub answer_timeout: Duration,
    /// Calls in flight, streams included, each of which takes a connection. More are refused at
    /// once. Below the 512 connections that a Pillion process takes from one address by default.
    pub connections_max: usize,
    /// Connections kept open while nothing is asked: about what one service sends at once.
    pub idle_connections_max: usize,
    /// How long they are kept. Shorter than the minute after which a server closes an idle
    /// connection, or a request would now and then go into one that is just being closed.
    pub idle_timeout: Duration,
    /// The time between two health checks.
    pub health_interval: Duration,
    /// How long a health check may take.
    pub health_timeout: Duration,
    /// Calls that must fail in a row, by no connection or no answer, to open the circuit.
    pub circuit_failures: u32,
    /// How long an open circuit refuses before a call tries whether the peer is back. A health
    /// check that succeeds ends it sooner.
    pub circuit_rest: Duration,
}

impl Default for PeerSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(1),
            answer_timeout: PEER_ANSWER_TIME_MAX,
            connections_max: 256,
            idle_connections_max: 64,
            idle_timeout: Duration::from_secs(30),
            health_interval: Duration::from_secs(1),
            health_timeout: Duration::from_secs(1),
            circuit_failures: 5,
            circuit_rest: Duration::from_secs(2),
        }
    }
}
