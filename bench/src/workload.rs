//! What the servers are asked, and what all of them have to check: routes, tokens, limits.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderValue, Method, Request, header};
use ring::hmac;
use serde_json::json;

use crate::clock;

/// The service whose chain of plugins runs.
pub const SERVICE: &str = "bench";

pub(crate) const ISSUER: &str = "pillion";
pub(crate) const AUDIENCE: &str = "pillion-api";
pub(crate) const KEYSET: &str = "access-tokens";
pub(crate) const KID: &str = "bench-1";
pub(crate) const SECRET: &[u8; 32] = b"a key for benchmarks, never used";
pub(crate) const SINK: &str = "access";

/// Users that take turns: each has a token and a window of its own.
pub(crate) const USERS: u64 = 64;

/// Tokens that either side remembers, and for how long.
pub(crate) const CACHE_ENTRIES: u32 = 1_024;
pub(crate) const CACHE_TTL_S: u32 = 60;

/// Requests that a user has in a window: more than any run can send.
pub(crate) const LIMIT: u32 = 1_000_000_000;
pub(crate) const WINDOW_S: u32 = 900;

/// How long tokens live: longer than any run.
const TOKEN_LIFE_S: u64 = 86_400;

/// A route and the scopes that it needs.
pub(crate) struct Guarded {
    pub(crate) method: Method,
    pub(crate) template: &'static str,
    pub(crate) scopes: &'static [&'static str],
}

const READ: &[&str] = &["tweet.read", "users.read"];
const WRITE: &[&str] = &["tweet.read", "tweet.write", "users.read"];

/// The routes of an API like the one that Pillion serves.
pub(crate) const ROUTES: [Guarded; 10] = [
    guarded(Method::GET, "/2/users", READ),
    guarded(Method::GET, "/2/users/by", READ),
    guarded(Method::GET, "/2/users/by/username/{username}", READ),
    guarded(Method::GET, "/2/users/me", READ),
    guarded(Method::GET, "/2/users/{id}", READ),
    guarded(Method::GET, "/2/users/{id}/tweets", READ),
    guarded(Method::POST, "/2/tweets", WRITE),
    guarded(Method::GET, "/2/tweets", READ),
    guarded(Method::GET, "/2/tweets/{id}", READ),
    guarded(Method::DELETE, "/2/tweets/{id}", WRITE),
];

const fn guarded(
    method: Method,
    template: &'static str,
    scopes: &'static [&'static str],
) -> Guarded {
    Guarded { method, template, scopes }
}

/// What the load asks for.
const PATH: &str = "/2/tweets/1767225600000000001";

/// The id of a user.
pub(crate) fn user_id(user: u64) -> u64 {
    1_900_000_000_000_000_000 + user
}

/// An access token for a user, good from `now_us` on.
pub(crate) fn token(user: u64, scope: &str, now_us: u64, secret: &[u8]) -> String {
    let issued = now_us / 1_000_000;
    let header = json!({ "alg": "HS256", "typ": "at+jwt", "kid": KID });
    let claims = json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": user_id(user).to_string(),
        "client_id": "bench-client",
        "scope": scope,
        "iat": issued,
        "nbf": issued,
        "exp": issued + TOKEN_LIFE_S,
        "jti": format!("jti-{user:016x}"),
    });
    let signed = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signature = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The scopes of an ordinary user's token.
pub(crate) const SCOPE: &str = "tweet.read tweet.write users.read follows.read offline.access";

/// What a browser sends besides `authorization`; together 20 headers.
const HEADERS: [(&str, &str); 19] = [
    ("host", "127.0.0.1"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("accept", "application/json, text/plain, */*"),
    ("accept-language", "en-GB,en;q=0.9,de;q=0.7"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("cache-control", "no-cache"),
    ("cookie", "theme=dark; session=8f14e45fceea167a5a36dedd4bea2543"),
    ("dnt", "1"),
    ("origin", "https://app.example.com"),
    ("pragma", "no-cache"),
    ("priority", "u=1, i"),
    ("referer", "https://app.example.com/home"),
    ("sec-ch-ua", "\"Chromium\";v=\"140\", \"Not=A?Brand\";v=\"24\""),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", "\"Linux\""),
    ("sec-fetch-dest", "empty"),
    ("sec-fetch-mode", "cors"),
    ("sec-fetch-site", "same-site"),
    ("x-tenant", "tenant-0042"),
];

/// A whole request as bytes, without a token when `authorization` is `None`.
pub(crate) fn bytes(method: &str, path: &str, authorization: Option<&str>) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\n");
    let token = authorization.map(|value| ("authorization", value));
    for (name, value) in HEADERS.into_iter().chain(token) {
        text.push_str(name);
        text.push_str(": ");
        text.push_str(value);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// The load: one request for each user.
pub(crate) fn requests(now_us: u64) -> Vec<Vec<u8>> {
    (0..USERS)
        .map(|user| {
            let token = token(user, SCOPE, now_us, SECRET);
            bytes("GET", PATH, Some(&format!("Bearer {token}")))
        })
        .collect()
}

/// What the load sends, for a service that is called directly.
pub fn authorized() -> http::Result<Request<()>> {
    let token = token(0, SCOPE, clock::now_us(), SECRET);
    let mut request = request([])?;
    let value = HeaderValue::try_from(format!("Bearer {token}"))?;
    request.headers_mut().insert(header::AUTHORIZATION, value);
    Ok(request)
}

/// The same request without a token, with more headers.
pub fn request<'a>(more: impl IntoIterator<Item = &'a str>) -> http::Result<Request<()>> {
    let mut request = Request::get(PATH);
    for (name, value) in HEADERS {
        request = request.header(name, value);
    }
    for name in more {
        if !HEADERS.iter().any(|(known, _)| *known == name) {
            request = request.header(name, "a value of some length");
        }
    }
    request.body(())
}
