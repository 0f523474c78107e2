//! The plugin on requests, natively, with the limiter's real arithmetic.

use std::time::Duration;

use pillion_plugin::{
    Decision, HttpResponse, ResponseDecision,
    limiter::LimiterError,
    testing::{self, Request},
};
use serde_json::Value;

use crate::{RateLimit, push_network};

const NOW_S: u64 = testing::START_US / 1_000_000;

const WINDOWS: &str = r#"{"windows": {
    "default": {"user": 3, "app": 2},
    "routes": {"POST /2/tweets": {"user": 1, "window_s": 60}}
}}"#;

const ADDRESS: &str = r#"{"address": {"burst": 2, "period_ms": 10000}}"#;

fn plugin(json: &str) -> RateLimit {
    testing::reset();
    testing::configure(json).unwrap()
}

fn get(user_id: Option<&str>, client_id: &str) -> Request {
    Request::get("/2/tweets/1").route("/2/tweets/{id}").caller(user_id, client_id, "")
}

fn post(user_id: Option<&str>, client_id: &str) -> Request {
    Request::new("POST", "/2/tweets").route("/2/tweets").caller(user_id, client_id, "")
}

fn anonymous(address: &str) -> Request {
    Request::get("/2/tweets/1").route("/2/tweets/{id}").address(address)
}

/// Runs both phases; the status, and limit, remaining and reset as the client sees them.
fn run(plugin: &mut RateLimit, request: Request) -> (u64, Option<[u64; 3]>) {
    let mut request = request;
    match request.on_request(plugin) {
        Decision::Respond(_) => {}
        Decision::Continue | Decision::Modify(_) => {
            request.on_response(plugin);
        }
    }
    seen(&request)
}

fn seen(request: &Request) -> (u64, Option<[u64; 3]>) {
    let number = |name: &str| {
        let value = request.value(&format!("response-header:x-rate-limit-{name}"))?;
        Some(std::str::from_utf8(value).unwrap().parse().unwrap())
    };
    let status = request.value("status").unwrap().try_into().unwrap();
    let headers = [number("limit"), number("remaining"), number("reset")];
    let [Some(limit), Some(remaining), Some(reset)] = headers else {
        assert_eq!(headers, [None; 3]);
        return (u64::from_le_bytes(status), None);
    };
    (u64::from_le_bytes(status), Some([limit, remaining, reset]))
}

fn refused(decision: Decision) -> HttpResponse {
    match decision {
        Decision::Respond(response) => response,
        other => panic!("{other:?}"),
    }
}

fn detail(response: &HttpResponse) -> String {
    let body: Value = serde_json::from_slice(&response.body).unwrap();
    body["detail"].as_str().unwrap().to_owned()
}

#[test]
fn a_user_has_a_window_per_route() {
    let mut plugin = plugin(WINDOWS);
    let reset = NOW_S + 900;
    for (status, remaining) in [(200, 2), (200, 1), (200, 0), (429, 0), (429, 0)] {
        assert_eq!(run(&mut plugin, get(Some("1"), "a")), (status, Some([3, remaining, reset])));
    }
    // Another application, the same user; another user; another route.
    assert_eq!(run(&mut plugin, get(Some("1"), "b")).0, 429);
    assert_eq!(run(&mut plugin, get(Some("2"), "a")), (200, Some([3, 2, reset])));
    assert_eq!(run(&mut plugin, post(Some("1"), "a")), (200, Some([1, 0, NOW_S + 60])));
    let response = refused(post(Some("1"), "a").on_request(&mut plugin));
    assert_eq!(response.get("retry-after"), Some(&b"60"[..]));
    assert_eq!(
        detail(&response),
        "The quota of 1 requests of this user on this route is used up; \
         it is full again at 2026-01-01T00:01:00Z."
    );
    testing::advance(Duration::from_mins(1));
    assert_eq!(run(&mut plugin, post(Some("1"), "a")), (200, Some([1, 0, NOW_S + 120])));
    assert_eq!(run(&mut plugin, get(Some("1"), "a")).0, 429);
    testing::advance(Duration::from_mins(14));
    assert_eq!(run(&mut plugin, get(Some("1"), "a")).0, 200);
}

#[test]
fn an_application_alone_has_its_own_limit() {
    let mut plugin = plugin(WINDOWS);
    for (status, remaining) in [(200, 1), (200, 0), (429, 0)] {
        assert_eq!(run(&mut plugin, get(None, "7")), (status, Some([2, remaining, NOW_S + 900])));
    }
    assert!(
        detail(&refused(get(None, "7").on_request(&mut plugin))).contains("of this application")
    );
    // A user whose id is that application's is somebody else.
    assert_eq!(run(&mut plugin, get(Some("7"), "x")).0, 200);
    // What a route does not change it has from the default.
    assert_eq!(run(&mut plugin, post(None, "7")), (200, Some([2, 1, NOW_S + 60])));
}

#[test]
fn head_counts_as_get() {
    let mut plugin = plugin(WINDOWS);
    for _ in 0..3 {
        run(&mut plugin, get(Some("1"), "a"));
    }
    let head =
        Request::new("HEAD", "/2/tweets/1").route("/2/tweets/{id}").caller(Some("1"), "a", "");
    assert_eq!(run(&mut plugin, head).0, 429);
}

#[test]
fn windows_leave_alone_who_is_unknown_and_what_is_unmatched() {
    let mut plugin = plugin(WINDOWS);
    for _ in 0..10 {
        assert_eq!(run(&mut plugin, anonymous("192.0.2.1")), (200, None));
        let unmatched = Request::get("/nowhere").caller(Some("1"), "a", "").status(404);
        assert_eq!(run(&mut plugin, unmatched), (404, None));
    }
}

#[test]
fn headers_that_are_there_stay() {
    let mut plugin = plugin(WINDOWS);
    let mut request = get(Some("1"), "a").response_header("x-rate-limit-limit", "7");
    request.on_request(&mut plugin);
    assert_eq!(request.on_response(&mut plugin), ResponseDecision::Continue);
}

#[test]
fn without_a_token_an_address_has_a_bucket() {
    let mut plugin = plugin(ADDRESS);
    for (status, remaining, reset) in [(200, 1, 5), (200, 0, 10), (429, 0, 10)] {
        let expected = (status, Some([2, remaining, NOW_S + reset]));
        assert_eq!(run(&mut plugin, anonymous("192.0.2.1")), expected);
    }
    assert_eq!(run(&mut plugin, anonymous("192.0.2.2")).0, 200);
    let response = refused(anonymous("192.0.2.1").on_request(&mut plugin));
    assert_eq!(response.get("retry-after"), Some(&b"5"[..]));
    assert!(detail(&response).contains("of this address without a valid access token"));
    testing::advance(Duration::from_secs(5));
    assert_eq!(run(&mut plugin, anonymous("192.0.2.1")).0, 200);
    assert_eq!(run(&mut plugin, anonymous("192.0.2.1")).0, 429);
}

#[test]
fn tokens_cannot_be_tried_without_bound() {
    let mut plugin = plugin(ADDRESS);
    let forged = || anonymous("192.0.2.1").header("authorization", "Bearer forged").status(401);
    for (status, remaining, reset) in [(401, 1, 5), (401, 0, 10), (429, 0, 10)] {
        let expected = (status, Some([2, remaining, NOW_S + reset]));
        assert_eq!(run(&mut plugin, forged()), expected);
    }
    // Without a token there is nothing left either.
    assert_eq!(run(&mut plugin, anonymous("192.0.2.1")).0, 429);
}

#[test]
fn only_a_bearer_token_is_left_to_auth() {
    for junk in ["", " ", "x", "Basic x", "Bearer", "Bearerx y", "Bearer\ty", "DPoP y", " Bearer y"]
    {
        let mut plugin = plugin(ADDRESS);
        let login = |status| anonymous("192.0.2.1").header("authorization", junk).status(status);
        // A public route may answer with anything: each counts once, and 401 not twice.
        assert_eq!(run(&mut plugin, login(401)), (401, Some([2, 1, NOW_S + 5])), "{junk:?}");
        assert_eq!(run(&mut plugin, login(201)), (201, Some([2, 0, NOW_S + 10])), "{junk:?}");
        // Refused unhandled: the right password at last shows nothing.
        let refused = refused(login(200).on_request(&mut plugin));
        assert_eq!(refused.status, 429, "{junk:?}");
    }
}

#[test]
fn the_scheme_has_no_case() {
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let mut plugin = plugin(ADDRESS);
        for _ in 0..5 {
            let good = anonymous("192.0.2.1").header("authorization", format!("{scheme} good"));
            assert_eq!(run(&mut plugin, good), (200, Some([2, 2, NOW_S])), "{scheme}");
        }
    }
}

#[test]
fn a_handlers_401_counts_like_auths() {
    let mut plugin = plugin(ADDRESS);
    // A login with somebody's good token and a wrong password.
    let login =
        |status| anonymous("192.0.2.1").header("authorization", "Bearer good").status(status);
    for status in [401, 401, 429, 429] {
        assert_eq!(run(&mut plugin, login(401)).0, status);
    }
    // What has been done is never shown as refused.
    for status in [200, 201, 204, 400, 409] {
        assert_eq!(run(&mut plugin, login(status)).0, u64::from(status));
    }
}

#[test]
fn good_tokens_from_a_shared_address_are_never_limited_by_it() {
    let mut plugin = plugin(ADDRESS);
    for _ in 0..3 {
        run(&mut plugin, anonymous("192.0.2.1"));
    }
    for status in [200, 403, 404, 500] {
        let good = anonymous("192.0.2.1").header("authorization", "Bearer good").status(status);
        assert_eq!(run(&mut plugin, good), (u64::from(status), Some([2, 2, NOW_S])));
    }
}

#[test]
fn a_header_on_a_path_without_route_does_not_evade_the_bucket() {
    let mut plugin = plugin(ADDRESS);
    let probe = || {
        Request::get("/nowhere")
            .address("192.0.2.1")
            .header("authorization", "Bearer x")
            .status(404)
    };
    assert_eq!(run(&mut plugin, probe()).0, 404);
    assert_eq!(run(&mut plugin, probe()).0, 404);
    assert_eq!(run(&mut plugin, probe()).0, 429);
}

#[test]
fn a_caller_in_this_process_has_no_address_and_no_limit() {
    let mut plugin = plugin(ADDRESS);
    for _ in 0..5 {
        assert_eq!(run(&mut plugin, Request::get("/a").route("/a")), (200, None));
        let tried = Request::get("/a").route("/a").header("authorization", "Bearer x").status(401);
        assert_eq!(run(&mut plugin, tried), (401, None));
    }
}

#[test]
fn the_limiters_failure_is_the_operators_choice() {
    for error in [LimiterError::Full, LimiterError::Unavailable("no route to host".into())] {
        let mut plugin = plugin(WINDOWS);
        testing::fail_limiter(Some(error.clone()));
        let response = refused(get(Some("1"), "a").on_request(&mut plugin));
        assert_eq!((response.status, response.get("retry-after")), (503, Some(&b"5"[..])));
        assert_eq!(testing::logs().len(), 1);
        // The headers are there all the same.
        assert_eq!(run(&mut plugin, get(Some("1"), "a")), (503, Some([3, 0, NOW_S + 5])));

        let allow = WINDOWS.replacen('{', r#"{"on_limiter_error": "allow", "#, 1);
        let mut plugin = self::plugin(&allow);
        testing::fail_limiter(Some(error.clone()));
        assert_eq!(run(&mut plugin, get(Some("1"), "a")), (200, Some([3, 3, NOW_S])));

        let mut plugin =
            self::plugin(&ADDRESS.replacen('{', r#"{"on_limiter_error": "allow", "#, 1));
        testing::fail_limiter(Some(error));
        for _ in 0..5 {
            assert_eq!(run(&mut plugin, anonymous("192.0.2.1")), (200, Some([2, 2, NOW_S])));
        }
        assert!(testing::logs()[0].1.starts_with("request allowed, as the limiter failed"));
    }
    let mut plugin = plugin(ADDRESS);
    testing::fail_limiter(Some(LimiterError::Full));
    let tried = anonymous("192.0.2.1").header("authorization", "Bearer x").status(401);
    assert_eq!(run(&mut plugin, tried).0, 503);
}

#[test]
fn one_instance_can_do_both() {
    let both = r#"{"windows": {"default": {"user": 3, "app": 2}}, "address": {"burst": 2, "period_ms": 10000}}"#;
    let mut plugin = plugin(both);
    assert_eq!(run(&mut plugin, anonymous("192.0.2.1")).1, Some([2, 1, NOW_S + 5]));
    let known = get(Some("1"), "a").address("192.0.2.1").header("authorization", "Bearer x");
    assert_eq!(run(&mut plugin, known).1, Some([3, 2, NOW_S + 900]));
}

#[test]
fn addresses_of_one_network_share_a_bucket() {
    let network = |address: &str, prefix| {
        let mut key = String::new();
        push_network(&mut key, address, prefix);
        key
    };
    assert_eq!(network("192.0.2.1", 64), "192.0.2.1");
    assert_eq!(network("::ffff:192.0.2.1", 64), "192.0.2.1");
    assert_eq!(network("2001:db8:0:1::1", 64), network("2001:db8:0:1:ffff::9", 64));
    assert_ne!(network("2001:db8:0:1::1", 64), network("2001:db8:0:2::1", 64));
    assert_ne!(network("2001:db8::1", 128), network("2001:db8::2", 128));
    assert_eq!(network("2001:db8:0:1::1", 48), network("2001:db8:0:2::1", 48));
    assert_eq!(network("unix", 64), "unix");
}

#[test]
fn every_wrong_key_of_the_configuration_is_named() {
    let errors = |json: &str| -> Vec<String> {
        testing::configure::<RateLimit>(json)
            .unwrap_err()
            .into_iter()
            .map(|error| error.key)
            .collect()
    };
    assert_eq!(errors("{}"), [""]);
    assert_eq!(errors(r#"{"windows": {}}"#), ["windows.default"]);
    assert_eq!(errors(r#"{"windows": {"default": {"user": 1}}}"#), ["windows.default.app"]);
    assert_eq!(
        errors(r#"{"windows": {"default": {"user": -1, "app": 1}}}"#),
        ["windows.default.user"]
    );
    assert_eq!(
        errors(r#"{"address": {"burst": 1, "period_ms": 1}, "on_limiter_error": "panic"}"#),
        ["on_limiter_error"]
    );
    assert_eq!(
        errors(
            r#"{"windows": {"default": {"user": 0, "app": 0, "window_s": 4294968},
                            "routes": {"GET a": {}, "GET /a": {"user": 0, "window_s": 0}}},
                "address": {"burst": 0, "period_ms": 0, "ipv6_prefix": 0}}"#
        ),
        [
            "address.burst",
            "address.period_ms",
            "address.ipv6_prefix",
            "windows.default.user",
            "windows.default.app",
            "windows.default.window_s",
            "windows.routes.GET /a.user",
            "windows.routes.GET /a.window_s",
            "windows.routes.GET a",
        ]
    );
}

#[test]
fn it_says_what_it_is() {
    let descriptor = testing::describe::<RateLimit>();
    assert_eq!(
        (descriptor.name.as_str(), descriptor.grants),
        ("ratelimit", vec!["limiter".to_owned()])
    );
    assert!(descriptor.request.is_some() && descriptor.response.is_some());
    assert_eq!(descriptor.completion, None);
}
