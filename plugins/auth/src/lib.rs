//! The auth plugin: checks access tokens, holds each route to its scopes, and tells later
//! plugins and the handler who the caller is.
//!
//! A public route ignores tokens. A token that was revoked is refused also while it is remembered
//! as checked: the host's set of revoked ids is asked again whenever it has changed.
//!
//! A path that matches no route passes, since the handler answers 404; a route that is not in
//! the table is closed. The plugin may only fail closed.

mod base64url;
mod cache;
mod config;
mod reply;
mod routes;
mod token;

use pillion_plugin::{
    ConfigError, Decision, Edits, HttpResponse, OnRequest, Plugin, fields, revocations,
};

pub use crate::config::{Access, Config, Partner};
use crate::{
    cache::{Cache, Checked},
    routes::{Rule, Table},
    token::{TokenError, Verifier},
};

/// The plugin.
#[derive(Debug)]
pub struct Auth {
    config: Config,
    table: Table,
    cache: Cache,
    verifier: Verifier,
}

fields! {
    /// What the request phase sees.
    #[derive(Debug)]
    pub struct Seen<'a> {
        method: &'a str = "method",
        route: Option<&'a str> = "route",
        authorization: Option<&'a [u8]> = "header:authorization",
        now_us: u64 = "time",
    }
}

impl Plugin for Auth {
    type Config = Config;

    const GRANTS: &'static [&'static str] = &["crypto", "identity", "revocations"];

    fn new(mut config: Config) -> Result<Self, Vec<ConfigError>> {
        let mut errors = config.errors();
        let table = match Table::new(std::mem::take(&mut config.routes)) {
            Ok(table) if errors.is_empty() => table,
            Ok(_) => return Err(errors),
            Err(more) => {
                errors.extend(more);
                return Err(errors);
            }
        };
        let cache = Cache::new(config.cache_entries as usize, config.cache_bytes as usize);
        Ok(Self { config, table, cache, verifier: Verifier::default() })
    }
}

impl OnRequest for Auth {
    type Fields<'a> = Seen<'a>;

    fn on_request(&mut self, seen: Seen<'_>) -> Decision {
        let Some(route) = seen.route else {
            return Decision::Continue;
        };
        let Some(rule) = self.table.rule(seen.method, route) else {
            return reply::unlisted(seen.method, route).into();
        };
        if rule == Rule::Public {
            return Decision::Continue;
        }
        match bearer(seen.authorization) {
            Credentials::None => reply::no_token(&self.config.audience).into(),
            Credentials::OtherScheme => self.invalid(OTHER_SCHEME).into(),
            Credentials::Malformed => self.invalid(MALFORMED).into(),
            Credentials::Token(token) => match self.check(token, seen.now_us, rule) {
                Ok(edits) => edits.into(),
                Err(response) => response.into(),
            },
        }
    }
}

impl Auth {
    fn invalid(&self, detail: &str) -> HttpResponse {
        reply::invalid(&self.config.audience, detail)
    }

    /// Checks a token against what its route needs.
    fn check(&mut self, token: &[u8], now_us: u64, rule: Rule) -> Result<Edits, HttpResponse> {
        // Loaded before the check, so that a change during it leads to another check.
        let revision = revocations::revision();
        if let Some(checked) = self.cache.get(token, now_us) {
            return admit(&self.config, &self.table, rule, checked, revision);
        }
        // Not before: it takes longer than finding the token.
        if !token.iter().all(u8::is_ascii_graphic) {
            return Err(self.invalid(MALFORMED));
        }
        let verified = self
            .verifier
            .verify(&self.config, token, now_us)
            .map_err(|error| reply::refused(&self.config.audience, &error))?;
        let ttl_us = u64::from(self.config.cache_ttl_s) * 1_000_000;
        let until_us = verified.expires_us.min(now_us.saturating_add(ttl_us));
        let scopes = self.table.scopes(&verified.caller.scopes);
        let mut checked = Checked { verified, scopes, not_revoked_at: None };
        let admitted = admit(&self.config, &self.table, rule, &mut checked, revision);
        self.cache.insert(token, checked, now_us, until_us);
        admitted
    }
}

fn admit(
    config: &Config,
    table: &Table,
    rule: Rule,
    checked: &mut Checked,
    revision: u64,
) -> Result<Edits, HttpResponse> {
    if checked.not_revoked_at != Some(revision) {
        let ids: Vec<&str> = checked.verified.ids.iter().map(String::as_str).collect();
        if revocations::is_revoked(&ids) {
            return Err(reply::refused(&config.audience, &TokenError::Revoked));
        }
        checked.not_revoked_at = Some(revision);
    }
    match rule.admits(checked.verified.kind, checked.scopes) {
        Ok(()) => Ok(Edits::new().caller(checked.verified.caller.clone())),
        Err(denial) => {
            let needed = match denial {
                routes::Denial::Scopes(scopes) => table.names(scopes),
                routes::Denial::NeedsUser => String::new(),
            };
            Err(reply::denied(&config.audience, denial, &needed))
        }
    }
}

const OTHER_SCHEME: &str =
    "The header `Authorization` has another scheme: `Bearer TOKEN` is accepted.";
const MALFORMED: &str =
    "The header `Authorization` must be `Bearer`, spaces, and one token without spaces.";

/// What an `authorization` header holds.
enum Credentials<'a> {
    None,
    /// What follows `Bearer` and its spaces. Whether it can be a token is not yet known.
    Token(&'a [u8]),
    Malformed,
    /// Such as `Basic`.
    OtherScheme,
}

fn bearer(header: Option<&[u8]>) -> Credentials<'_> {
    const SCHEME: &[u8] = b"bearer";
    let Some(header) = header else {
        return Credentials::None;
    };
    match header.split_at_checked(SCHEME.len()) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(SCHEME) => match rest {
            // One or more spaces (RFC 9110, 11.4).
            [b' ', ..] => match rest.iter().position(|byte| *byte != b' ') {
                Some(begin) => Credentials::Token(rest.get(begin..).unwrap_or_default()),
                None => Credentials::Malformed,
            },
            [] => Credentials::Malformed,
            _ => Credentials::OtherScheme,
        },
        _ if header.is_empty() => Credentials::Malformed,
        _ => Credentials::OtherScheme,
    }
}

pillion_plugin::export!(Auth: request);

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
