//! What a take from the limiter told, from the phase that took to the header that says so.

use pillion_plugin::{HttpResponse, ResponseEdits, limiter::Verdict, timestamp::rfc3339};

/// Where a request stands with its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) limit: u32,
    pub(crate) remaining: u32,
    /// Unix time in seconds.
    pub(crate) reset: u64,
}

/// Length of a standing as an attribute.
const ATTRIBUTE_BYTES: usize = 16;

impl Standing {
    pub(crate) fn new(limit: u32, verdict: Verdict) -> Self {
        Self { limit, remaining: verdict.remaining, reset: verdict.reset }
    }

    pub(crate) fn to_attribute(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ATTRIBUTE_BYTES);
        bytes.extend_from_slice(&self.limit.to_le_bytes());
        bytes.extend_from_slice(&self.remaining.to_le_bytes());
        bytes.extend_from_slice(&self.reset.to_le_bytes());
        bytes
    }

    pub(crate) fn of_attribute(bytes: &[u8]) -> Option<Self> {
        let (limit, rest) = bytes.split_first_chunk()?;
        let (remaining, rest) = rest.split_first_chunk()?;
        Some(Self {
            limit: u32::from_le_bytes(*limit),
            remaining: u32::from_le_bytes(*remaining),
            reset: u64::from_le_bytes(rest.try_into().ok()?),
        })
    }

    fn headers(self) -> [(&'static str, String); 3] {
        [
            ("x-rate-limit-limit", self.limit.to_string()),
            ("x-rate-limit-remaining", self.remaining.to_string()),
            ("x-rate-limit-reset", self.reset.to_string()),
        ]
    }

    /// Adds X's headers to a response.
    pub(crate) fn edits(self) -> ResponseEdits {
        let mut edits = ResponseEdits::new();
        edits.set_headers.reserve_exact(3);
        self.headers().into_iter().fold(edits, |edits, (name, value)| edits.set_header(name, value))
    }

    /// 429 in X's shape. `whose` names the quota: `of this user on this route`.
    pub(crate) fn too_many(self, whose: &str, retry_after_ms: u64) -> HttpResponse {
        let detail = format!(
            "The quota of {} requests {whose} is used up; it is full again at {:.0}.",
            self.limit,
            rfc3339(self.reset.saturating_mul(1_000_000)),
        );
        let wait_s = retry_after_ms.div_ceil(1_000).max(1);
        let response = HttpResponse::problem(429, "Too Many Requests", &detail)
            .header("retry-after", wait_s.to_string());
        self.dress(response)
    }

    /// 503, when nobody can say whether the quota is used up.
    pub(crate) fn unavailable(self, retry_s: u64) -> HttpResponse {
        let detail = "The rate limit cannot be checked now; try again in a few seconds.";
        let response = HttpResponse::problem(503, "Service Unavailable", detail)
            .header("retry-after", retry_s.to_string());
        self.dress(response)
    }

    fn dress(self, response: HttpResponse) -> HttpResponse {
        self.headers()
            .into_iter()
            .fold(response, |response, (name, value)| response.header(name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_holds_a_standing() {
        let standing = Standing { limit: 100, remaining: 7, reset: 1_767_225_600 };
        let attribute = standing.to_attribute();
        assert_eq!(attribute.len(), ATTRIBUTE_BYTES);
        assert_eq!(Standing::of_attribute(&attribute), Some(standing));
        for wrong in [&attribute[..15], &[attribute.as_slice(), &[0]].concat(), &[]] {
            assert_eq!(Standing::of_attribute(wrong), None);
        }
    }

    #[test]
    fn a_refusal_says_when_to_come_back() {
        let standing = Standing { limit: 3, remaining: 0, reset: 1_767_225_600 };
        let response = standing.too_many("of this user on this route", 1_001);
        assert_eq!(response.status, 429);
        assert_eq!(response.get("retry-after"), Some(&b"2"[..]));
        assert_eq!(response.get("x-rate-limit-limit"), Some(&b"3"[..]));
        assert_eq!(response.get("x-rate-limit-remaining"), Some(&b"0"[..]));
        assert_eq!(response.get("x-rate-limit-reset"), Some(&b"1767225600"[..]));
        assert_eq!(
            String::from_utf8(response.body).unwrap(),
            r#"{"title":"Too Many Requests","detail":"The quota of 3 requests of this user on this route is used up; it is full again at 2026-01-01T00:00:00Z.","type":"about:blank","status":429}"#
        );
    }
}
