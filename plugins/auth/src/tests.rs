//! The plugin on requests, natively: tokens signed with real keys, every check, every answer.

#![expect(clippy::needless_pass_by_value, reason = "a test reads better with `json!` in the call")]

mod tokens;

use std::time::Duration;

use pillion_plugin::{
    Caller, Decision, HttpResponse,
    crypto::Algorithm,
    testing::{self, Request},
};
use serde_json::{Value, json};

use crate::{Auth, base64url};

const NOW_S: u64 = testing::START_US / 1_000_000;

fn auth_with(extra: Value) -> Auth {
    testing::reset();
    testing::add_key("access-tokens", "ed", Algorithm::Ed25519, &[7; 32]);
    testing::add_key("access-tokens", "hs", Algorithm::HmacSha256, b"a secret of the operator's");
    let mut config = json!({"partners": {"hs": {
        "issuer": "pillion", "audience": "pillion-api", "scopes": ["*"], "users": ["*"],
        "clients": ["*"],
    }}, "routes": {
        "POST /2/tweets": {"scopes": ["tweet.read", "tweet.write", "users.read"]},
        "GET /2/tweets/{id}": {"scopes": ["tweet.read"], "app": true},
        "POST /pillion/v1/accounts": {"public": true},
    }});
    config.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    testing::configure(&config.to_string()).unwrap()
}

fn auth() -> Auth {
    auth_with(json!({}))
}

fn claims() -> Value {
    json!({
        "iss": "pillion", "aud": "pillion-api", "sub": "42", "client_id": "app-1",
        "scope": "tweet.read tweet.write users.read", "jti": "1",
        "iat": NOW_S, "nbf": NOW_S, "exp": NOW_S + 900,
    })
}

fn header() -> Value {
    json!({"alg": "EdDSA", "typ": "at+jwt", "kid": "ed"})
}

/// Changes keys; `null` removes one.
fn with(mut object: Value, changes: Value) -> Value {
    for (key, value) in changes.as_object().unwrap() {
        if value.is_null() {
            object.as_object_mut().unwrap().remove(key);
        } else {
            object[key] = value.clone();
        }
    }
    object
}

fn signed(kid: &str, header: &str, claims: &str) -> String {
    let message = format!(
        "{}.{}",
        base64url::encode(header.as_bytes()),
        base64url::encode(claims.as_bytes())
    );
    let signature = testing::sign("access-tokens", kid, message.as_bytes());
    format!("{message}.{}", base64url::encode(&signature))
}

fn token(claims: &Value) -> String {
    signed("ed", &header().to_string(), &claims.to_string())
}

fn post(authorization: &str) -> Request {
    Request::new("POST", "/2/tweets").route("/2/tweets").header("authorization", authorization)
}

fn get(authorization: &str) -> Request {
    Request::get("/2/tweets/1").route("/2/tweets/{id}").header("authorization", authorization)
}

fn caller(decision: Decision) -> Caller {
    match decision {
        Decision::Modify(edits) => edits.caller.expect("a caller"),
        other => panic!("{other:?}"),
    }
}

fn response(decision: Decision) -> HttpResponse {
    match decision {
        Decision::Respond(response) => response,
        other => panic!("{other:?}"),
    }
}

/// Checks that a response is a problem of X's shape, and returns its detail and challenge.
fn problem(response: &HttpResponse, status: u16, title: &str) -> (String, String) {
    let body: Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(response.get("content-type"), Some(&b"application/problem+json"[..]));
    assert_eq!((response.status, &body["status"]), (status, &json!(status)), "{body}");
    assert_eq!(body["title"], title);
    let challenge = response.get("www-authenticate").unwrap_or_default().to_vec();
    (body["detail"].as_str().unwrap().to_owned(), String::from_utf8(challenge).unwrap())
}

/// The detail of the 401 that `authorization` gets.
fn unauthorized(auth: &mut Auth, authorization: &str) -> String {
    let response = response(post(authorization).on_request(auth));
    let (detail, challenge) = problem(&response, 401, "Unauthorized");
    let quoted = detail.replace(['"', '\\'], "'");
    assert_eq!(
        challenge,
        format!(
            "Bearer realm=\"pillion-api\", error=\"invalid_token\", error_description=\"{quoted}\""
        )
    );
    detail
}

#[test]
fn good_tokens_of_both_algorithms_set_the_caller() {
    let mut auth = auth();
    let hs = signed(
        "hs",
        &with(header(), json!({"alg": "HS256", "kid": "hs"})).to_string(),
        &claims().to_string(),
    );
    for authorization in [
        format!("Bearer {}", token(&claims())),
        format!("bearer {}", token(&claims())),
        format!("BEARER {hs}"),
    ] {
        assert_eq!(
            caller(post(&authorization).on_request(&mut auth)),
            Caller {
                user_id: Some("42".into()),
                client_id: "app-1".into(),
                scopes: "tweet.read tweet.write users.read".into(),
            }
        );
    }
}

#[test]
fn details_of_headers_and_claims_that_are_also_good() {
    let mut auth = auth();
    for changes in [
        json!({"typ": "AT+JWT"}),
        json!({"typ": "application/at+jwt"}),
        json!({"jku": "https://evil.example/keys", "x5u": "https://evil.example", "jwk": {"kty": "OKP"}}),
    ] {
        let token = signed("ed", &with(header(), changes).to_string(), &claims().to_string());
        caller(post(&format!("Bearer {token}")).on_request(&mut auth));
    }
    for changes in [
        json!({"aud": ["other", "pillion-api"]}),
        json!({"exp": 1_767_225_600.5}),
        json!({"exp": NOW_S - 59}),
        json!({"nbf": NOW_S + 60}),
        json!({"nbf": null}),
        json!({"iat": null, "jti": null}),
        json!({"more": {"nested": [1, 2, {"deep": null}]}}),
    ] {
        let token = token(&with(claims(), changes));
        caller(post(&format!("Bearer {token}")).on_request(&mut auth));
    }
}

#[test]
fn no_token_gets_a_challenge_without_an_error() {
    let mut request = Request::new("POST", "/2/tweets").route("/2/tweets");
    let response = response(request.on_request(&mut auth()));
    let (detail, challenge) = problem(&response, 401, "Unauthorized");
    assert!(detail.contains("Authorization: Bearer"), "{detail}");
    assert_eq!(challenge, "Bearer realm=\"pillion-api\"");
}

#[test]
fn missing_scopes_are_named() {
    let mut auth = auth();
    let token = token(&with(claims(), json!({"scope": "tweet.read"})));
    let response = response(post(&format!("Bearer {token}")).on_request(&mut auth));
    let (detail, challenge) = problem(&response, 403, "Forbidden");
    let needed = "tweet.read tweet.write users.read";
    assert_eq!(detail, format!("The access token lacks scopes: this route needs {needed}."));
    assert_eq!(
        challenge,
        format!(
            "Bearer realm=\"pillion-api\", error=\"insufficient_scope\", \
             error_description=\"{detail}\", scope=\"{needed}\""
        )
    );
}

#[test]
fn an_application_alone_goes_where_it_may() {
    let mut auth = auth();
    let alone =
        format!("Bearer {}", token(&with(claims(), json!({"sub": "app-1", "scope": null}))));
    let expected = Caller { user_id: None, client_id: "app-1".into(), scopes: String::new() };
    assert_eq!(caller(get(&alone).on_request(&mut auth)), expected);
    let response = response(post(&alone).on_request(&mut auth));
    problem(&response, 403, "Unsupported Authentication");
    let body: Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(body["type"], "https://api.twitter.com/2/problems/unsupported-authentication");
}

#[test]
fn an_application_that_narrowed_its_scopes_is_held_to_them() {
    let mut auth = auth();
    let app = |scope: &str| {
        format!("Bearer {}", token(&with(claims(), json!({"sub": "app-1", "scope": scope}))))
    };
    let enough = app("follows.read tweet.read");
    // Twice: checked, and remembered.
    for _ in 0..2 {
        let caller = caller(get(&enough).on_request(&mut auth));
        assert_eq!((caller.user_id, &*caller.scopes), (None, "follows.read tweet.read"));
        // `follows.read` is in no route's list, and is still a scope.
        for scope in ["follows.read", "users.read"] {
            let denied = response(get(&app(scope)).on_request(&mut auth));
            let (detail, _) = problem(&denied, 403, "Forbidden");
            assert_eq!(detail, "The access token lacks scopes: this route needs tweet.read.");
        }
    }
    assert_eq!(caller(get(&app("")).on_request(&mut auth)).client_id, "app-1");
    let all = app("tweet.read tweet.write users.read");
    problem(&response(post(&all).on_request(&mut auth)), 403, "Unsupported Authentication");
}

#[test]
fn a_service_needs_the_scopes_even_where_applications_may() {
    let mut auth = auth();
    testing::add_key("access-tokens", "service-1", Algorithm::Ed25519, &[8; 32]);
    let service = |scope: &str| {
        let changes =
            json!({"sub": "service:gateway", "client_id": "service:gateway", "scope": scope});
        let header = with(header(), json!({"kid": "service-1"})).to_string();
        format!("Bearer {}", signed("service-1", &header, &with(claims(), changes).to_string()))
    };
    let denied = response(get(&service("users.read")).on_request(&mut auth));
    problem(&denied, 403, "Forbidden");
    assert_eq!(caller(get(&service("tweet.read")).on_request(&mut auth)).user_id, None);
    let all = service("tweet.read tweet.write users.read");
    assert_eq!(caller(post(&all).on_request(&mut auth)).client_id, "service:gateway");
}

#[test]
fn i01_public_routes_ignore_every_token() {
    let mut auth = auth();
    let account = || Request::new("POST", "/pillion/v1/accounts").route("/pillion/v1/accounts");
    assert_eq!(account().on_request(&mut auth), Decision::Continue);
    let good = format!("Bearer {}", token(&claims()));
    let expired = format!("Bearer {}", token(&with(claims(), json!({"exp": 1}))));
    for authorization in
        [good.as_str(), expired.as_str(), "Bearer garbage", "Bearer", "", "nonsense", "Basic YTpi"]
    {
        let ignored = account().header("authorization", authorization).on_request(&mut auth);
        assert_eq!(ignored, Decision::Continue, "{authorization}");
    }
    assert_eq!(testing::verifications(), 0);
}

#[test]
fn routes_that_are_not_listed_are_closed_and_paths_without_route_pass() {
    let mut auth = auth();
    let good = format!("Bearer {}", token(&claims()));
    let unmatched =
        Request::get("/nowhere").header("authorization", "garbage").on_request(&mut auth);
    assert_eq!(unmatched, Decision::Continue);
    let mut unlisted =
        Request::new("DELETE", "/2/tweets/1").route("/2/tweets/{id}").header("authorization", good);
    let response = response(unlisted.on_request(&mut auth));
    let (detail, _) = problem(&response, 403, "Forbidden");
    assert!(detail.starts_with("DELETE /2/tweets/{id} is closed: it is not in"), "{detail}");
}

#[test]
fn a_token_is_checked_once_while_it_is_remembered() {
    let mut auth = auth_with(json!({"cache_ttl_s": 10}));
    let good = format!("Bearer {}", token(&claims()));
    let first = caller(post(&good).on_request(&mut auth));
    for _ in 0..5 {
        assert_eq!(caller(post(&good).on_request(&mut auth)), first);
    }
    assert_eq!(testing::verifications(), 1);
    testing::advance(Duration::from_secs(10));
    caller(post(&good).on_request(&mut auth));
    assert_eq!(testing::verifications(), 2);
}

#[test]
fn a_remembered_token_still_expires_and_still_needs_scopes() {
    let mut auth = auth_with(json!({"cache_ttl_s": 900}));
    let good = format!(
        "Bearer {}",
        token(&with(claims(), json!({"exp": NOW_S + 60, "scope": "tweet.read"})))
    );
    caller(get(&good).on_request(&mut auth));
    problem(&response(post(&good).on_request(&mut auth)), 403, "Forbidden");
    assert_eq!(testing::verifications(), 1);
    testing::advance(Duration::from_micros(119_999_999));
    caller(get(&good).on_request(&mut auth));
    testing::advance(Duration::from_micros(1));
    let detail = unauthorized(&mut auth, &good);
    assert_eq!(detail, "The access token expired at 2026-01-01T00:01:00Z.");
}

#[test]
fn without_a_cache_every_signature_is_checked() {
    let mut auth = auth_with(json!({"cache_entries": 0}));
    let good = format!("Bearer {}", token(&claims()));
    for _ in 0..3 {
        caller(post(&good).on_request(&mut auth));
    }
    assert_eq!(testing::verifications(), 3);
}

#[test]
fn a_refused_token_is_never_remembered() {
    let mut auth = auth();
    let expired = format!("Bearer {}", token(&with(claims(), json!({"exp": 1}))));
    for checks in 1..4 {
        unauthorized(&mut auth, &expired);
        assert_eq!(testing::verifications(), checks);
    }
}

#[test]
fn a_key_set_that_is_not_granted_closes_and_says_so() {
    let mut auth = auth_with(json!({"keyset": "nobody"}));
    let response = response(post(&format!("Bearer {}", token(&claims()))).on_request(&mut auth));
    problem(&response, 503, "Service Unavailable");
    assert_eq!(response.get("retry-after"), Some(&b"30"[..]));
    assert!(testing::logs()[0].1.contains("grant `crypto:nobody`"));
}

#[test]
fn every_wrong_key_of_the_configuration_is_named() {
    let errors = |json: &str| -> Vec<String> {
        testing::configure::<Auth>(json).unwrap_err().into_iter().map(|error| error.key).collect()
    };
    assert_eq!(errors("{}"), ["routes"]);
    assert_eq!(errors(r#"{"routes": {}}"#), ["routes"]);
    assert_eq!(errors(r#"{"routes": {"GET /a": {"scope": []}}}"#), ["routes.GET /a.scope"]);
    assert_eq!(
        errors(
            r#"{"issuer": "", "audience": "", "keyset": "", "cache_entries": 16385,
                "cache_bytes": 8388609, "cache_ttl_s": 901, "leeway_s": 601,
                "partners": {"p": {"issuer": "", "audience": ""}}, "routes": {"GET a": {"public": true}}}"#
        ),
        [
            "issuer",
            "audience",
            "keyset",
            "cache_entries",
            "cache_bytes",
            "cache_ttl_s",
            "leeway_s",
            "partners.p.issuer",
            "partners.p.audience",
            "routes.GET a"
        ]
    );
}

#[test]
fn it_says_what_it_is() {
    let descriptor = testing::describe::<Auth>();
    assert_eq!(descriptor.name, "auth");
    assert_eq!(descriptor.grants, ["crypto", "identity", "revocations"]);
    assert_eq!(descriptor.request.unwrap(), ["method", "route", "header:authorization", "time"]);
    assert_eq!((descriptor.response, descriptor.completion), (None, None));
    let schema: Value = serde_json::from_str(&descriptor.config_schema).unwrap();
    assert_eq!(schema["required"], json!(["routes"]));
    assert_eq!(schema["properties"]["issuer"]["default"], "pillion");
}
