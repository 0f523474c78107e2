//! Asks the services that own things for many of them at once: by lists of keys, in batches as
//! large as the service takes, a few batches at a time. Never one call per item.

use futures_util::stream::{self, StreamExt, TryStreamExt};
use http::StatusCode;
use pillion_chassis::{Onward, PeerError, Peers, Problem};
use serde_json::{Map, Value};

use crate::forward::no_answer;

/// Batches of one list that are on their way at a time: enough for the largest page in two
/// rounds, too few for one request to take all connections to a service.
const BATCHES_AT_ONCE_MAX: usize = 8;

/// A look-up by a list.
#[derive(Debug)]
pub(crate) struct Source {
    service: &'static str,
    path: &'static str,
    /// The parameter that takes the list.
    keys: &'static str,
    /// Keys in one call.
    batch_max: usize,
    /// The parameter that takes fields, if there is one.
    fields: Option<&'static str>,
    /// What the caller's token must be good for; empty for nothing special.
    scope: &'static str,
}

impl Source {
    /// The path and query that ask for these keys.
    fn path_of(&self, keys: &[String], fields: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair(self.keys, &keys.join(","));
        if let Some(name) = self.fields.filter(|_| !fields.is_empty()) {
            query.append_pair(name, fields);
        }
        format!("{}?{}", self.path, query.finish())
    }
}

/// Tweets, whole, with their authors.
pub(crate) const TWEETS: Source = Source {
    service: "tweets",
    path: "/internal/tweets",
    keys: "ids",
    batch_max: 100,
    fields: Some("tweet.fields"),
    scope: "",
};

/// Users by id.
pub(crate) const USERS: Source = Source {
    service: "users",
    path: "/2/users",
    keys: "ids",
    batch_max: 100,
    fields: Some("user.fields"),
    scope: "users.read",
};

/// Users by handle.
pub(crate) const NAMES: Source = Source { path: "/2/users/by", keys: "usernames", ..USERS };

/// Why users, or what they write, are not for the caller's eyes.
pub(crate) const VISIBILITY: Source = Source {
    service: "graph",
    path: "/internal/visibility",
    keys: "users",
    batch_max: 300,
    fields: None,
    scope: "",
};

/// How many follow users, and whom they follow.
pub(crate) const FOLLOW_COUNTS: Source =
    Source { path: "/internal/follow_counts", batch_max: 100, ..VISIBILITY };

/// How the caller stands to users.
pub(crate) const CONNECTIONS: Source =
    Source { path: "/internal/connections", batch_max: 100, ..VISIBILITY };

/// How much users have posted.
pub(crate) const TWEET_COUNTS: Source =
    Source { service: "tweets", path: "/internal/tweet_counts", ..FOLLOW_COUNTS };

/// How much users have liked.
pub(crate) const LIKE_COUNTS: Source =
    Source { service: "engagements", path: "/internal/like_counts", ..FOLLOW_COUNTS };

/// How often tweets were liked, retweeted and bookmarked.
pub(crate) const ENGAGEMENTS: Source =
    Source { path: "/internal/counts", keys: "tweets", ..LIKE_COUNTS };

/// Asks on behalf of one caller.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fetch<'a> {
    pub(crate) peers: &'a dyn Peers,
    pub(crate) onward: &'a Onward,
}

impl Fetch<'_> {
    /// What a source has of these keys, batch by batch in their order. `fields` may be empty.
    pub(crate) async fn list(
        &self,
        source: &Source,
        keys: &[String],
        fields: &str,
    ) -> Result<Vec<Value>, Problem> {
        let mut batches = Vec::new();
        for batch in keys.chunks(source.batch_max) {
            batches.push(self.batch(source, batch, fields));
        }
        let found: Vec<Vec<Value>> =
            stream::iter(batches).buffered(BATCHES_AT_ONCE_MAX).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn batch(
        &self,
        source: &Source,
        keys: &[String],
        fields: &str,
    ) -> Result<Vec<Value>, Problem> {
        let Source { service, scope, .. } = *source;
        let path = source.path_of(keys, fields);
        let found: Result<Map<String, Value>, PeerError> =
            self.onward.get(self.peers, service, &path).await;
        let mut answer = found.map_err(|error| match error {
            PeerError::Forbidden(_) if scope.is_empty() => {
                let (service, status) = (service.to_owned(), StatusCode::FORBIDDEN);
                no_answer(PeerError::Refused { service, status })
            }
            PeerError::Forbidden(_) => Problem::forbidden(format!(
                "This answer has users in it; the token must have the scope {scope} too."
            )),
            error => no_answer(error),
        })?;
        match answer.remove("data") {
            Some(Value::Array(found)) => Ok(found),
            _ => Ok(Vec::new()),
        }
    }
}

/// 500 for an answer that a service should not give.
pub(crate) fn bad_answer(service: &str, reason: &impl ToString) -> Problem {
    no_answer(PeerError::BadAnswer { service: service.to_owned(), reason: reason.to_string() })
}
