//! The rate limit plugin: X's windows per user, or per application, and route; a bucket per
//! address for requests without a good token; `x-rate-limit-*` on every response.
//!
//! The address part counts a request before it is handled, unless its `authorization` header
//! holds a bearer token and its path matches a route: nothing else is sure to be authenticated.
//! Public routes ignore tokens, so they belong into `address.routes`, which count every request.
//! Elsewhere one with a bearer token counts afterwards, if it ended as 401: so tokens cannot be
//! tried without bound, while good ones from a shared address are never limited by it. No other
//! response is ever replaced afterwards. What was not counted shows the whole quota.

mod config;
mod quota;

use std::{fmt::Write as _, net::IpAddr};

use pillion_plugin::{
    ConfigError, Decision, Edits, HttpResponse, OnRequest, OnResponse, Plugin, ResponseDecision,
    current, fields,
    limiter::{self, LimiterError},
    log,
};

pub use crate::config::{Address, Config, Limits, OnError, Override, Windows};
use crate::{
    config::{AddressQuota, Quotas},
    quota::Standing,
};

/// The plugin.
#[derive(Debug)]
pub struct RateLimit {
    quotas: Option<Quotas>,
    address: Option<AddressQuota>,
    on_error: OnError,
    /// The limiter's key, in a buffer that is used again.
    key: String,
}

fields! {
    /// What the request phase sees.
    #[derive(Debug)]
    pub struct Seen<'a> {
        method: &'a str = "method",
        route: Option<&'a str> = "route",
        address: Option<&'a str> = "address",
        authorization: Option<&'a [u8]> = "header:authorization",
        user_id: Option<&'a str> = "caller.user-id",
        client_id: Option<&'a str> = "caller.client-id",
    }

    /// What the response phase sees.
    #[derive(Debug)]
    pub struct Answered<'a> {
        status: u64 = "status",
        route: Option<&'a str> = "route",
        address: Option<&'a str> = "address",
        authorization: Option<&'a [u8]> = "header:authorization",
        standing: Option<&'a [u8]> = "attribute:standing",
        told: Option<&'a [u8]> = "response-header:x-rate-limit-limit",
        now_us: u64 = "time",
    }
}

impl Plugin for RateLimit {
    type Config = Config;

    const GRANTS: &'static [&'static str] = &["limiter"];

    fn new(config: Config) -> Result<Self, Vec<ConfigError>> {
        let (quotas, address) = config::check(&config)?;
        Ok(Self { quotas, address, on_error: config.on_limiter_error, key: String::new() })
    }
}

/// What a take led to.
enum Taken {
    /// It was allowed, or the limiter failed and the operator lets requests pass.
    Allowed(Standing),
    /// Nothing was asked.
    Uncounted,
    /// It was refused.
    Refused(HttpResponse),
}

impl OnRequest for RateLimit {
    type Fields<'a> = Seen<'a>;

    fn on_request(&mut self, seen: Seen<'_>) -> Decision {
        let mut decision = Decision::Continue;
        let always =
            self.address.as_ref().is_some_and(|quota| quota.always_counts(seen.method, seen.route));
        if (always || !is_authenticated(seen.authorization, seen.route))
            && let Some(address) = seen.address
        {
            match self.take_address(address) {
                Taken::Refused(response) => return response.into(),
                Taken::Allowed(standing) => decision = remember(standing),
                Taken::Uncounted => {}
            }
        }
        match self.take_window(&seen) {
            Taken::Refused(response) => response.into(),
            Taken::Allowed(standing) => remember(standing),
            Taken::Uncounted => decision,
        }
    }
}

/// Whether auth is sure to check a token: it does on every route that is not public.
///
/// What auth takes for another scheme must not pass here, so that a space has to follow.
fn is_authenticated(authorization: Option<&[u8]>, route: Option<&str>) -> bool {
    const SCHEME: &[u8] = b"bearer ";
    let scheme = authorization.and_then(|header| header.get(..SCHEME.len()));
    route.is_some() && scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME))
}

fn remember(standing: Standing) -> Decision {
    Edits::new().attribute("standing", standing.to_attribute()).into()
}

impl OnResponse for RateLimit {
    type Fields<'a> = Answered<'a>;

    fn on_response(&mut self, seen: Answered<'_>) -> ResponseDecision {
        let counted = seen.standing.and_then(Standing::of_attribute);
        let mut standing = counted;
        if let (Some(quota), Some(address)) = (&self.address, seen.address) {
            let burst = quota.burst;
            // One that was counted before is not counted again.
            let uncounted = counted.is_none() && is_authenticated(seen.authorization, seen.route);
            if seen.status == 401 && uncounted {
                match self.take_address(address) {
                    Taken::Refused(response) => return response.into(),
                    Taken::Allowed(after) => standing = Some(after),
                    Taken::Uncounted => {}
                }
            }
            let whole = Standing { limit: burst, remaining: burst, reset: seen.now_us / 1_000_000 };
            standing = standing.or(Some(whole));
        }
        match standing {
            Some(standing) if seen.told.is_none() => standing.edits().into(),
            _ => ResponseDecision::Continue,
        }
    }
}

impl RateLimit {
    /// Takes one from the window of the caller on the route, if there is a caller.
    fn take_window(&mut self, seen: &Seen<'_>) -> Taken {
        let (Some(quotas), Some(route)) = (&self.quotas, seen.route) else {
            return Taken::Uncounted;
        };
        // The handler of `GET` answers `HEAD`: one quota for both.
        let method = if seen.method == "HEAD" { "GET" } else { seen.method };
        let limits = quotas.limits(method, route);
        let (kind, who, limit, whose) = match (seen.user_id, seen.client_id) {
            (Some(user_id), _) => ("user", user_id, limits.user, "of this user on this route"),
            (None, Some(client_id)) => {
                ("app", client_id, limits.app, "of this application on this route")
            }
            (None, None) => return Taken::Uncounted,
        };
        self.key.clear();
        for part in [kind, " ", who, " ", method, " ", route] {
            self.key.push_str(part);
        }
        let taken = limiter::window(&self.key, limit, limits.window_s.saturating_mul(1_000));
        self.judge(limit, whose, taken)
    }

    /// Takes one from the bucket of an address, if addresses are limited.
    fn take_address(&mut self, address: &str) -> Taken {
        let Some(quota) = &self.address else {
            return Taken::Uncounted;
        };
        self.key.clear();
        self.key.push_str("address ");
        push_network(&mut self.key, address, quota.ipv6_prefix);
        let burst = quota.burst;
        let taken = limiter::gcra(&self.key, burst, quota.period_ms);
        self.judge(burst, "of this address without a valid access token", taken)
    }

    fn judge(
        &self,
        limit: u32,
        whose: &str,
        taken: Result<limiter::Verdict, LimiterError>,
    ) -> Taken {
        match taken {
            Ok(verdict) if verdict.allowed => Taken::Allowed(Standing::new(limit, verdict)),
            Ok(verdict) => {
                let standing = Standing::new(limit, verdict);
                Taken::Refused(standing.too_many(whose, verdict.retry_after_ms))
            }
            Err(error) => {
                let (outcome, taken) = match self.on_error {
                    OnError::Allow => {
                        let standing = Standing { limit, remaining: limit, reset: now_s() };
                        ("allowed", Taken::Allowed(standing))
                    }
                    OnError::Deny => {
                        let reset = now_s() + RETRY_S;
                        let standing = Standing { limit, remaining: 0, reset };
                        ("denied", Taken::Refused(standing.unavailable(RETRY_S)))
                    }
                };
                log::error(&format!("request {outcome}, as the limiter failed: {}", text(&error)));
                taken
            }
        }
    }
}

/// Seconds after which a client may ask again when the limiter failed.
const RETRY_S: u64 = 5;

/// Seconds since 1970 at which the request arrived; asked for only when something failed.
fn now_s() -> u64 {
    let time = current::field("time").and_then(|bytes| bytes.try_into().ok());
    time.map_or(0, u64::from_le_bytes) / 1_000_000
}

fn text(error: &LimiterError) -> &str {
    match error {
        LimiterError::BadKey => "the key is empty",
        LimiterError::BadQuota => "the quota is out of bounds",
        LimiterError::Full => "it holds as many keys as it may",
        LimiterError::Unavailable(reason) => reason,
    }
}

/// Adds the network that shares a bucket: an IPv4 address, or the prefix of an IPv6 one.
fn push_network(key: &mut String, address: &str, ipv6_prefix: u8) {
    match address.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V6(address)) => {
            let host_bits = 128_u32.saturating_sub(u32::from(ipv6_prefix));
            let network = address.to_bits().checked_shr(host_bits).unwrap_or(0);
            // Writing to a string cannot fail.
            let _ = write!(key, "{network:x}/{ipv6_prefix}");
        }
        Ok(IpAddr::V4(address)) => {
            let _ = write!(key, "{address}");
        }
        Err(_) => key.push_str(address),
    }
}

pillion_plugin::export!(RateLimit: request, response);

#[cfg(test)]
mod tests;
