//! Free loopback ports.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below those that Linux gives to whoever asks for any port, so that a server that is stopped
/// and started again finds its own still free.
const PORTS: Range<u16> = 20_000..32_000;
const COUNT: u16 = PORTS.end - PORTS.start;

/// Ports that may be taken in a row before something is wrong with the machine.
const TRIES_MAX: u32 = 1_000;

/// One that was free a moment ago. Nobody in this process gets it again for a long while: whoever has
/// it may not listen yet.
pub fn free() -> u16 {
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| {
        // Every state has another seed, so that processes side by side begin elsewhere.
        let offset = RandomState::new().hash_one(()) % u64::from(COUNT);
        AtomicU16::new(u16::try_from(offset).unwrap_or_default())
    });
    for _ in 0..TRIES_MAX {
        let port = PORTS.start + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {} and {} on 127.0.0.1", PORTS.start, PORTS.end);
}
