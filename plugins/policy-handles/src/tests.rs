//! The plugin on requests, natively.

use pillion_plugin::{
    Decision,
    testing::{self, Request},
};
use serde_json::Value;

use crate::PolicyHandles;

const CONFIG: &str = r#"{"names": ["admin", "Root"], "prefixes": ["Pillion"]}"#;

const ROUTE: &str = "/internal/sagas/{saga_id}/steps/{step}";

fn plugin() -> PolicyHandles {
    testing::reset();
    testing::configure(CONFIG).unwrap()
}

fn reserve(query: &str) -> Request {
    step("reserve_handle", query)
}

fn step(step: &str, query: &str) -> Request {
    Request::new("PUT", &format!("/internal/sagas/7/steps/{step}{query}")).route(ROUTE)
}

#[test]
fn names_and_prefixes_are_kept_back_whatever_their_case() {
    let mut plugin = plugin();
    for name in ["admin", "ADMIN", "root", "pillion", "Pillion_team", "%61dmin"] {
        let decision = reserve(&format!("?username={name}")).on_request(&mut plugin);
        let Decision::Respond(response) = decision else { panic!("{name} passes: {decision:?}") };
        assert_eq!(response.status, 403);
        assert_eq!(response.get("content-type"), Some(&b"application/problem+json"[..]));
        let problem: Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!((&problem["title"], &problem["status"]), (&"Forbidden".into(), &403.into()));
        assert!(problem["detail"].as_str().unwrap().contains("not available"), "{problem}");
    }
    for name in ["ann", "administrator", "a_pillion", "roo", ""] {
        let decision = reserve(&format!("?username={name}")).on_request(&mut plugin);
        assert_eq!(decision, Decision::Continue, "{name}");
    }
}

#[test]
fn nothing_else_is_looked_at() {
    let mut plugin = plugin();
    let others = [
        reserve(""),
        step("create_profile", "?username=admin"),
        Request::new("DELETE", "/internal/sagas/7/steps/reserve_handle?username=admin")
            .route(ROUTE),
        Request::get("/2/users/by/username/admin?username=admin")
            .route("/2/users/by/username/{username}"),
        Request::new("PUT", "/internal/sagas/7/steps/reserve_handle?username=admin"),
    ];
    for mut request in others {
        assert_eq!(request.on_request(&mut plugin), Decision::Continue, "{request:?}");
    }
}

#[test]
fn another_route_may_be_guarded_too() {
    testing::reset();
    let config = r#"{"names": ["admin"], "routes": ["POST /names"]}"#;
    let mut plugin = testing::configure::<PolicyHandles>(config).unwrap();
    let mut request = Request::new("POST", "/names?username=admin").route("/names");
    assert!(matches!(request.on_request(&mut plugin), Decision::Respond(_)));
    assert_eq!(reserve("?username=admin").on_request(&mut plugin), Decision::Continue);
}

#[test]
fn every_wrong_key_is_named() {
    let errors = |json: &str| -> Vec<String> {
        let errors = testing::configure::<PolicyHandles>(json).err().unwrap();
        errors.into_iter().map(|error| error.key).collect()
    };
    assert_eq!(errors("{}"), [""]);
    assert_eq!(
        errors(r#"{"names": ["a", " "], "prefixes": [""], "routes": ["PUT"]}"#),
        ["names[1]", "prefixes[0]", "routes[0]"]
    );
    assert_eq!(errors(r#"{"names": ["a"], "routes": []}"#), ["routes"]);
    assert_eq!(errors(r#"{"name": ["a"]}"#), ["name"]);
}

#[test]
fn it_needs_no_grant() {
    let descriptor = testing::describe::<PolicyHandles>();
    assert_eq!((descriptor.name.as_str(), descriptor.grants), ("policy-handles", Vec::new()));
    assert!(descriptor.request.is_some() && descriptor.response.is_none());
}
