//! Why a request is refused, and how that is answered.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use pillion_chassis::{DatabaseError, Problem};
use serde_json::{Value, json};

use crate::query::QueryError;

const UNSUPPORTED_AUTHENTICATION: &str =
    "https://api.twitter.com/2/problems/unsupported-authentication";
const OPERATIONAL_DISCONNECT: &str = "https://api.twitter.com/2/problems/operational-disconnect";
const INVALID_RULES: &str = "https://api.twitter.com/2/problems/invalid-rules";
const DUPLICATE_RULES: &str = "https://api.twitter.com/2/problems/duplicate-rules";
const RULE_CAP: &str = "https://api.twitter.com/2/problems/rule-cap";

/// Why a request was refused. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The route is for apps alone.
    #[error("the route takes an app's own token only")]
    UserToken,
    /// The app has its stream already.
    #[error("the app already has a connection to this stream")]
    TooManyConnections,
    /// The app has no rules for its stream.
    #[error("the app has no rules")]
    NoRules,
    /// This process has as many streams as it can bear.
    #[error("all {0} places for streams are taken")]
    Full(usize),
    /// The process is shutting down.
    #[error("the service is shutting down")]
    Closing,
    /// The request is wrong.
    #[error(transparent)]
    Refused(#[from] Problem),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        /// A stream that ends makes room; a process that stops is replaced.
        const RETRY_AFTER_S: u32 = 10;
        match self {
            Self::UserToken => Problem::new(
                StatusCode::FORBIDDEN,
                UNSUPPORTED_AUTHENTICATION,
                "Unsupported Authentication",
                "This route is for an app, not for a user: send the app's own token, which the \
                 grant client_credentials gives.",
            ),
            Self::TooManyConnections => Problem::streaming_connection(
                StatusCode::TOO_MANY_REQUESTS,
                "TooManyConnections",
                "This stream is currently at the maximum allowed connection limit: one per app. \
                 End the other connection first.",
            ),
            Self::NoRules => Problem::streaming_connection(
                StatusCode::CONFLICT,
                "RuleConfigurationIssue",
                "You must define rules before connecting: POST /2/tweets/search/stream/rules.",
            ),
            Self::Full(_) | Self::Closing => {
                Problem::unavailable(format!("Try again soon: {self}."), RETRY_AFTER_S)
            }
            Self::Refused(problem) => problem,
            Self::Database(error) => error.into(),
        }
        .into_response()
    }
}

/// Why the server ends a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disconnect {
    /// The client reads more slowly than tweets come.
    SlowReader,
    /// Tweets may have been missed here, through no fault of the client.
    Missed,
    /// The process stops.
    Shutdown,
}

impl Disconnect {
    /// The last thing on the stream.
    pub(crate) fn document(self) -> Value {
        let (kind, detail) = match self {
            Self::SlowReader => (
                "SlowReader",
                "Too many Tweets were waiting to be read. Connect again, and read faster or \
                 narrow the rules.",
            ),
            Self::Missed => (
                "InternalError",
                "Some Tweets may be missing on this stream because of a fault of the server. \
                 Connect again, and search for what you may have missed.",
            ),
            Self::Shutdown => (
                "OperationalDisconnect",
                "This stream has been disconnected for operational reasons. Connect again.",
            ),
        };
        json!({"errors": [{
            "title": "operational-disconnect",
            "disconnect_type": kind,
            "detail": detail,
            "type": OPERATIONAL_DISCONNECT,
        }]})
    }
}

/// The entry in `errors` for a rule that cannot be read.
pub(crate) fn invalid_rule(value: &str, error: &QueryError) -> Value {
    json!({
        "value": value,
        "details": [error.to_string()],
        "title": "UnprocessableEntity",
        "type": INVALID_RULES,
    })
}

/// The entry in `errors` for a rule that the app has already. `id` is that rule's.
pub(crate) fn duplicate_rule(value: &str, id: &str) -> Value {
    json!({ "value": value, "id": id, "title": "DuplicateRule", "type": DUPLICATE_RULES })
}

/// The entry in `errors` for a rule too many.
pub(crate) fn rule_cap(value: &str, rules_max: usize) -> Value {
    json!({
        "value": value,
        "title": "RulesCapExceeded",
        "detail": format!("An app may have {rules_max} rules. Delete some first."),
        "type": RULE_CAP,
    })
}

/// The entry in `errors` for a rule to delete that the app does not have.
pub(crate) fn no_such_rule(parameter: &str, value: &str) -> Value {
    json!({
        "errors": [{ "message": "Rule does not exist", "parameters": { parameter: [value] } }],
        "title": "Invalid Request",
        "detail": "One or more parameters to your request was invalid.",
        "type": "https://api.twitter.com/2/problems/invalid-request",
    })
}
