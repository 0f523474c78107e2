//! Free loopback ports.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

/// Below those that Linux gives to whoever asks for any port, so that a server that is stopped
/// and started again finds its own still free.
const PORTS: Range<u16> = 20_000..32_000;

/// Ports that may be taken in a row before something is wrong with the machine.
const TRIES_MAX: u32 = 1_000;

/// One that was free a moment ago.
pub(crate) fn free() -> u16 {
    let count = u64::from(PORTS.end - PORTS.start);
    for _ in 0..TRIES_MAX {
        // Every state has another seed.
        let offset = RandomState::new().hash_one(()) % count;
        let port = PORTS.start + u16::try_from(offset).unwrap_or_default();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {} and {} on 127.0.0.1", PORTS.start, PORTS.end);
}
