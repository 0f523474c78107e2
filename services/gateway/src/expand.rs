//! Includes what `expansions` ask for: users and tweets that the tweets of an answer point at,
//! each once.
//!
//! The number of calls depends on the page, not on its items: ids are collected first and asked
//! for a hundred at a time, tweets before users because included tweets have authors too.

use std::collections::{HashMap, HashSet};

use axum::body::Body;
use axum::response::Response;
use futures_util::future::{try_join, try_join_all};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use pillion_chassis::peers::body_of;
use pillion_chassis::problem::not_found_error;
use pillion_chassis::{Onward, PeerError, Peers, Problem};
use serde_json::{Map, Value};

use crate::fields::{AUTHOR, EDITS, MENTIONED, REFERENCED, REFERENCED_AUTHOR, REPLIED_TO_USER};
use crate::forward::no_answer;
use crate::query::Plan;

const TWEETS: &str = "tweets";
const USERS: &str = "users";

/// What the owning services give in one answer.
const BATCH_MAX: usize = 100;

/// Mentioned users included with one page. A hundred tweets of nothing but handles could name
/// thousands; then the first ones are included.
const MENTIONED_MAX: usize = 300;

/// The longest handle, in characters; what looks like a longer one is nobody's.
const USERNAME_CHARS_MAX: usize = 15;

/// Things to fetch, each once, with the expansion that asked first.
#[derive(Debug, Default)]
struct Wanted {
    keys: Vec<String>,
    expansions: HashMap<String, &'static str>,
}

impl Wanted {
    fn add(&mut self, key: Option<&str>, expansion: &'static str) {
        if let Some(key) = key
            && !self.expansions.contains_key(key)
        {
            self.keys.push(key.to_owned());
            self.expansions.insert(key.to_owned(), expansion);
        }
    }

    /// Errors for what was not found; `found` holds the keys of what was.
    fn missing(&self, kind: &str, found: &HashSet<String>) -> Vec<Value> {
        let missing = self.keys.iter().filter(|key| !found.contains(*key));
        missing
            .map(|key| {
                let expansion = self.expansions.get(key).copied().unwrap_or_default();
                not_found_error(kind, expansion, key)
            })
            .collect()
    }
}

/// Where and how things are looked up by a list.
struct Source<'a> {
    service: &'static str,
    path: &'static str,
    keys: &'static str,
    fields_name: &'static str,
    fields: &'a str,
    scope: &'static str,
}

impl Source<'_> {
    /// The path that asks for these keys.
    fn path_of(&self, keys: &[String]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair(self.keys, &keys.join(","));
        if !self.fields.is_empty() {
            query.append_pair(self.fields_name, self.fields);
        }
        format!("{}?{}", self.path, query.finish())
    }
}

/// Completes an answer of the owner by what the plan includes.
pub(crate) async fn expand(
    peers: &dyn Peers,
    onward: &Onward,
    plan: &Plan,
    owner: &str,
    response: Response,
) -> Result<Response, Problem> {
    let (mut parts, body) = response.into_parts();
    let bytes = body_of(owner, body).await.map_err(no_answer)?;
    let mut page: Map<String, Value> =
        serde_json::from_slice(&bytes).map_err(|error| bad_answer(owner, &error))?;
    let (includes, errors) = include(peers, onward, plan, &items(page.get("data"))).await?;
    if !includes.is_empty() {
        page.insert("includes".to_owned(), includes.into());
    }
    if !errors.is_empty() {
        let all = page.entry("errors").or_insert_with(|| Value::Array(Vec::new()));
        if let Some(all) = all.as_array_mut() {
            all.extend(errors);
        }
    }
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(Response::from_parts(parts, Body::from(Value::Object(page).to_string())))
}

/// The one thing or the list of things in `data`.
fn items(data: Option<&Value>) -> Vec<&Value> {
    match data {
        Some(Value::Array(items)) => items.iter().collect(),
        Some(item @ Value::Object(_)) => vec![item],
        _ => Vec::new(),
    }
}

fn text<'a>(item: &'a Value, name: &str) -> Option<&'a str> {
    item.get(name)?.as_str()
}

/// The members of `includes`, and errors for what is not there.
async fn include(
    peers: &dyn Peers,
    onward: &Onward,
    plan: &Plan,
    tweets: &[&Value],
) -> Result<(Map<String, Value>, Vec<Value>), Problem> {
    let wanted_tweets = tweets_wanted(plan, tweets);
    let source = Source {
        service: TWEETS,
        path: "/2/tweets",
        keys: "ids",
        fields_name: "tweet.fields",
        fields: &plan.tweet_fields,
        scope: "tweet.read",
    };
    let included_tweets = fetch(peers, onward, &source, &wanted_tweets.keys).await?;

    let (wanted_ids, wanted_names) = users_wanted(plan, tweets, &included_tweets);
    let by_id = Source {
        service: USERS,
        path: "/2/users",
        keys: "ids",
        fields_name: "user.fields",
        fields: &plan.user_fields,
        scope: "users.read",
    };
    let by_name = Source { path: "/2/users/by", keys: "usernames", ..by_id };
    let (mut users, mentioned) = try_join(
        fetch(peers, onward, &by_id, &wanted_ids.keys),
        fetch(peers, onward, &by_name, &wanted_names.keys),
    )
    .await?;

    let ids = |items: &[Value]| -> HashSet<String> {
        items.iter().filter_map(|item| text(item, "id")).map(str::to_owned).collect()
    };
    let names = mentioned.iter().filter_map(|user| text(user, "username"));
    let names = names.map(str::to_ascii_lowercase).collect();
    let mut errors = wanted_tweets.missing("tweet", &ids(&included_tweets));
    let users_by_id = ids(&users);
    errors.extend(wanted_ids.missing("user", &users_by_id));
    errors.extend(wanted_names.missing("user", &names));
    users.extend(
        mentioned
            .into_iter()
            .filter(|user| text(user, "id").is_some_and(|id| !users_by_id.contains(id))),
    );
    let mut includes = Map::new();
    for (name, things) in [("tweets", included_tweets), ("users", users)] {
        if !things.is_empty() {
            includes.insert(name.to_owned(), things.into());
        }
    }
    Ok((includes, errors))
}

fn tweets_wanted(plan: &Plan, tweets: &[&Value]) -> Wanted {
    let mut wanted = Wanted::default();
    for tweet in tweets {
        if plan.has_referenced() {
            for reference in items(tweet.get("referenced_tweets")) {
                wanted.add(text(reference, "id"), REFERENCED);
            }
        }
        if plan.has(EDITS) {
            let edits = tweet.get("edit_history_tweet_ids").and_then(Value::as_array);
            for id in edits.into_iter().flatten() {
                wanted.add(id.as_str(), EDITS);
            }
        }
    }
    wanted
}

/// Users by id, and users by handle in lower case.
fn users_wanted(plan: &Plan, tweets: &[&Value], included: &[Value]) -> (Wanted, Wanted) {
    let (mut ids, mut names) = (Wanted::default(), Wanted::default());
    for tweet in tweets {
        if plan.has(AUTHOR) {
            ids.add(text(tweet, "author_id"), AUTHOR);
        }
        if plan.has(REPLIED_TO_USER) {
            ids.add(text(tweet, "in_reply_to_user_id"), REPLIED_TO_USER);
        }
        if plan.has(MENTIONED) {
            let mentions = tweet.get("entities").and_then(|entities| entities.get("mentions"));
            for mention in items(mentions) {
                let name = text(mention, "username").map(str::to_ascii_lowercase);
                let name = name.filter(|name| name.len() <= USERNAME_CHARS_MAX);
                if names.keys.len() < MENTIONED_MAX {
                    names.add(name.as_deref(), MENTIONED);
                }
            }
        }
    }
    if plan.has(REFERENCED_AUTHOR) {
        let referenced: HashSet<&str> = tweets
            .iter()
            .flat_map(|tweet| items(tweet.get("referenced_tweets")))
            .filter_map(|reference| text(reference, "id"))
            .collect();
        for tweet in included {
            if text(tweet, "id").is_some_and(|id| referenced.contains(id)) {
                ids.add(text(tweet, "author_id"), REFERENCED_AUTHOR);
            }
        }
    }
    (ids, names)
}

/// What the source has of these keys, in their order.
async fn fetch(
    peers: &dyn Peers,
    onward: &Onward,
    source: &Source<'_>,
    keys: &[String],
) -> Result<Vec<Value>, Problem> {
    let mut batches = Vec::new();
    for batch in keys.chunks(BATCH_MAX) {
        batches.push(fetch_batch(peers, onward, source, batch));
    }
    Ok(try_join_all(batches).await?.into_iter().flatten().collect())
}

async fn fetch_batch(
    peers: &dyn Peers,
    onward: &Onward,
    source: &Source<'_>,
    keys: &[String],
) -> Result<Vec<Value>, Problem> {
    let Source { service, scope, .. } = *source;
    let request = onward
        .request(Method::GET, &source.path_of(keys))
        .body(Body::empty())
        .map_err(|error| Problem::internal(&error))?;
    let response = peers.call(service, request).await.map_err(no_answer)?;
    match response.status() {
        StatusCode::OK => {
            let bytes = body_of(service, response.into_body()).await.map_err(no_answer)?;
            let mut answer: Map<String, Value> =
                serde_json::from_slice(&bytes).map_err(|error| bad_answer(service, &error))?;
            match answer.remove("data") {
                Some(Value::Array(found)) => Ok(found),
                _ => Ok(Vec::new()),
            }
        }
        StatusCode::UNAUTHORIZED => Err(Problem::unauthorized(format!(
            "The service {service} did not accept the token; get a new one."
        ))),
        StatusCode::FORBIDDEN => Err(Problem::forbidden(format!(
            "These `expansions` need a token that has the scope {scope} too."
        ))),
        status @ (StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) => {
            let source = format!("it answered {status}").into();
            Err(no_answer(PeerError::Unreachable { service: service.to_owned(), source }))
        }
        status => Err(bad_answer(service, &format!("its status is {status}"))),
    }
}

fn bad_answer(service: &str, reason: &impl ToString) -> Problem {
    no_answer(PeerError::BadAnswer { service: service.to_owned(), reason: reason.to_string() })
}
