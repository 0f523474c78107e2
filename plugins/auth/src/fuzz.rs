//! Any bearer token is taken or refused, and the second time, when the cache knows it, as the first.

use pillion_plugin::{
    Decision,
    crypto::Algorithm,
    testing::{self, Request},
};

use crate::{Auth, base64url};

const CONFIG: &str = r#"{
    "cache_entries": 8,
    "routes": { "GET /2/tweets/{id}": { "scopes": ["tweet.read"], "app": true } }
}"#;

fn ask(auth: &mut Auth, token: &[u8]) -> Decision {
    let authorization = [b"Bearer ", token].concat();
    let request = Request::get("/2/tweets/1").route("/2/tweets/{id}");
    request.header("authorization", authorization).on_request(auth)
}

#[test]
fn fuzz_token() {
    testing::reset();
    testing::add_key("access-tokens", "ed", Algorithm::Ed25519, &[7; 32]);
    testing::add_key("access-tokens", "service-1", Algorithm::Ed25519, &[8; 32]);
    let mut auth: Auth = testing::configure(CONFIG).unwrap();
    pillion_fuzz::run("token", |input| {
        // As it is, and as what a key has signed: otherwise nothing gets past the signature.
        let mut parts = input.splitn(2, |byte| *byte == b'\n');
        let (header, claims) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let message = format!("{}.{}", base64url::encode(header), base64url::encode(claims));
        let mut tokens = vec![input.to_vec()];
        for key in ["ed", "service-1"] {
            let signature = testing::sign("access-tokens", key, message.as_bytes());
            tokens.push(format!("{message}.{}", base64url::encode(&signature)).into_bytes());
        }
        for token in tokens {
            let first = ask(&mut auth, &token);
            assert_eq!(format!("{first:?}"), format!("{:?}", ask(&mut auth, &token)));
            let Decision::Modify(edits) = first else { continue };
            // Who was let in is who the claims name.
            // A claim that is nobody's business may be one that JSON's own type has no room for.
            let Ok(claims) = serde_json::from_slice::<serde_json::Value>(claims) else { continue };
            let caller = edits.caller.unwrap();
            assert_eq!(claims["client_id"], caller.client_id.as_str());
            assert_eq!(claims["iss"], "pillion");
            assert!(caller.user_id.is_none_or(|user_id| claims["sub"] == user_id.as_str()));
        }
    });
}
