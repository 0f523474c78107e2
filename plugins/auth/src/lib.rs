//! The auth plugin: checks access tokens, holds each route to its scopes, and tells later
//! plugins and the handler who the caller is.
//!
//! A path that matches no route passes, since the handler answers 404; a route that is not in
//! the table is closed. The plugin may only fail closed.

mod base64url;
mod cache;
mod config;
mod reply;
mod routes;
mod token;

use pillion_plugin::{ConfigError, Decision, Edits, HttpResponse, OnRequest, Plugin, fields};

pub use crate::config::{Access, Config};
use crate::{
    cache::{Cache, Checked},
    routes::{Rule, Table},
    token::Verifier,
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

    const GRANTS: &'static [&'static str] = &["crypto", "identity"];

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
        match (bearer(seen.authorization), rule) {
            (Credentials::None | Credentials::OtherScheme, Rule::Public) => Decision::Continue,
            (Credentials::None, _) => reply::no_token(&self.config.audience).into(),
            (Credentials::OtherScheme, _) => self.invalid(OTHER_SCHEME).into(),
            (Credentials::Malformed, _) => self.invalid(MALFORMED).into(),
            (Credentials::Token(token), rule) => match self.check(token, seen.now_us, rule) {
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
        if let Some(checked) = self.cache.get(token, now_us) {
            return admit(&self.config, &self.table, rule, checked);
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
        let checked = Checked { verified, scopes };
        let admitted = admit(&self.config, &self.table, rule, &checked);
        self.cache.insert(token, checked, now_us, until_us);
        admitted
    }
}

fn admit(
    config: &Config,
    table: &Table,
    rule: Rule,
    checked: &Checked,
) -> Result<Edits, HttpResponse> {
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
    "The header `Authorization` must be `Bearer`, one space, and one token without spaces.";

/// What an `authorization` header holds.
enum Credentials<'a> {
    None,
    /// What follows `Bearer` and a space. Whether it can be a token is not yet known.
    Token(&'a [u8]),
    Malformed,
    /// Such as `Basic`, which public routes may want for themselves.
    OtherScheme,
}

fn bearer(header: Option<&[u8]>) -> Credentials<'_> {
    const SCHEME: &[u8] = b"bearer";
    let Some(header) = header else {
        return Credentials::None;
    };
    match header.split_at_checked(SCHEME.len()) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(SCHEME) => match rest {
            [b' ', token @ ..] if !token.is_empty() => Credentials::Token(token),
            [b' ', ..] | [] => Credentials::Malformed,
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
