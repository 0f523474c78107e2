//! The public routes: which service owns each, what its query may hold, and how its answer is
//! completed.

use axum::extract::{Request, State};
use http::Method;
use pillion_chassis::Routes;

use self::Verb::{Delete, Get, Post, Put};
use crate::query::Items::{Asked, Feed, Ids, Me, Mine, Named, Whole};
use crate::query::Names;
use crate::query::Query::{self, Counts, Credentials, Plain, Stream, Tweets, Unchecked, Users};
use crate::{Gateway, NAME, document, forward};

/// A public route that another service owns.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) verb: Verb,
    pub(crate) template: &'static str,
    /// The owning service's name among the peers; the gateway's own where it needs nobody to
    /// know which items an answer has.
    pub(crate) owner: &'static str,
    pub(crate) query: Query,
}

/// A method that routes have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Post,
    Put,
    Delete,
}

impl Verb {
    /// As HTTP calls it.
    pub(crate) fn method(self) -> Method {
        match self {
            Self::Get => Method::GET,
            Self::Post => Method::POST,
            Self::Put => Method::PUT,
            Self::Delete => Method::DELETE,
        }
    }
}

const fn route(verb: Verb, template: &'static str, owner: &'static str, query: Query) -> Route {
    Route { verb, template, owner, query }
}

const PAGE: Names = &["max_results", "pagination_token"];
const TIMES: Names =
    &["end_time", "max_results", "pagination_token", "since_id", "start_time", "until_id"];
const TIMELINE: Names = &[
    "end_time",
    "exclude",
    "max_results",
    "pagination_token",
    "since_id",
    "start_time",
    "until_id",
];
const SEARCH: Names = &[
    "end_time",
    "max_results",
    "next_token",
    "pagination_token",
    "query",
    "since_id",
    "sort_order",
    "start_time",
    "until_id",
];
const COUNTS: Names = &["end_time", "granularity", "query", "since_id", "start_time", "until_id"];

/// All of them. Routes under `/internal` are for services only and must never be here.
pub(crate) static TABLE: [Route; 72] = [
    route(Post, "/pillion/v1/accounts", "identity", Plain(&[])),
    route(Delete, "/pillion/v1/accounts/me", "identity", Plain(&[])),
    route(Post, "/pillion/v1/login", "identity", Plain(&[])),
    route(Delete, "/pillion/v1/sessions", "identity", Plain(&[])),
    route(Post, "/pillion/v1/apps", "identity", Plain(&[])),
    route(Get, "/pillion/v1/apps", "identity", Plain(&[])),
    route(Delete, "/pillion/v1/apps/{client_id}", "identity", Plain(&[])),
    route(Get, "/pillion/v1/authorizations", "identity", Plain(&[])),
    route(Delete, "/pillion/v1/authorizations/{client_id}", "identity", Plain(&[])),
    route(Get, "/i/apps", "identity", Plain(&[])),
    route(Post, "/i/apps", "identity", Plain(&[])),
    // Some clients send what these need in the query.
    route(Get, "/i/oauth2/authorize", "identity", Unchecked),
    route(Post, "/i/oauth2/authorize", "identity", Unchecked),
    route(Post, "/2/oauth2/token", "identity", Unchecked),
    route(Post, "/2/oauth2/revoke", "identity", Unchecked),
    route(Post, "/oauth2/token", "identity", Unchecked),
    route(Get, "/.well-known/jwks.json", "identity", Plain(&[])),
    route(Get, "/2/users", "users", Users(Named("ids"), &["ids"])),
    route(Get, "/2/users/by", "users", Users(Named("usernames"), &["usernames"])),
    route(Get, "/2/users/by/username/{username}", "users", Users(Named("username"), &[])),
    route(Get, "/2/users/me", "users", Users(Me, &[])),
    // What libraries for X's API 1.1 and 2 ask first: whose token it is.
    route(Get, "/1.1/account/verify_credentials.json", NAME, Credentials),
    route(Get, "/2/users/search", "users", Users(Whole, &["max_results", "next_token", "query"])),
    route(Get, "/2/users/{id}", "users", Users(Named("id"), &[])),
    route(Post, "/pillion/v1/account/profile", "users", Plain(&[])),
    route(Post, "/pillion/v1/account/username", "users", Plain(&[])),
    route(Post, "/2/tweets", "tweets", Plain(&[])),
    route(Get, "/2/tweets", NAME, Tweets(Asked("ids"), &["ids"])),
    route(Get, "/2/tweets/{id}", NAME, Tweets(Asked("id"), &[])),
    route(Delete, "/2/tweets/{id}", "tweets", Plain(&[])),
    route(Put, "/2/tweets/{id}/hidden", "tweets", Plain(&[])),
    route(
        Get,
        "/2/tweets/{id}/quote_tweets",
        "tweets",
        Tweets(Ids, &["exclude", "max_results", "pagination_token"]),
    ),
    route(Get, "/2/users/{id}/tweets", "tweets", Tweets(Whole, TIMELINE)),
    route(Get, "/2/usage/tweets", "tweets", Plain(&["days", "usage.fields"])),
    route(Post, "/2/users/{id}/following", "graph", Plain(&[])),
    route(Delete, "/2/users/{id}/following/{target_user_id}", "graph", Plain(&[])),
    route(Get, "/2/users/{id}/following", "graph", Users(Ids, PAGE)),
    route(Get, "/2/users/{id}/followers", "graph", Users(Ids, PAGE)),
    route(Post, "/2/users/{id}/blocking", "graph", Plain(&[])),
    route(Delete, "/2/users/{id}/blocking/{target_user_id}", "graph", Plain(&[])),
    route(Get, "/2/users/{id}/blocking", "graph", Users(Mine, PAGE)),
    route(Post, "/2/users/{id}/muting", "graph", Plain(&[])),
    route(Delete, "/2/users/{id}/muting/{target_user_id}", "graph", Plain(&[])),
    route(Get, "/2/users/{id}/muting", "graph", Users(Mine, PAGE)),
    route(Get, "/pillion/v1/follow-requests", "graph", Users(Mine, PAGE)),
    route(Post, "/pillion/v1/follow-requests/{user_id}/accept", "graph", Plain(&[])),
    route(Post, "/pillion/v1/follow-requests/{user_id}/deny", "graph", Plain(&[])),
    route(Post, "/2/users/{id}/likes", "engagements", Plain(&[])),
    route(Delete, "/2/users/{id}/likes/{tweet_id}", "engagements", Plain(&[])),
    route(Get, "/2/users/{id}/liked_tweets", "engagements", Tweets(Ids, PAGE)),
    route(Get, "/2/tweets/{id}/liking_users", "engagements", Users(Ids, PAGE)),
    route(Post, "/2/users/{id}/retweets", "engagements", Plain(&[])),
    route(Delete, "/2/users/{id}/retweets/{source_tweet_id}", "engagements", Plain(&[])),
    route(Get, "/2/tweets/{id}/retweeted_by", "engagements", Users(Ids, PAGE)),
    route(Get, "/2/tweets/{id}/retweets", "engagements", Tweets(Ids, PAGE)),
    route(Get, "/2/users/reposts_of_me", "engagements", Tweets(Ids, PAGE)),
    route(Post, "/2/users/{id}/bookmarks", "engagements", Plain(&[])),
    route(Delete, "/2/users/{id}/bookmarks/{tweet_id}", "engagements", Plain(&[])),
    route(Get, "/2/users/{id}/bookmarks", "engagements", Tweets(Ids, PAGE)),
    route(
        Get,
        "/2/users/{id}/timelines/reverse_chronological",
        "timelines",
        Tweets(Feed, TIMELINE),
    ),
    route(Get, "/2/users/{id}/mentions", "timelines", Tweets(Feed, TIMES)),
    route(Get, "/2/tweets/search/recent", "search", Tweets(Feed, SEARCH)),
    route(Get, "/2/tweets/counts/recent", "search", Counts(COUNTS)),
    route(Get, "/2/tweets/search/stream", "search", Stream(&[])),
    route(
        Get,
        "/2/tweets/search/stream/rules",
        "search",
        Plain(&["ids", "max_results", "pagination_token"]),
    ),
    route(Post, "/2/tweets/search/stream/rules", "search", Plain(&["delete_all", "dry_run"])),
    route(Get, "/2/tweets/search/stream/rules/counts", "search", Plain(&["rules_count.fields"])),
    route(Get, "/2/tweets/sample/stream", "search", Stream(&[])),
    route(
        Get,
        "/pillion/v1/notifications",
        "notifications",
        Plain(&["max_results", "pagination_token", "types", "unread_only"]),
    ),
    route(Get, "/pillion/v1/notifications/unread_count", "notifications", Plain(&[])),
    route(Post, "/pillion/v1/notifications/read", "notifications", Plain(&[])),
    // Server-sent events, which pass as they come.
    route(Get, "/pillion/v1/notifications/stream", "notifications", Plain(&[])),
];

/// The table as a router, with the gateway's own routes.
pub(crate) fn routes() -> Routes<Gateway> {
    let own = Routes::new()
        .get("/", document::welcome)
        .get("/docs", document::page)
        .get("/openapi.json", document::json)
        .get("/2/openapi.json", document::json);
    TABLE.iter().fold(own, |routes, route| {
        let handler = move |State(gateway): State<Gateway>, request: Request| async move {
            forward::forward(&gateway, route, request).await
        };
        match route.verb {
            Verb::Get => routes.get(route.template, handler),
            Verb::Post => routes.post(route.template, handler),
            Verb::Put => routes.put(route.template, handler),
            Verb::Delete => routes.delete(route.template, handler),
        }
    })
}
