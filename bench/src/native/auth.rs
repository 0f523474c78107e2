//! Access tokens: signed JWTs of RFC 9068, checked as the auth plugin checks them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderValue, Method, StatusCode, header};
use ring::hmac;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Refusal;
use crate::wasm::Tokens;
use crate::workload::{AUDIENCE, CACHE_ENTRIES, CACHE_TTL_S, ISSUER, KID, ROUTES, SECRET};

/// How far the clocks of issuer and server may be apart.
const LEEWAY_S: f64 = 60.0;

/// Longer tokens are refused unread.
const TOKEN_BYTES_MAX: usize = 4 << 10;

/// Who makes a request; an extension for the handler.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) user_id: Option<String>,
    pub(super) client_id: String,
    pub(super) scopes: String,
}

/// A token that was checked.
#[derive(Clone, Debug)]
struct Checked {
    caller: Arc<Caller>,
    until_us: u64,
}

/// The scopes that routes need, the keys, and the tokens that were checked.
#[derive(Debug)]
pub(super) struct Auth {
    rules: HashMap<&'static str, Vec<(Method, &'static [&'static str])>>,
    keys: HashMap<&'static str, hmac::Key>,
    /// Emptied when it is full.
    cache: Option<RwLock<HashMap<Box<[u8]>, Checked>>>,
}

/// Why a token is refused.
type Reason = &'static str;

#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow)]
    typ: Cow<'a, str>,
    #[serde(borrow)]
    kid: Cow<'a, str>,
    crit: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Claims<'a> {
    #[serde(borrow)]
    iss: Cow<'a, str>,
    #[serde(borrow)]
    aud: Audience<'a>,
    #[serde(borrow)]
    sub: Cow<'a, str>,
    #[serde(borrow)]
    client_id: Cow<'a, str>,
    #[serde(borrow, default)]
    scope: Cow<'a, str>,
    nbf: f64,
    exp: f64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience<'a> {
    #[serde(borrow)]
    One(Cow<'a, str>),
    Many(Vec<String>),
}

impl Auth {
    pub(super) fn new(tokens: Tokens) -> Self {
        let mut rules: HashMap<_, Vec<_>> = HashMap::new();
        for route in ROUTES {
            let methods = rules.entry(route.template).or_default();
            methods.push((route.method, route.scopes));
        }
        Self {
            rules,
            keys: HashMap::from([(KID, hmac::Key::new(hmac::HMAC_SHA256, SECRET))]),
            cache: (tokens == Tokens::Cache).then(RwLock::default),
        }
    }

    /// Who the caller is, if that is enough for the route.
    pub(super) fn check(
        &self,
        method: &Method,
        route: &str,
        authorization: Option<&HeaderValue>,
        now_us: u64,
    ) -> Result<Arc<Caller>, Refusal> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let needed = self
            .rules
            .get(route)
            .and_then(|methods| methods.iter().find(|(known, _)| known == method))
            .map(|(_, scopes)| *scopes)
            .ok_or_else(|| closed(method, route))?;
        let Some(authorization) = authorization else {
            return Err(unauthorized("This route needs an access token.", None));
        };
        let token = bearer(authorization.as_bytes()).ok_or_else(|| {
            unauthorized("The header `Authorization` is not `Bearer TOKEN`.", INVALID)
        })?;
        let caller = self.caller(token, now_us).map_err(|reason| unauthorized(reason, INVALID))?;
        // Every route of this table wants a user.
        if caller.user_id.is_none() {
            return Err(forbidden("This route needs a user.".to_owned(), None));
        }
        let held = |scope: &&str| caller.scopes.split(' ').any(|held| held == *scope);
        if needed.iter().all(held) {
            Ok(caller)
        } else {
            let detail =
                format!("The access token lacks scopes: this route needs {}.", needed.join(" "));
            Err(forbidden(detail, Some("insufficient_scope")))
        }
    }

    fn caller(&self, token: &[u8], now_us: u64) -> Result<Arc<Caller>, Reason> {
        let Some(cache) = &self.cache else {
            return self.verify(token, now_us).map(|checked| checked.caller);
        };
        let known = cache.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(token).filter(|known| now_us < known.until_us) {
            return Ok(known.caller.clone());
        }
        drop(known);
        let mut checked = self.verify(token, now_us)?;
        let ttl_us = u64::from(CACHE_TTL_S) * 1_000_000;
        checked.until_us = checked.until_us.min(now_us.saturating_add(ttl_us));
        let mut known = cache.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CACHE_ENTRIES as usize {
            known.clear();
        }
        known.insert(token.into(), checked.clone());
        drop(known);
        Ok(checked.caller)
    }

    fn verify(&self, token: &[u8], now_us: u64) -> Result<Checked, Reason> {
        const SHAPE: Reason = "The access token is not three parts of base64url.";
        if token.len() > TOKEN_BYTES_MAX {
            return Err("The access token is too long.");
        }
        let second = token.iter().rposition(|byte| *byte == b'.').ok_or(SHAPE)?;
        let (signed, signature) = token.split_at_checked(second).ok_or(SHAPE)?;
        let first = signed.iter().position(|byte| *byte == b'.').ok_or(SHAPE)?;
        let (header, claims) = signed.split_at_checked(first).ok_or(SHAPE)?;
        let decode = |part: &[u8]| URL_SAFE_NO_PAD.decode(part).map_err(|_| SHAPE);
        let behind_dot = |part: &[u8]| decode(part.get(1..).unwrap_or_default());
        self.check_signature(&decode(header)?, signed, &behind_dot(signature)?)?;
        check_claims(&behind_dot(claims)?, now_us)
    }

    fn check_signature(
        &self,
        header: &[u8],
        signed: &[u8],
        signature: &[u8],
    ) -> Result<(), Reason> {
        let header: Header<'_> =
            serde_json::from_slice(header).map_err(|_| "The access token's header is wrong.")?;
        if header.alg != "HS256" {
            return Err("The access token is signed with another algorithm.");
        }
        let typ = header.typ;
        if !typ.eq_ignore_ascii_case("at+jwt") && !typ.eq_ignore_ascii_case("application/at+jwt") {
            return Err("The access token is of another type.");
        }
        if header.crit.is_some() {
            return Err("The access token requires extensions.");
        }
        let key = self.keys.get(&*header.kid).ok_or("The access token's key is unknown.")?;
        hmac::verify(key, signed, signature).map_err(|_| "The access token's signature is wrong.")
    }
}

fn check_claims(claims: &[u8], now_us: u64) -> Result<Checked, Reason> {
    let claims: Claims<'_> =
        serde_json::from_slice(claims).map_err(|_| "The access token's claims are wrong.")?;
    #[expect(clippy::cast_precision_loss, reason = "exact up to the year 2255")]
    let now = now_us as f64 / 1e6;
    if claims.exp < 0.0 || now >= claims.exp + LEEWAY_S {
        return Err("The access token has expired.");
    }
    if claims.nbf < 0.0 || now + LEEWAY_S < claims.nbf {
        return Err("The access token is not valid yet.");
    }
    if claims.iss != ISSUER {
        return Err("The access token was issued by somebody else.");
    }
    let meant = match &claims.aud {
        Audience::One(audience) => audience == AUDIENCE,
        Audience::Many(audiences) => audiences.iter().any(|audience| audience == AUDIENCE),
    };
    if !meant {
        return Err("The access token is meant for another audience.");
    }
    let (sub, client_id) = (claims.sub, claims.client_id);
    if sub.is_empty() || client_id.is_empty() {
        return Err("The access token names nobody.");
    }
    let is_user = sub != client_id;
    if is_user && !sub.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("The access token's subject is neither a user nor its own application.");
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, and is not negative"
    )]
    let until_us = ((claims.exp + LEEWAY_S) * 1e6) as u64;
    Ok(Checked {
        caller: Arc::new(Caller {
            user_id: is_user.then(|| sub.into_owned()),
            client_id: client_id.into_owned(),
            scopes: claims.scope.into_owned(),
        }),
        until_us,
    })
}

fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(b"bearer ".len())?;
    let good = scheme.eq_ignore_ascii_case(b"bearer ")
        && !token.is_empty()
        && token.iter().all(u8::is_ascii_graphic);
    good.then_some(token)
}

/// RFC 6750's error code for a token that is not good.
const INVALID: Option<&str> = Some("invalid_token");

fn unauthorized(detail: &str, error: Option<&str>) -> Refusal {
    Refusal {
        status: StatusCode::UNAUTHORIZED,
        title: "Unauthorized",
        detail: detail.to_owned(),
        headers: vec![challenge(detail, error)],
    }
}

fn forbidden(detail: String, error: Option<&str>) -> Refusal {
    let headers = vec![challenge(&detail, error)];
    Refusal { status: StatusCode::FORBIDDEN, title: "Forbidden", detail, headers }
}

fn closed(method: &Method, route: &str) -> Refusal {
    Refusal {
        status: StatusCode::FORBIDDEN,
        title: "Forbidden",
        detail: format!("{method} {route} is closed: it is not in the table of routes."),
        headers: Vec::new(),
    }
}

fn challenge(detail: &str, error: Option<&str>) -> (http::HeaderName, HeaderValue) {
    let text = match error {
        None => format!("Bearer realm=\"{AUDIENCE}\""),
        Some(error) => format!(
            "Bearer realm=\"{AUDIENCE}\", error=\"{error}\", error_description=\"{detail}\""
        ),
    };
    let value = HeaderValue::try_from(text);
    let plain = HeaderValue::from_static("Bearer");
    (header::WWW_AUTHENTICATE, value.unwrap_or(plain))
}
