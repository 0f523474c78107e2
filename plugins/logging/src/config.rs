//! The operator's configuration, and what is wrong with it.

use pillion_plugin::{ConfigError, schemars};
use serde::Deserialize;

/// Configuration of the logging plugin.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The output, granted as `sink:NAME`, that gets the lines.
    #[serde(default = "sink")]
    pub sink: String,
    /// The part of the requests that is logged, 0.0 to 1.0. Chance decides in each service, and
    /// nothing that a client sends.
    #[serde(default = "sample")]
    pub sample: f64,
    /// Whether responses with a status of 500 or more are logged in any case.
    #[serde(default = "yes")]
    pub always_log_errors: bool,
    /// Keys of the line whose values are replaced by `[redacted]`.
    #[serde(default)]
    pub redact: Vec<Redactable>,
    /// Query parameters whose values are replaced by `[redacted]`, whatever their case; `*`
    /// stands for all.
    #[serde(default = "mask_parameters")]
    pub mask_parameters: Vec<String>,
    /// Request headers that are added to the line.
    #[serde(default)]
    pub headers: Vec<LoggedHeader>,
    /// Request headers that are added with `[redacted]` as value: whether they came at all.
    #[serde(default)]
    pub mask_headers: Vec<LoggedHeader>,
}

/// Keys of the line that may hold personal data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Redactable {
    /// `address`
    Address,
    /// `client_id`
    ClientId,
    /// `path`: the route remains.
    Path,
    /// `query`
    Query,
    /// `user_agent`
    UserAgent,
    /// `user_id`
    UserId,
}

/// Request headers that the plugin asks the host for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LoggedHeader {
    /// `accept-language`
    AcceptLanguage,
    /// `content-length`
    ContentLength,
    /// `content-type`
    ContentType,
    /// `origin`
    Origin,
    /// `referer`
    Referer,
    /// `x-forwarded-for`
    XForwardedFor,
}

fn sink() -> String {
    "access".to_owned()
}

const fn sample() -> f64 {
    1.0
}

const fn yes() -> bool {
    true
}

/// What OAuth and its like put into addresses.
fn mask_parameters() -> Vec<String> {
    [
        "access_token",
        "client_secret",
        "code",
        "code_verifier",
        "oauth_signature",
        "oauth_token",
        "oauth_verifier",
        "password",
        "refresh_token",
        "token",
    ]
    .map(str::to_owned)
    .to_vec()
}

impl Config {
    /// Everything that is wrong.
    pub(crate) fn errors(&self) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        if self.sink.is_empty() {
            errors.push(ConfigError::new("sink", "must not be empty: name an output"));
        }
        if !(0.0..=1.0).contains(&self.sample) {
            let reason = format!("is {}; must be 0.0 to 1.0", self.sample);
            errors.push(ConfigError::new("sample", reason));
        }
        for (index, name) in self.mask_parameters.iter().enumerate() {
            if name.is_empty() {
                let key = format!("mask_parameters[{index}]");
                errors.push(ConfigError::new(key, "must not be empty: name a parameter, or `*`"));
            }
        }
        for (index, header) in self.mask_headers.iter().enumerate() {
            if self.headers.contains(header) {
                let key = format!("mask_headers[{index}]");
                errors.push(ConfigError::new(key, "is in `headers` too: remove it from one"));
            }
        }
        errors
    }
}
