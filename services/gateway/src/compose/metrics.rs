//! `public_metrics`: numbers that other services keep than those that own tweets and users. And
//! `connection_status`: how the caller stands to users, which the graph service knows.

use std::collections::HashMap;

use futures_util::future::{try_join, try_join3};
use pillion_chassis::Problem;
use serde_json::{Map, Value, json};

use super::text;
use crate::fetch::{CONNECTIONS, ENGAGEMENTS, FOLLOW_COUNTS, Fetch, LIKE_COUNTS, TWEET_COUNTS};
use crate::fields::{CONNECTION_STATUS, METRICS};
use crate::query::Plan;

/// The numbers of those tweets that engagements knows; the others are the tweets service's.
const OF_TWEETS: [&str; 3] = ["retweet_count", "like_count", "bookmark_count"];
/// The numbers of users. Nothing is listed here, for there are no lists.
const OF_USERS: [&str; 5] =
    ["followers_count", "following_count", "tweet_count", "listed_count", "like_count"];

/// Numbers by id, if they were asked for. A number that is not there is 0.
#[derive(Debug)]
pub(crate) struct Metrics {
    numbers: Option<HashMap<String, Map<String, Value>>>,
    /// How the caller stands to users, by their ids; empty unless that was asked for by a user.
    connections: HashMap<String, Value>,
}

impl Metrics {
    /// Those of tweets.
    pub(crate) async fn of_tweets(
        fetch: Fetch<'_>,
        plan: &Plan,
        ids: &[String],
    ) -> Result<Self, Problem> {
        if !plan.tweet_metrics {
            return Ok(Self::none());
        }
        Ok(Self::new(fetch.list(&ENGAGEMENTS, ids, "").await?))
    }

    /// Those of users.
    pub(crate) async fn of_users(
        fetch: Fetch<'_>,
        plan: &Plan,
        ids: &[String],
    ) -> Result<Self, Problem> {
        let numbers = async {
            if !plan.user_metrics {
                return Ok(Self::none());
            }
            let (follows, tweets, likes) = try_join3(
                fetch.list(&FOLLOW_COUNTS, ids, ""),
                fetch.list(&TWEET_COUNTS, ids, ""),
                fetch.list(&LIKE_COUNTS, ids, ""),
            )
            .await?;
            Ok(Self::new([follows, tweets, likes].concat()))
        };
        let connections = async {
            if !plan.connections {
                return Ok(Vec::new());
            }
            fetch.list(&CONNECTIONS, ids, "").await
        };
        let (mut metrics, connections) = try_join(numbers, connections).await?;
        let connection = |mut found: Value| {
            let id = text(&found, "id")?.to_owned();
            Some((id, found.get_mut(CONNECTION_STATUS)?.take()))
        };
        metrics.connections = connections.into_iter().filter_map(connection).collect();
        Ok(metrics)
    }

    fn none() -> Self {
        Self { numbers: None, connections: HashMap::new() }
    }

    fn new(found: Vec<Value>) -> Self {
        let mut numbers: HashMap<String, Map<String, Value>> = HashMap::new();
        for item in found {
            if let Value::Object(item) = item
                && let Some(id) = item.get("id").and_then(Value::as_str).map(str::to_owned)
            {
                numbers.entry(id).or_default().extend(item);
            }
        }
        Self { numbers: Some(numbers), connections: HashMap::new() }
    }

    /// Adds to the numbers that a tweet shows, if it shows any.
    pub(crate) fn show_in_tweet(&self, tweet: &mut Value) {
        let Some(numbers) = text(tweet, "id").and_then(|id| self.numbers.as_ref()?.get(id)) else {
            return;
        };
        let shown = tweet.get_mut(METRICS).and_then(Value::as_object_mut);
        let Some(shown) = shown else {
            return;
        };
        for name in OF_TWEETS {
            if let Some(number) = numbers.get(name) {
                shown.insert(name.to_owned(), number.clone());
            }
        }
    }

    /// Makes a user show their numbers, and how the caller stands to them.
    pub(crate) fn show_in_user(&self, user: &mut Value) {
        if let Some(status) = text(user, "id").and_then(|id| self.connections.get(id)).cloned()
            && let Some(user) = user.as_object_mut()
        {
            user.insert(CONNECTION_STATUS.to_owned(), status);
        }
        let Some(all) = &self.numbers else {
            return;
        };
        let numbers = text(user, "id").and_then(|id| all.get(id));
        let shown: Map<String, Value> = OF_USERS
            .into_iter()
            .map(|name| {
                let number = numbers.and_then(|numbers| numbers.get(name));
                (name.to_owned(), number.cloned().unwrap_or(json!(0)))
            })
            .collect();
        if let Some(user) = user.as_object_mut() {
            user.insert(METRICS.to_owned(), shown.into());
        }
    }
}
