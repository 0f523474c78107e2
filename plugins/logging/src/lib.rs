//! The logging plugin: one JSON line per request, when it is over.
//!
//! A line is handed to the host's output and never waits for it: when the output is full the
//! line is dropped, and the next one of this instance says under `dropped` how many were. A
//! crash of the host loses what the output has not yet written (its flush interval).

mod config;
mod json;
mod query;

use pillion_plugin::{
    ConfigError, OnComplete, Plugin, fields, log,
    sink::{self, SinkError},
    timestamp::rfc3339,
};

pub use crate::config::{Config, LoggedHeader, Redactable};
use crate::{json::Object, query::REDACTED};

/// The plugin.
#[derive(Debug)]
pub struct Logging {
    config: Config,
    /// A request is logged whose span hashes to at most this; none when there is no number.
    threshold: Option<u64>,
    line: Vec<u8>,
    query: Vec<u8>,
    dropped: u64,
}

fields! {
    /// What the completion phase sees.
    #[derive(Debug)]
    pub struct Seen<'a> {
        time_us: u64 = "time",
        request_id: &'a str = "request-id",
        trace_id: &'a str = "trace-id",
        span_id: &'a str = "span-id",
        service: &'a str = "service",
        method: &'a str = "method",
        route: Option<&'a str> = "route",
        path: &'a str = "path",
        query: Option<&'a str> = "query",
        status: u64 = "status",
        bytes: u64 = "response-bytes",
        duration_us: u64 = "duration-us",
        user_id: Option<&'a str> = "caller.user-id",
        client_id: Option<&'a str> = "caller.client-id",
        address: Option<&'a str> = "address",
        user_agent: Option<&'a [u8]> = "header:user-agent",
        ended_by: &'a str = "ended-by",
        decisions: &'a str = "decisions",
        accept_language: Option<&'a [u8]> = "header:accept-language",
        content_length: Option<&'a [u8]> = "header:content-length",
        content_type: Option<&'a [u8]> = "header:content-type",
        origin: Option<&'a [u8]> = "header:origin",
        referer: Option<&'a [u8]> = "header:referer",
        forwarded_for: Option<&'a [u8]> = "header:x-forwarded-for",
    }
}

/// What one value takes in the line at most. Together with the rest they stay below the output's
/// 16 KiB.
const PATH_BYTES_MAX: usize = 2 << 10;
const HEADER_BYTES_MAX: usize = 512;
const WORD_BYTES_MAX: usize = 256;

/// A key as [`Object`] takes it.
macro_rules! key {
    ($name:literal) => {
        concat!("\"", $name, "\":")
    };
}

impl Plugin for Logging {
    type Config = Config;

    const GRANTS: &'static [&'static str] = &["sink"];

    fn new(mut config: Config) -> Result<Self, Vec<ConfigError>> {
        let errors = config.errors();
        if !errors.is_empty() {
            return Err(errors);
        }
        for name in &mut config.mask_parameters {
            name.make_ascii_lowercase();
        }
        let threshold = threshold(config.sample);
        Ok(Self { config, threshold, line: Vec::new(), query: Vec::new(), dropped: 0 })
    }
}

impl OnComplete for Logging {
    type Fields<'a> = Seen<'a>;

    fn on_complete(&mut self, seen: Seen<'_>) {
        let forced = self.config.always_log_errors && seen.status >= 500;
        if !forced && !self.sampled(seen.span_id) {
            return;
        }
        self.write_line(&seen);
        match sink::write(&self.config.sink, &self.line) {
            Ok(()) => self.dropped = 0,
            Err(error) => self.drop_line(error),
        }
    }
}

impl Logging {
    /// By the span, which the host makes: a client that could choose what is hashed, as it can
    /// the request's and the trace's id, could stay out of the log.
    fn sampled(&self, span_id: &str) -> bool {
        match self.threshold {
            None => false,
            Some(u64::MAX) => true,
            Some(threshold) => hash(span_id) <= threshold,
        }
    }

    fn write_line(&mut self, seen: &Seen<'_>) {
        let Self { config, line, query, dropped, .. } = self;
        let shown = |key, value| redacted(config, key, value);
        let mut object = Object::begin(line);
        object.string(key!("time"), rfc3339(seen.time_us).as_str().as_bytes(), WORD_BYTES_MAX);
        for (key, value) in [
            (key!("request_id"), seen.request_id),
            (key!("trace_id"), seen.trace_id),
            (key!("span_id"), seen.span_id),
            (key!("service"), seen.service),
            (key!("method"), seen.method),
        ] {
            object.string(key, value.as_bytes(), WORD_BYTES_MAX);
        }
        object.optional(key!("route"), seen.route.map(str::as_bytes), PATH_BYTES_MAX);
        let path = shown(Redactable::Path, Some(seen.path.as_bytes()));
        object.optional(key!("path"), path, PATH_BYTES_MAX);
        let masked = seen.query.map(|text| {
            query::mask(text.as_bytes(), &config.mask_parameters, query);
            query.as_slice()
        });
        object.optional(key!("query"), shown(Redactable::Query, masked), PATH_BYTES_MAX);
        object.number(key!("status"), seen.status);
        object.number(key!("bytes"), seen.bytes);
        object.number(key!("duration_us"), seen.duration_us);
        let user_id = shown(Redactable::UserId, seen.user_id.map(str::as_bytes));
        object.optional(key!("user_id"), user_id, WORD_BYTES_MAX);
        let client_id = shown(Redactable::ClientId, seen.client_id.map(str::as_bytes));
        object.optional(key!("client_id"), client_id, WORD_BYTES_MAX);
        let address = shown(Redactable::Address, seen.address.map(str::as_bytes));
        object.optional(key!("address"), address, WORD_BYTES_MAX);
        let user_agent = shown(Redactable::UserAgent, seen.user_agent);
        object.optional(key!("user_agent"), user_agent, HEADER_BYTES_MAX);
        object.string(key!("ended_by"), seen.ended_by.as_bytes(), WORD_BYTES_MAX);
        object.string(key!("decisions"), seen.decisions.as_bytes(), PATH_BYTES_MAX);
        for header in &config.headers {
            let (name, value) = seen.header(*header);
            object.optional(name, value, HEADER_BYTES_MAX);
        }
        for header in &config.mask_headers {
            let (name, value) = seen.header(*header);
            object.optional(name, value.map(|_| REDACTED), HEADER_BYTES_MAX);
        }
        if *dropped > 0 {
            object.number(key!("dropped"), *dropped);
        }
        object.end();
    }

    /// Counts a line that the output did not take.
    fn drop_line(&mut self, error: SinkError) {
        self.dropped += 1;
        let sink = &self.config.sink;
        match error {
            // The output says so itself, and the next line that it takes.
            SinkError::Full => {}
            SinkError::NotGranted => log::error(&format!(
                "the output `{sink}` is not granted: grant `sink:{sink}`, or name another as `sink`"
            )),
            SinkError::TooLarge | SinkError::Invalid => {
                log::error(&format!("the output `{sink}` refused a line: {error}"));
            }
        }
    }
}

impl<'a> Seen<'a> {
    /// The key and the value of a header that can be added.
    fn header(&self, header: LoggedHeader) -> (&'static str, Option<&'a [u8]>) {
        match header {
            LoggedHeader::AcceptLanguage => (key!("accept_language"), self.accept_language),
            LoggedHeader::ContentLength => (key!("content_length"), self.content_length),
            LoggedHeader::ContentType => (key!("content_type"), self.content_type),
            LoggedHeader::Origin => (key!("origin"), self.origin),
            LoggedHeader::Referer => (key!("referer"), self.referer),
            LoggedHeader::XForwardedFor => (key!("x_forwarded_for"), self.forwarded_for),
        }
    }
}

fn redacted<'a>(config: &Config, key: Redactable, value: Option<&'a [u8]>) -> Option<&'a [u8]> {
    value.map(|value| if config.redact.contains(&key) { REDACTED } else { value })
}

/// The largest hash that is logged.
fn threshold(sample: f64) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "saturates, is not negative, and a sample needs no 64 bits of precision"
    )]
    let threshold = (sample * u64::MAX as f64) as u64;
    (sample > 0.0).then_some(threshold)
}

/// FNV-1a, its bits mixed once more: neighbouring ids must not fall together.
fn hash(id: &str) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let fnv = id.bytes().fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    let mixed = (fnv ^ (fnv >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

pillion_plugin::export!(Logging: completion);

#[cfg(test)]
mod tests;
