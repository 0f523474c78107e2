//! Requests to a service's router, as the auth plugin lets them in, and answers read whole.

#![expect(clippy::indexing_slicing, reason = "a member that is not there is null")]
#![expect(clippy::panic, reason = "tests fail by it")]

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::caller::{Caller, Scopes};
use crate::ids::UserId;

/// An answer, read whole.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; what is not JSON is a text, and nothing is null.
    pub body: Value,
}

/// A caller with a token of a user, or of an app alone, for these scopes.
pub fn caller(user_id: Option<u64>, scopes: &str) -> Caller {
    let user_id = user_id.map(|id| UserId::new(id).expect("an id"));
    Caller { user_id, client_id: "web".to_owned(), scopes: Scopes::parse(scopes) }
}

/// A request with a body of JSON, by a caller. Its token is the number of the user, 0 without one,
/// so that services that are made up know who calls.
pub fn request(method: &str, path: &str, caller: Option<Caller>, body: &str) -> Request<Body> {
    let by = caller.as_ref().and_then(|caller| caller.user_id).map_or(0, UserId::get);
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {by}"))
        .body(Body::from(body.to_owned()))
        .expect("a request");
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    request
}

/// Who calls with the token of a [`request`].
pub fn by(headers: &HeaderMap) -> u64 {
    let token = headers.get("authorization").expect("a token").to_str().expect("a text");
    token.strip_prefix("Bearer ").expect("a bearer").parse().expect("a number")
}

/// What a router answers.
pub async fn send(router: &Router, request: Request<Body>) -> Reply {
    let response = router.clone().oneshot(request).await.expect("routers answer");
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.expect("a whole body").to_bytes();
    let body = if bytes.is_empty() {
        Value::Null
    } else {
        let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
        serde_json::from_slice(&bytes).unwrap_or_else(|_| text())
    };
    Reply { status: parts.status, headers: parts.headers, body }
}

impl Reply {
    /// What `data` holds, of a 200.
    pub fn data(&self) -> &Value {
        assert_eq!(self.status, 200, "{}", self.body);
        &self.body["data"]
    }

    /// The id of what was made, of a 201.
    pub fn id(&self) -> String {
        assert_eq!(self.status, 201, "{}", self.body);
        self.body["data"]["id"].as_str().expect("an id").to_owned()
    }

    /// What is on the page; nothing when there is no `data`.
    pub fn items(&self) -> &[Value] {
        self.data().as_array().map_or(&[], Vec::as_slice)
    }

    /// The ids on the page, as they are written.
    pub fn id_texts(&self) -> Vec<String> {
        let text = |item: &Value| item["id"].as_str().expect("an id").to_owned();
        self.items().iter().map(text).collect()
    }

    /// The ids on the page.
    pub fn ids(&self) -> Vec<u64> {
        self.id_texts().iter().map(|id| id.parse().expect("a number")).collect()
    }

    /// A token of `meta`, if it is there.
    pub fn token(&self, name: &str) -> Option<String> {
        self.body["meta"][name].as_str().map(str::to_owned)
    }

    /// What the first entry in `errors` says.
    pub fn message(&self) -> &str {
        let message = self.body["errors"][0]["message"].as_str();
        message.unwrap_or_else(|| panic!("{}", self.body))
    }

    /// What is said of this parameter, in a 400 that begins with it.
    pub fn invalid(&self, parameter: &str) -> &str {
        assert_eq!(self.status, 400, "{}", self.body);
        assert_eq!(self.body["title"], "Invalid Request");
        let parameters = &self.body["errors"][0]["parameters"];
        assert!(parameters.get(parameter).is_some(), "{}", self.body);
        self.message()
    }

    /// What a 403 says.
    pub fn forbidden(&self) -> &str {
        assert_eq!((self.status.as_u16(), &self.body["title"]), (403, &"Forbidden".into()));
        self.body["detail"].as_str().expect("a detail")
    }

    /// The only entry in `errors` of a 200 that has nothing else.
    pub fn error(&self) -> &Value {
        assert_eq!(self.status, 200, "{}", self.body);
        assert_eq!(self.body.as_object().map(serde_json::Map::len), Some(1), "{}", self.body);
        &self.body["errors"][0]
    }
}
