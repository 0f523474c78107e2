//! W3C trace context: <https://www.w3.org/TR/trace-context/>, version 00, and as much of later
//! versions as is promised to stay.

use std::cell::Cell;

use http::{HeaderMap, HeaderName, HeaderValue};

pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Length of `00-{32 hex}-{16 hex}-{2 hex}`.
const TRACEPARENT_BYTES: usize = 55;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// The trace that a request belongs to, and the span of its way through this chain.
#[derive(Clone, Copy)]
pub(crate) struct TraceContext {
    /// The header's whole text, so that reading and sending it costs no formatting.
    text: [u8; TRACEPARENT_BYTES],
    /// Whether the trace was the caller's.
    continued: bool,
}

impl TraceContext {
    /// A new span: in the caller's trace when there is one valid `traceparent`, else in a new one.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut parents = headers.get_all(TRACEPARENT).iter();
        let parent = match (parents.next(), parents.next()) {
            (Some(only), None) => parent(only.as_bytes()),
            // Of several nobody knows which is the caller's.
            _ => None,
        };
        let continued = parent.is_some();
        let mut text =
            parent.unwrap_or(*b"00-00000000000000000000000000000000-0000000000000000-01");
        if !continued && let Some(id) = text.get_mut(3..35) {
            hex(random(), random(), id);
        }
        if let Some(span) = text.get_mut(36..52) {
            hex(random(), 0, span);
        }
        Self { text, continued }
    }

    fn slice(&self, from: usize, to: usize) -> &str {
        self.text
            .get(from..to)
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .unwrap_or_default()
    }

    pub(crate) fn trace_id(&self) -> &str {
        self.slice(3, 35)
    }

    pub(crate) fn span_id(&self) -> &str {
        self.slice(36, 52)
    }

    /// Whether the trace is one that the caller began. `tracestate` belongs to it only.
    pub(crate) fn is_continued(&self) -> bool {
        self.continued
    }

    /// For the handler, whose calls to other services then belong to this span.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        HeaderValue::from_bytes(&self.text).ok()
    }
}

impl std::fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.slice(0, TRACEPARENT_BYTES))
    }
}

/// A new request id: 16 hexadecimal digits.
pub(crate) fn request_id() -> std::sync::Arc<str> {
    let mut digits = [b'0'; 16];
    hex(random(), 0, &mut digits);
    std::str::from_utf8(&digits).unwrap_or_default().into()
}

/// Writes the first `out.len()` hexadecimal digits of `high` and `low`.
fn hex(high: u64, low: u64, out: &mut [u8]) {
    let bytes = high.to_be_bytes().into_iter().chain(low.to_be_bytes());
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        for (digit, nibble) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
            *digit = HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
        }
    }
}

/// A valid `traceparent` as one of version 00. Of a later version the first four fields are read,
/// and of its flags only the one that is known, `sampled`.
fn parent(text: &[u8]) -> Option<[u8; TRACEPARENT_BYTES]> {
    let (known, rest) = text.split_first_chunk::<TRACEPARENT_BYTES>()?;
    let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let mut own = *known;
    own[..2].copy_from_slice(b"00");
    let version = known.first_chunk::<2>()?;
    let fits = match version {
        b"00" => rest.is_empty(),
        b"ff" => false,
        _ => version.iter().all(is_hex) && (rest.is_empty() || rest.starts_with(b"-")),
    };
    if !fits || !valid(&own) {
        return None;
    }
    if version != b"00" {
        let [.., high, low] = &mut own;
        let value = char::from(*low).to_digit(16)?;
        (*high, *low) = (b'0', if value & 1 == 1 { b'1' } else { b'0' });
    }
    Some(own)
}

fn valid(text: &[u8]) -> bool {
    let lower_hex = |range: std::ops::Range<usize>| {
        text.get(range).is_some_and(|part| {
            part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
                && part.iter().any(|byte| *byte != b'0')
        })
    };
    text.len() == TRACEPARENT_BYTES
        && text.starts_with(b"00-")
        && text.get(35) == Some(&b'-')
        && text.get(52) == Some(&b'-')
        && lower_hex(3..35)
        && lower_hex(36..52)
        && text
            .get(53..)
            .is_some_and(|flags| flags.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
}

/// `SplitMix64` (Steele, Lea, Flood 2014), seeded by the system once a thread. Ids need to be
/// unique, not secret.
fn random() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(seed());
    }
    STATE.with(|state| {
        let next = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(next);
        let mut z = next;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

fn seed() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    // `RandomState` takes its keys from the system, and differs from call to call.
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn of(parents: &[&str]) -> TraceContext {
        let mut headers = HeaderMap::new();
        for parent in parents {
            headers.append(TRACEPARENT, HeaderValue::from_str(parent).unwrap());
        }
        TraceContext::of(&headers)
    }

    #[test]
    fn a_valid_parent_keeps_its_trace_and_gets_a_new_span() {
        let trace = of(&["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"]);
        assert_eq!(trace.trace_id(), TRACE);
        assert_ne!(trace.span_id(), "00f067aa0ba902b7");
        assert!(trace.is_continued());
        assert!(trace.header().unwrap().as_bytes().ends_with(b"-00"), "flags travel on");
    }

    #[test]
    fn s11_a_later_version_is_continued_by_its_first_four_fields() {
        for (parent, flags) in [
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra", "01"),
            ("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-fe", "00"),
            ("fe-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff-", "01"),
        ] {
            let trace = of(&[parent]);
            assert_eq!(trace.trace_id(), TRACE, "{parent}");
            let header = trace.header().unwrap();
            let header = header.to_str().unwrap();
            assert!(header.starts_with("00-") && header.ends_with(flags), "{header}");
            assert_eq!(header.len(), TRACEPARENT_BYTES);
        }
    }

    #[test]
    fn s11_two_parents_start_a_new_trace() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = of(&[parent, parent]);
        assert_ne!(trace.trace_id(), TRACE);
        assert!(!trace.is_continued());
    }

    #[test]
    fn an_invalid_parent_starts_a_new_trace() {
        for text in [
            "",
            "00-short",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.extra",
            "cg-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            let trace = of(&[text]);
            assert!(valid(&trace.text), "{trace:?} from {text:?}");
            assert_ne!(trace.trace_id(), TRACE, "{text}");
            assert!(!trace.is_continued());
        }
        assert!(!of(&[]).is_continued());
    }

    #[test]
    fn ids_differ() {
        let ids: std::collections::HashSet<_> = (0..10_000).map(|_| request_id()).collect();
        assert_eq!(ids.len(), 10_000);
    }
}
