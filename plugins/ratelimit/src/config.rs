//! The operator's configuration, and what is wrong with it.

use std::collections::BTreeMap;

use pillion_plugin::{ConfigError, Route, RouteMap, schemars};
use serde::Deserialize;

/// Configuration of the rate limit plugin: at least one of `windows` and `address`.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Limits for callers with a token, per route. Its place is behind the auth plugin.
    pub windows: Option<Windows>,
    /// A limit per client address for requests without a good bearer token. Its place is before
    /// the auth plugin.
    pub address: Option<Address>,
    /// What becomes of a request when the limiter cannot be asked.
    #[serde(default)]
    pub on_limiter_error: OnError,
}

/// Windows per user and route, or per application and route where there is no user.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Windows {
    /// What holds for every route that is not listed.
    pub default: Limits,
    /// What differs, by `METHOD TEMPLATE`, such as `POST /2/tweets`.
    #[serde(default)]
    pub routes: BTreeMap<String, Override>,
}

/// How much a caller may do on a route.
#[derive(Clone, Copy, Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Requests per window of one user.
    pub user: u32,
    /// Requests per window of one application acting as itself.
    pub app: u32,
    /// Length of the window in seconds; it begins with the first request.
    #[serde(default = "window_s")]
    pub window_s: u32,
}

/// X's 15 minutes.
const fn window_s() -> u32 {
    900
}

/// What differs from the default on one route.
#[derive(Clone, Copy, Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// Requests per window of one user.
    pub user: Option<u32>,
    /// Requests per window of one application acting as itself.
    pub app: Option<u32>,
    /// Length of the window in seconds.
    pub window_s: Option<u32>,
}

/// A bucket per client address.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// Requests that may come at once.
    pub burst: u32,
    /// Milliseconds in which an empty bucket becomes full.
    pub period_ms: u32,
    /// Leading bits of an IPv6 address that share a bucket: who has one such address mostly has
    /// all of its /64.
    #[serde(default = "ipv6_prefix")]
    pub ipv6_prefix: u8,
    /// Routes, as `METHOD TEMPLATE`, that take from the bucket whatever token comes with the
    /// request: those where accounts are made and passwords tried, which a token of an account
    /// made a moment ago must not open.
    #[serde(default)]
    pub routes: Vec<String>,
}

const fn ipv6_prefix() -> u8 {
    64
}

/// What becomes of a request when the limiter cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// It is answered with 503.
    #[default]
    Deny,
    /// It passes uncounted.
    Allow,
}

/// The limits of every route.
#[derive(Debug)]
pub(crate) struct Quotas {
    default: Limits,
    routes: RouteMap<Limits>,
}

impl Quotas {
    pub(crate) fn limits(&self, method: &str, template: &str) -> Limits {
        *self.routes.get(method, template).unwrap_or(&self.default)
    }
}

/// A window in milliseconds has to fit 32 bits.
const WINDOW_S_MAX: u32 = u32::MAX / 1_000;

/// What holds for addresses.
#[derive(Debug)]
pub(crate) struct AddressQuota {
    pub(crate) burst: u32,
    pub(crate) period_ms: u32,
    pub(crate) ipv6_prefix: u8,
    always: RouteMap<()>,
}

impl AddressQuota {
    /// Whether requests for this route are counted whatever token they bring.
    pub(crate) fn always_counts(&self, method: &str, template: Option<&str>) -> bool {
        template.is_some_and(|template| self.always.get(method, template).is_some())
    }
}

/// What was checked of a configuration.
pub(crate) type Checked = (Option<Quotas>, Option<AddressQuota>);

/// Everything that is wrong, or the limits.
pub(crate) fn check(config: &Config) -> Result<Checked, Vec<ConfigError>> {
    let mut errors = Vec::new();
    if config.windows.is_none() && config.address.is_none() {
        errors.push(ConfigError::new("", "limits nothing: set `windows` or `address`"));
    }
    if let Some(address) = &config.address {
        at_least_one(&mut errors, "address.burst", Some(address.burst));
        at_least_one(&mut errors, "address.period_ms", Some(address.period_ms));
        if !(1..=128).contains(&address.ipv6_prefix) {
            let reason = format!("is {}; must be 1 to 128", address.ipv6_prefix);
            errors.push(ConfigError::new("address.ipv6_prefix", reason));
        }
    }
    let address = config.address.as_ref().map(|address| address_quota(address, &mut errors));
    let quotas = config.windows.as_ref().map(|windows| quotas(windows, &mut errors));
    if errors.is_empty() { Ok((quotas, address)) } else { Err(errors) }
}

fn address_quota(address: &Address, errors: &mut Vec<ConfigError>) -> AddressQuota {
    let mut always = Vec::new();
    for (place, text) in address.routes.iter().enumerate() {
        match text.parse::<Route>() {
            Ok(route) => always.push((route, ())),
            Err(reason) => {
                errors.push(ConfigError::new(format!("address.routes[{place}]"), reason));
            }
        }
    }
    AddressQuota {
        burst: address.burst,
        period_ms: address.period_ms,
        ipv6_prefix: address.ipv6_prefix,
        always: always.into_iter().collect(),
    }
}

fn quotas(windows: &Windows, errors: &mut Vec<ConfigError>) -> Quotas {
    let default = windows.default;
    check_limits(
        errors,
        "windows.default",
        Override {
            user: Some(default.user),
            app: Some(default.app),
            window_s: Some(default.window_s),
        },
    );
    let mut routes = Vec::with_capacity(windows.routes.len());
    for (text, differing) in &windows.routes {
        let key = format!("windows.routes.{text}");
        check_limits(errors, &key, *differing);
        let limits = Limits {
            user: differing.user.unwrap_or(default.user),
            app: differing.app.unwrap_or(default.app),
            window_s: differing.window_s.unwrap_or(default.window_s),
        };
        match text.parse::<Route>() {
            Ok(route) => routes.push((route, limits)),
            Err(reason) => errors.push(ConfigError::new(key, reason)),
        }
    }
    Quotas { default, routes: routes.into_iter().collect() }
}

fn check_limits(errors: &mut Vec<ConfigError>, key: &str, limits: Override) {
    at_least_one(errors, &format!("{key}.user"), limits.user);
    at_least_one(errors, &format!("{key}.app"), limits.app);
    at_least_one(errors, &format!("{key}.window_s"), limits.window_s);
    if let Some(window_s) = limits.window_s.filter(|window_s| *window_s > WINDOW_S_MAX) {
        let reason = format!("is {window_s}; at most {WINDOW_S_MAX}");
        errors.push(ConfigError::new(format!("{key}.window_s"), reason));
    }
}

fn at_least_one(errors: &mut Vec<ConfigError>, key: &str, value: Option<u32>) {
    if value == Some(0) {
        errors.push(ConfigError::new(key, "is 0; must be at least 1"));
    }
}
