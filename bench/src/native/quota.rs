//! A window for each user and route, exact under concurrency.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::Refusal;
use super::auth::Caller;
use crate::clock;
use crate::workload::{LIMIT, WINDOW_S};

/// Locks that keys are spread over, so that two workers seldom meet.
const SHARDS: usize = 16;

/// Windows that a shard holds; at the bound, those that are over go.
const SHARD_KEYS_MAX: usize = 65_536;

const WINDOW: Duration = Duration::from_secs(WINDOW_S as u64);

const NAMES: [HeaderName; 3] = [
    HeaderName::from_static("x-rate-limit-limit"),
    HeaderName::from_static("x-rate-limit-remaining"),
    HeaderName::from_static("x-rate-limit-reset"),
];

#[derive(Clone, Copy, Debug)]
struct Window {
    end: Instant,
    taken: u32,
}

/// All windows.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    hasher: RandomState,
    shards: [Mutex<HashMap<Box<str>, Window>>; SHARDS],
}

/// Where a request stands with its limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    remaining: u32,
    /// Unix time in seconds.
    reset: u64,
}

impl Quotas {
    /// Takes one from the caller's window on the route.
    pub(super) fn take(
        &self,
        caller: &Caller,
        method: &Method,
        route: &str,
        now: Instant,
    ) -> Result<Standing, Refusal> {
        let (kind, who) = match &caller.user_id {
            Some(user) => ("user ", user),
            None => ("app ", &caller.client_id),
        };
        let method = if method == Method::HEAD { "GET" } else { method.as_str() };
        let key = [kind, who, " ", method, " ", route].concat();
        let place = usize::try_from(self.hasher.hash_one(&key) % SHARDS as u64).unwrap_or(0);
        let Some(shard) = self.shards.get(place) else {
            return Err(unavailable());
        };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= SHARD_KEYS_MAX {
            shard.retain(|_, window| window.end > now);
            if shard.len() >= SHARD_KEYS_MAX {
                return Err(unavailable());
            }
        }
        let window = shard.entry(key.into()).or_insert(Window { end: now + WINDOW, taken: 0 });
        if window.end <= now {
            *window = Window { end: now + WINDOW, taken: 0 };
        }
        let allowed = window.taken < LIMIT;
        window.taken += u32::from(allowed);
        let left = window.end - now;
        let remaining = LIMIT - window.taken;
        drop(shard);
        let left_us = u64::try_from(left.as_micros()).unwrap_or(u64::MAX / 2);
        let standing =
            Standing { remaining, reset: (clock::now_us() + left_us).div_ceil(1_000_000) };
        if allowed { Ok(standing) } else { Err(standing.too_many(left)) }
    }
}

impl Standing {
    fn headers(self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let values = [LIMIT.into(), self.remaining.into(), self.reset.into()];
        NAMES.into_iter().zip(values)
    }

    /// Adds X's headers to a response.
    pub(super) fn tell(self, headers: &mut HeaderMap) {
        for (name, value) in self.headers() {
            headers.insert(name, value);
        }
    }

    fn too_many(self, wait: Duration) -> Refusal {
        let wait_s = wait.as_millis().div_ceil(1_000).max(1);
        let retry = HeaderValue::try_from(wait_s.to_string());
        let mut headers: Vec<_> = self.headers().collect();
        headers.extend(retry.map(|value| (header::RETRY_AFTER, value)));
        Refusal {
            status: StatusCode::TOO_MANY_REQUESTS,
            title: "Too Many Requests",
            detail: format!("The quota of {LIMIT} requests of this user on this route is used up."),
            headers,
        }
    }
}

fn unavailable() -> Refusal {
    Refusal {
        status: StatusCode::SERVICE_UNAVAILABLE,
        title: "Service Unavailable",
        detail: "The rate limit cannot be checked now; try again in a few seconds.".to_owned(),
        headers: vec![(header::RETRY_AFTER, HeaderValue::from_static("5"))],
    }
}
