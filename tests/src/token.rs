//! Access tokens as an attacker or another issuer would make them.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use ring::hmac;
use serde_json::{Value, json};

/// The secret behind the key `test` of every [`crate::system::System`].
pub const SECRET: &[u8] = b"a secret of the test suite, 32 bytes or more";

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "tokens are checked against the real time")]
pub fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("the clock is past 1970")
        .as_secs()
}

/// Claims that the auth plugin accepts, for a user with the scopes to read and write tweets.
pub fn claims(user_id: &str) -> Value {
    json!({
        "iss": "pillion", "aud": "pillion-api", "sub": user_id, "client_id": "pillion",
        "scope": "tweet.read tweet.write users.read", "jti": "test",
        "iat": now(), "nbf": now(), "exp": now() + 600,
    })
}

/// The header that the auth plugin accepts.
pub fn header() -> Value {
    json!({ "alg": "HS256", "typ": "at+jwt", "kid": "test" })
}

/// Signs with HS256 and [`SECRET`], whatever the header says.
pub fn sign(header: &Value, claims: &Value) -> String {
    sign_with(SECRET, header, claims)
}

/// Signs with HS256 and a secret of one's own.
pub fn sign_with(secret: &[u8], header: &Value, claims: &Value) -> String {
    let body =
        format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, body.as_bytes());
    format!("{body}.{}", BASE64.encode(tag.as_ref()))
}

/// Claims or a header with one member changed; `null` takes it away.
#[must_use]
pub fn with(mut object: Value, member: &str, value: Value) -> Value {
    let map = object.as_object_mut().expect("an object");
    if value.is_null() {
        map.remove(member);
    } else {
        map.insert(member.to_owned(), value);
    }
    object
}
