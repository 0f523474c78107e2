//! Access tokens: signed JWTs of RFC 9068, every check.

use std::borrow::Cow;

use pillion_plugin::{
    Caller,
    crypto::{self, Algorithm, VerifyError},
    log,
    timestamp::rfc3339,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    base64url::{self, NotBase64},
    config::Config,
    routes::Kind,
};

/// How far the clocks of issuer and host may be apart.
const LEEWAY_S: f64 = 5.0;

/// Longer ones are refused unread. Ours have about 400 bytes.
pub(crate) const TOKEN_BYTES_MAX: usize = 4 << 10;

/// What ids of the keys begin with that services have for themselves. All hosts have them, so they
/// sign for services and never for a user or an application.
const SERVICE_KEY_PREFIX: &str = "service-";

/// How much of a value that a client sent is repeated to it.
const QUOTED_CHARS_MAX: usize = 64;

/// What a token says, once everything has been checked.
#[derive(Debug, PartialEq)]
pub(crate) struct Verified {
    pub(crate) caller: Caller,
    pub(crate) kind: Kind,
    /// When it stops being valid, leeway included; microseconds since 1970.
    pub(crate) expires_us: u64,
}

/// Why a token is refused. The text is shown to the client.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("The access token is longer than {TOKEN_BYTES_MAX} bytes.")]
    TooLong,
    #[error("The access token is not three parts of base64url joined by dots.")]
    Shape,
    #[error("The access token's header is not the JSON object that it must be.")]
    Header,
    #[error("The access token's type (typ) must be at+jwt, not {0}.")]
    Type(String),
    #[error("The access token is signed with {0}; EdDSA and HS256 are accepted.")]
    Algorithm(String),
    #[error("The access token's header requires extensions (crit), and none are supported.")]
    Critical,
    #[error("The access token names no key (kid).")]
    NoKey,
    #[error("The access token is signed with the unknown key {0}.")]
    UnknownKey(String),
    #[error("The access token's key {0} is for another algorithm than it names.")]
    WrongAlgorithm(String),
    #[error("The access token's signature is wrong.")]
    Signature,
    #[error("The access token's claims are not the JSON object that they must be.")]
    Claims,
    #[error("The access token lacks the claim {0}.")]
    Missing(&'static str),
    #[error("The access token's claim {0} is not a time.")]
    NotATime(&'static str),
    #[error("The access token expired at {0}.")]
    Expired(String),
    #[error("The access token is not valid before {0}.")]
    NotYet(String),
    #[error("The access token was issued by {0}, which is not accepted here.")]
    Issuer(String),
    #[error("The access token is meant for another audience.")]
    Audience,
    #[error("The access token's subject is neither a user nor its own application.")]
    Subject,
    #[error("The access token is signed with a key that is for services only.")]
    ServiceKey,
    #[error("The access token is a service's, and is not signed with a key of services.")]
    NotOfServices,
    /// The operator's mistake, not the client's.
    #[error("Access tokens cannot be checked now.")]
    NotGranted,
}

impl From<NotBase64> for TokenError {
    fn from(_: NotBase64) -> Self {
        Self::Shape
    }
}

/// `jku`, `jwk`, `x5u` and the like are left out on purpose: a key comes from our key set only.
#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    alg: Option<Cow<'a, str>>,
    #[serde(borrow)]
    typ: Option<Cow<'a, str>>,
    #[serde(borrow)]
    kid: Option<Cow<'a, str>>,
    #[serde(borrow)]
    crit: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Claims<'a> {
    #[serde(borrow)]
    iss: Option<Cow<'a, str>>,
    #[serde(borrow)]
    aud: Option<Audience<'a>>,
    #[serde(borrow)]
    sub: Option<Cow<'a, str>>,
    #[serde(borrow)]
    client_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    scope: Option<Cow<'a, str>>,
    #[serde(borrow)]
    nbf: Option<&'a RawValue>,
    #[serde(borrow)]
    exp: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience<'a> {
    #[serde(borrow)]
    One(Cow<'a, str>),
    #[serde(borrow)]
    Many(Vec<Cow<'a, str>>),
}

/// Checks tokens; keeps the buffers that this takes.
#[derive(Debug, Default)]
pub(crate) struct Verifier {
    part: Vec<u8>,
    signature: Vec<u8>,
}

impl Verifier {
    /// Checks everything about `token` at the time `now_us`, microseconds since 1970.
    pub(crate) fn verify(
        &mut self,
        config: &Config,
        token: &[u8],
        now_us: u64,
    ) -> Result<Verified, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong);
        }
        let mut dots =
            token.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at);
        let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
            return Err(TokenError::Shape);
        };
        let (signed, rest) = token.split_at_checked(second).ok_or(TokenError::Shape)?;
        let (header, claims) = signed.split_at_checked(first).ok_or(TokenError::Shape)?;
        let claims = claims.strip_prefix(b".").ok_or(TokenError::Shape)?;
        let signature = rest.strip_prefix(b".").ok_or(TokenError::Shape)?;
        base64url::decode_into(signature, &mut self.signature)?;
        base64url::decode_into(header, &mut self.part)?;
        let whose = check_signature(config, &self.part, signed, &self.signature)?;
        base64url::decode_into(claims, &mut self.part)?;
        let verified = check_claims(config, &self.part, now_us)?;
        match (whose, verified.kind == Kind::Service) {
            (Signer::Service, true) | (Signer::Issuer, false) => Ok(verified),
            (Signer::Service, false) => Err(TokenError::ServiceKey),
            // A partner's key is good for users and applications, and never for what services do.
            (Signer::Issuer, true) => Err(TokenError::NotOfServices),
        }
    }
}

/// Whose key it was.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Signer {
    /// Identity's, or a partner's.
    Issuer,
    /// The one that services have for themselves.
    Service,
}

fn check_signature(
    config: &Config,
    header: &[u8],
    signed: &[u8],
    signature: &[u8],
) -> Result<Signer, TokenError> {
    let header: Header<'_> = serde_json::from_slice(header).map_err(|_| TokenError::Header)?;
    let algorithm = match header.alg.as_deref() {
        Some("EdDSA") => Algorithm::Ed25519,
        Some("HS256") => Algorithm::HmacSha256,
        other => return Err(TokenError::Algorithm(quote(other))),
    };
    match header.typ.as_deref() {
        Some(typ)
            if typ.eq_ignore_ascii_case("at+jwt")
                || typ.eq_ignore_ascii_case("application/at+jwt") => {}
        other => return Err(TokenError::Type(quote(other))),
    }
    if header.crit.is_some() {
        return Err(TokenError::Critical);
    }
    let kid = header.kid.as_deref().filter(|kid| !kid.is_empty()).ok_or(TokenError::NoKey)?;
    crypto::verify(&config.keyset, kid, algorithm, signed, signature).map_err(|error| match error {
        VerifyError::UnknownKey => TokenError::UnknownKey(quote(Some(kid))),
        VerifyError::WrongAlgorithm => TokenError::WrongAlgorithm(quote(Some(kid))),
        VerifyError::BadSignature => TokenError::Signature,
        VerifyError::NotGranted => {
            log::error(&format!(
                "the key set `{0}` is not granted: grant `crypto:{0}`, or name another as `keyset`",
                config.keyset
            ));
            TokenError::NotGranted
        }
    })?;
    Ok(if kid.starts_with(SERVICE_KEY_PREFIX) { Signer::Service } else { Signer::Issuer })
}

fn check_claims(config: &Config, claims: &[u8], now_us: u64) -> Result<Verified, TokenError> {
    let claims: Claims<'_> = serde_json::from_slice(claims).map_err(|_| TokenError::Claims)?;
    #[expect(clippy::cast_precision_loss, reason = "exact up to the year 2255")]
    let now = now_us as f64 / 1e6;
    let exp = time("exp", claims.exp)?;
    if now >= exp + LEEWAY_S {
        return Err(TokenError::Expired(show(exp)));
    }
    let nbf = time("nbf", claims.nbf)?;
    if now + LEEWAY_S < nbf {
        return Err(TokenError::NotYet(show(nbf)));
    }
    let iss = claims.iss.ok_or(TokenError::Missing("iss"))?;
    if iss != config.issuer {
        return Err(TokenError::Issuer(quote(Some(&iss))));
    }
    let meant = match claims.aud.ok_or(TokenError::Missing("aud"))? {
        Audience::One(aud) => aud == config.audience,
        Audience::Many(auds) => auds.iter().any(|aud| *aud == config.audience),
    };
    if !meant {
        return Err(TokenError::Audience);
    }
    let sub = claims.sub.filter(|sub| !sub.is_empty()).ok_or(TokenError::Missing("sub"))?;
    let client_id =
        claims.client_id.filter(|id| !id.is_empty()).ok_or(TokenError::Missing("client_id"))?;
    let scopes = claims.scope.unwrap_or_default().into_owned();
    let kind = if sub != client_id {
        if !sub.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(TokenError::Subject);
        }
        Kind::User
    } else if client_id.starts_with("service:") {
        Kind::Service
    } else {
        Kind::App { scoped: !scopes.is_empty() }
    };
    let user_id = (kind == Kind::User).then(|| sub.into_owned());
    let caller = Caller { user_id, client_id: client_id.into_owned(), scopes };
    Ok(Verified { caller, kind, expires_us: micros(exp + LEEWAY_S) })
}

/// A claim that holds seconds since 1970, perhaps with a fraction.
fn time(name: &'static str, raw: Option<&RawValue>) -> Result<f64, TokenError> {
    let raw = raw.ok_or(TokenError::Missing(name))?;
    match raw.get().parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => Ok(seconds),
        _ => Err(TokenError::NotATime(name)),
    }
}

fn micros(seconds: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates, and the number is not negative"
    )]
    let micros = (seconds * 1e6) as u64;
    micros
}

fn show(seconds: f64) -> String {
    format!("{:.0}", rfc3339(micros(seconds)))
}

/// What a client sent, shortened and fit to be shown.
fn quote(text: Option<&str>) -> String {
    let Some(text) = text else {
        return "none".to_owned();
    };
    let safe = |char: char| {
        if char.is_ascii_graphic() && !matches!(char, '"' | '\\') { char } else { '?' }
    };
    let mut quoted: String = text.chars().take(QUOTED_CHARS_MAX).map(safe).collect();
    if text.chars().nth(QUOTED_CHARS_MAX).is_some() {
        quoted.push_str("...");
    }
    quoted
}
