//! The operator's configuration, and what is wrong with it.

use std::collections::BTreeMap;

use pillion_plugin::{ConfigError, schemars};
use serde::Deserialize;

/// Configuration of the auth plugin.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The claim `iss` that a token must have.
    #[serde(default = "issuer")]
    pub issuer: String,
    /// What a token's claim `aud` must be or contain.
    #[serde(default = "audience")]
    pub audience: String,
    /// The key set, granted as `crypto:NAME`, in which a token's `kid` is looked up.
    #[serde(default = "keyset")]
    pub keyset: String,
    /// Tokens that an instance remembers as checked; 0 checks every signature every time.
    #[serde(default = "cache_entries")]
    pub cache_entries: u32,
    /// Bytes that the remembered tokens may take together.
    #[serde(default = "cache_bytes")]
    pub cache_bytes: u32,
    /// Seconds for which a token counts as checked: a key that is taken out of the key set
    /// stops working after them at the latest.
    #[serde(default = "cache_ttl_s")]
    pub cache_ttl_s: u32,
    /// Seconds by which the clocks of issuer and host may differ, for `exp` and `nbf`.
    #[serde(default = "leeway_s")]
    pub leeway_s: u32,
    /// What each HS256 key of the key set may speak for, by its `kid`. A key that is not listed
    /// is refused.
    #[serde(default)]
    pub partners: BTreeMap<String, Partner>,
    /// What each route needs, by `METHOD TEMPLATE`, such as `GET /2/tweets/{id}`. Routes that
    /// are not listed are closed.
    pub routes: BTreeMap<String, Access>,
}

/// What tokens that are signed with a shared secret may say. What is not listed is refused.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Partner {
    /// The claim `iss` that its tokens must have.
    pub issuer: String,
    /// What its tokens' claim `aud` must be or contain.
    pub audience: String,
    /// The scopes that its tokens may have; `*` is any.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// The ids of the users that its tokens may act for; `*` is any.
    #[serde(default)]
    pub users: Vec<String>,
    /// The values of `client_id` that its tokens may have; `*` is any.
    #[serde(default)]
    pub clients: Vec<String>,
}

/// What a route needs.
#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// The scopes that a token must have, all of them; an empty list lets any user in.
    pub scopes: Option<Vec<String>>,
    /// Whether an application may come without a user. Its token must have the scopes too,
    /// unless it has no scope at all.
    #[serde(default)]
    pub app: bool,
    /// Whether no token is needed. A token that is sent is ignored: clients add theirs to every
    /// call, also where it has expired and they want another.
    #[serde(default)]
    pub public: bool,
}

fn issuer() -> String {
    "pillion".to_owned()
}

fn audience() -> String {
    "pillion-api".to_owned()
}

fn keyset() -> String {
    "access-tokens".to_owned()
}

/// As many callers as one worker sees in a minute at some load; about 0.5 MiB.
const fn cache_entries() -> u32 {
    1_024
}

const fn cache_bytes() -> u32 {
    1 << 20
}

const fn cache_ttl_s() -> u32 {
    60
}

/// As much as clocks of machines without time synchronization drift apart in weeks.
const fn leeway_s() -> u32 {
    60
}

/// More would let expired tokens in for longer than anybody expects.
const LEEWAY_S_MAX: u32 = 600;

/// Past this the cache would not fit an instance's 16 MiB.
const CACHE_ENTRIES_MAX: u32 = 16_384;
const CACHE_BYTES_MAX: u32 = 8 << 20;

/// A signing key that leaked must not be honoured for longer than its tokens live.
const CACHE_TTL_S_MAX: u32 = 900;

impl Config {
    /// Everything that is wrong apart from the routes.
    pub(crate) fn errors(&self) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        for (key, value) in
            [("issuer", &self.issuer), ("audience", &self.audience), ("keyset", &self.keyset)]
        {
            if value.is_empty() {
                errors.push(ConfigError::new(key, "must not be empty"));
            }
        }
        for (key, value, max) in [
            ("cache_entries", self.cache_entries, CACHE_ENTRIES_MAX),
            ("cache_bytes", self.cache_bytes, CACHE_BYTES_MAX),
            ("cache_ttl_s", self.cache_ttl_s, CACHE_TTL_S_MAX),
            ("leeway_s", self.leeway_s, LEEWAY_S_MAX),
        ] {
            if value > max {
                errors.push(ConfigError::new(key, format!("is {value}; at most {max}")));
            }
        }
        for (kid, partner) in &self.partners {
            for (key, value) in [("issuer", &partner.issuer), ("audience", &partner.audience)] {
                if value.is_empty() {
                    let key = format!("partners.{kid}.{key}");
                    errors.push(ConfigError::new(key, "must not be empty"));
                }
            }
        }
        errors
    }
}

impl Partner {
    /// Whether `list` has `name` or stands for every name.
    pub(crate) fn lists(list: &[String], name: &str) -> bool {
        list.iter().any(|listed| listed == name || listed == "*")
    }
}
