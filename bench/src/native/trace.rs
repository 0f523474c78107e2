//! Ids: a request's own, and its place in a W3C trace.

use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};

use http::HeaderValue;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Unique to a request: 16 hexadecimal digits.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestId([u8; 16]);

impl RequestId {
    pub(super) fn new() -> Self {
        Self(hex(random()))
    }

    pub(super) fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// A `traceparent` of version 00, with a span of our own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trace([u8; 55]);

impl Trace {
    /// In the caller's trace when the header is valid, else in a new one.
    pub(super) fn of(parent: Option<&HeaderValue>) -> Self {
        let parent = parent.and_then(|value| value.as_bytes().try_into().ok());
        let new = || {
            let mut new = Self(*b"00-00000000000000000000000000000000-0000000000000000-01");
            new.place(3, random());
            new.place(19, random());
            new
        };
        let mut trace = parent.filter(valid).map_or_else(new, Self);
        trace.place(36, random());
        trace
    }

    fn place(&mut self, at: usize, number: u64) {
        if let Some(place) = self.0.get_mut(at..at + 16) {
            place.copy_from_slice(&hex(number));
        }
    }

    pub(super) fn trace_id(&self) -> &str {
        self.slice(3, 35)
    }

    pub(super) fn span_id(&self) -> &str {
        self.slice(36, 52)
    }

    /// For the handler, whose own calls then belong to this span.
    pub(super) fn header(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.0).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    fn slice(&self, from: usize, to: usize) -> &str {
        self.0.get(from..to).and_then(|part| str::from_utf8(part).ok()).unwrap_or_default()
    }
}

fn valid(text: &[u8; 55]) -> bool {
    let digits = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let some = |part: &[u8]| digits(part) && part.iter().any(|byte| *byte != b'0');
    let mut parts = text.split(|byte| *byte == b'-');
    let (version, trace, span, flags) = (parts.next(), parts.next(), parts.next(), parts.next());
    version == Some(b"00")
        && trace.is_some_and(|part| part.len() == 32 && some(part))
        && span.is_some_and(|part| part.len() == 16 && some(part))
        && flags.is_some_and(digits)
        && parts.next().is_none()
}

fn hex(number: u64) -> [u8; 16] {
    let mut digits = [b'0'; 16];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        if let [high, low] = pair {
            *high = HEX.get(usize::from(byte >> 4)).copied().unwrap_or(b'0');
            *low = HEX.get(usize::from(byte & 15)).copied().unwrap_or(b'0');
        }
    }
    digits
}

/// `SplitMix64`, seeded by the system once a thread: ids need to be unique, not secret.
fn random() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(0));
    }
    let next = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(next);
    let z = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
