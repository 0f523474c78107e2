//! The public routes: which service owns each, and what its query may hold.

use axum::extract::{Request, State};
use http::Method;
use pillion_chassis::Routes;

use crate::query::Query::{self, Plain, Tweets, Unchecked, Users};
use crate::{Gateway, document, forward};

/// A public route that another service owns.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) verb: Verb,
    pub(crate) template: &'static str,
    /// The owning service's name among the peers.
    pub(crate) owner: &'static str,
    pub(crate) query: Query,
}

/// A method that routes have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Post,
    Delete,
}

impl Verb {
    /// As HTTP calls it.
    pub(crate) fn method(self) -> Method {
        match self {
            Self::Get => Method::GET,
            Self::Post => Method::POST,
            Self::Delete => Method::DELETE,
        }
    }
}

const fn route(verb: Verb, template: &'static str, owner: &'static str, query: Query) -> Route {
    Route { verb, template, owner, query }
}

const PAGE: &[&str] = &[
    "end_time",
    "exclude",
    "max_results",
    "pagination_token",
    "since_id",
    "start_time",
    "until_id",
];

/// All of them. Routes under `/internal` are for services only and must never be here.
pub(crate) static TABLE: [Route; 20] = [
    route(Verb::Post, "/pillion/v1/accounts", "identity", Plain(&[])),
    route(Verb::Delete, "/pillion/v1/accounts/me", "identity", Plain(&[])),
    route(Verb::Post, "/pillion/v1/login", "identity", Plain(&[])),
    route(Verb::Post, "/pillion/v1/apps", "identity", Plain(&[])),
    // Some clients send what these need in the query.
    route(Verb::Get, "/i/oauth2/authorize", "identity", Unchecked),
    route(Verb::Post, "/i/oauth2/authorize", "identity", Unchecked),
    route(Verb::Post, "/2/oauth2/token", "identity", Unchecked),
    route(Verb::Post, "/2/oauth2/revoke", "identity", Unchecked),
    route(Verb::Post, "/oauth2/token", "identity", Unchecked),
    route(Verb::Get, "/.well-known/jwks.json", "identity", Plain(&[])),
    route(Verb::Get, "/2/users", "users", Users(&["ids"])),
    route(Verb::Get, "/2/users/by", "users", Users(&["usernames"])),
    route(Verb::Get, "/2/users/by/username/{username}", "users", Users(&[])),
    route(Verb::Get, "/2/users/me", "users", Users(&[])),
    route(Verb::Get, "/2/users/{id}", "users", Users(&[])),
    route(Verb::Get, "/2/users/{id}/tweets", "tweets", Tweets(PAGE)),
    route(Verb::Post, "/2/tweets", "tweets", Plain(&[])),
    route(Verb::Get, "/2/tweets", "tweets", Tweets(&["ids"])),
    route(Verb::Get, "/2/tweets/{id}", "tweets", Tweets(&[])),
    route(Verb::Delete, "/2/tweets/{id}", "tweets", Plain(&[])),
];

/// The table as a router, with the gateway's own routes.
pub(crate) fn routes() -> Routes<Gateway> {
    let own = Routes::new()
        .get("/", document::welcome)
        .get("/docs", document::page)
        .get("/openapi.json", document::json);
    TABLE.iter().fold(own, |routes, route| {
        let handler = move |State(gateway): State<Gateway>, request: Request| async move {
            forward::forward(&gateway, route, request).await
        };
        match route.verb {
            Verb::Get => routes.get(route.template, handler),
            Verb::Post => routes.post(route.template, handler),
            Verb::Delete => routes.delete(route.template, handler),
        }
    })
}
