//! Access tokens: signed JWTs of RFC 9068, every check.

use std::{borrow::Cow, fmt};

use pillion_plugin::{
    Caller,
    crypto::{self, Algorithm, VerifyError},
    log,
    timestamp::rfc3339,
};
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::{
    base64url::{self, NotBase64},
    config::{Config, Partner},
    routes::Kind,
};

/// Longer ones are refused unread. Ours have about 400 bytes.
pub(crate) const TOKEN_BYTES_MAX: usize = 4 << 10;

/// What ids of the keys begin with that services have for themselves. All hosts have them, so they
/// sign for services and never for a user or an application.
const SERVICE_KEY_PREFIX: &str = "service-";

/// Ids by which a token can be revoked beside its own (`jti`): our tokens have up to three.
const REVOCABLE_IDS_MAX: usize = 8;

/// How much of a value that a client sent is repeated to it.
const QUOTED_CHARS_MAX: usize = 64;

/// What a token says, once everything has been checked.
#[derive(Debug, PartialEq)]
pub(crate) struct Verified {
    pub(crate) caller: Caller,
    pub(crate) kind: Kind,
    /// When it stops being valid, leeway included; microseconds since 1970.
    pub(crate) expires_us: u64,
    /// The ids by which it can be revoked.
    pub(crate) ids: Vec<String>,
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
    #[error("The access token is signed with the key {0}, which may not speak for {1}.")]
    Partner(String, String),
    #[error("The access token was revoked.")]
    Revoked,
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
    /// Present, whatever it holds: `null` too (RFC 7515, 4.1.11).
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer)?;
    Ok(true)
}

/// Parses a JSON object. Arrays are refused, which serde would take for the members in order.
fn object<'a, T: Deserialize<'a>>(json: &'a [u8], error: TokenError) -> Result<T, TokenError> {
    if json.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(error);
    }
    serde_json::from_slice(json).map_err(|_| error)
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
    #[serde(borrow)]
    iat: Option<&'a RawValue>,
    #[serde(borrow)]
    jti: Option<Cow<'a, str>>,
    /// Our own: what else the token is revoked with.
    #[serde(borrow, default)]
    rev: Vec<Cow<'a, str>>,
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
        let verified = check_claims(config, whose, &self.part, now_us)?;
        match (whose, verified.kind == Kind::Service) {
            (Signer::Service, true) | (Signer::Issuer, false) => Ok(verified),
            (Signer::Service, false) => Err(TokenError::ServiceKey),
            // A partner's key is good for users and applications, and never for what services do.
            (Signer::Issuer | Signer::Partner(..), true) => Err(TokenError::NotOfServices),
            (Signer::Partner(kid, partner), false) => check_partner(kid, partner, verified),
        }
    }
}

/// Whose key it was.
#[derive(Clone, Copy)]
enum Signer<'a> {
    /// Identity's.
    Issuer,
    /// A shared secret, by its `kid`.
    Partner(&'a str, &'a Partner),
    /// The one that services have for themselves.
    Service,
}

fn check_signature<'a>(
    config: &'a Config,
    header: &[u8],
    signed: &[u8],
    signature: &[u8],
) -> Result<Signer<'a>, TokenError> {
    let header: Header<'_> = object(header, TokenError::Header)?;
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
    if header.crit {
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
    if algorithm == Algorithm::HmacSha256 {
        let nobody = || TokenError::Partner(quote(Some(kid)), "anybody".to_owned());
        let (kid, partner) = config.partners.get_key_value(kid).ok_or_else(nobody)?;
        return Ok(Signer::Partner(kid, partner));
    }
    Ok(if kid.starts_with(SERVICE_KEY_PREFIX) { Signer::Service } else { Signer::Issuer })
}

/// Holds a partner's token to what its key may speak for.
fn check_partner(kid: &str, partner: &Partner, verified: Verified) -> Result<Verified, TokenError> {
    let refuse =
        |what: fmt::Arguments<'_>| Err(TokenError::Partner(quote(Some(kid)), what.to_string()));
    let Verified { caller, kind, .. } = &verified;
    if !Partner::lists(&partner.clients, &caller.client_id) {
        return refuse(format_args!("the client {}", quote(Some(&caller.client_id))));
    }
    if let Some(user_id) = &caller.user_id
        && !Partner::lists(&partner.users, user_id)
    {
        return refuse(format_args!("the user {}", quote(Some(user_id))));
    }
    // An application's token without scopes passes wherever applications may.
    if *kind == (Kind::App { scoped: false }) && !Partner::lists(&partner.scopes, "*") {
        return refuse(format_args!("an application without scopes"));
    }
    let mut scopes = caller.scopes.split(' ').filter(|scope| !scope.is_empty());
    match scopes.find(|scope| !Partner::lists(&partner.scopes, scope)) {
        Some(scope) => refuse(format_args!("the scope {}", quote(Some(scope)))),
        None => Ok(verified),
    }
}

fn check_claims(
    config: &Config,
    whose: Signer<'_>,
    claims: &[u8],
    now_us: u64,
) -> Result<Verified, TokenError> {
    let claims: Claims<'_> = object(claims, TokenError::Claims)?;
    let (issuer, audience) = match whose {
        Signer::Partner(_, partner) => (&partner.issuer, &partner.audience),
        Signer::Issuer | Signer::Service => (&config.issuer, &config.audience),
    };
    let leeway = f64::from(config.leeway_s);
    #[expect(clippy::cast_precision_loss, reason = "exact up to the year 2255")]
    let now = now_us as f64 / 1e6;
    let exp = time("exp", claims.exp.ok_or(TokenError::Missing("exp"))?)?;
    if now >= exp + leeway {
        return Err(TokenError::Expired(show(exp)));
    }
    // Optional both (RFC 7519, 4.1.5 and 4.1.6); a token of the future is not refused for its
    // `iat`, which only informs.
    if let Some(nbf) = claims.nbf.map(|nbf| time("nbf", nbf)).transpose()?
        && now + leeway < nbf
    {
        return Err(TokenError::NotYet(show(nbf)));
    }
    claims.iat.map(|iat| time("iat", iat)).transpose()?;
    let iss = claims.iss.ok_or(TokenError::Missing("iss"))?;
    if iss != **issuer {
        return Err(TokenError::Issuer(quote(Some(&iss))));
    }
    let meant = match claims.aud.ok_or(TokenError::Missing("aud"))? {
        Audience::One(aud) => aud == **audience,
        Audience::Many(auds) => auds.iter().any(|aud| *aud == **audience),
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
    if claims.rev.len() > REVOCABLE_IDS_MAX {
        return Err(TokenError::Claims);
    }
    let ids = claims.jti.into_iter().chain(claims.rev).map(Cow::into_owned).collect();
    Ok(Verified { caller, kind, expires_us: micros(exp + leeway), ids })
}

/// A claim that holds seconds since 1970, perhaps with a fraction.
fn time(name: &'static str, raw: &RawValue) -> Result<f64, TokenError> {
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
