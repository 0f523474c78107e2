//! The public API as the population uses it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::clock;
use crate::system::population::user_id;
use crate::workload::{SCOPE, SECRET, token};

/// Connections at once: half of what [`super::running`] lets one address have.
const CONNECTIONS_MAX: usize = 256;

/// More than the server lets a request take.
const DEADLINE: Duration = Duration::from_secs(15);

/// Tweets of a page.
pub(crate) const PAGE_TWEETS: usize = 20;

/// What an app asks for to show tweets.
const SHOWN: &str = "max_results=20&tweet.fields=created_at,public_metrics&expansions=author_id";

/// A client of one system, for all users.
#[derive(Debug)]
pub(crate) struct Api {
    http: Client<HttpConnector, Full<Bytes>>,
    bases: Vec<String>,
    next_base: AtomicUsize,
    authorizations: Vec<HeaderValue>,
    turns: Semaphore,
}

impl Api {
    /// At these addresses, in turns, with a token for each of these users.
    pub(crate) fn new<'a>(bases: impl IntoIterator<Item = &'a str>, users: usize) -> Result<Self> {
        let now_us = clock::now_us();
        let authorization = |user: usize| {
            let token = token(user as u64, SCOPE, now_us, SECRET);
            HeaderValue::try_from(format!("Bearer {token}")).context("a token is text")
        };
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let mut http = Client::builder(TokioExecutor::new());
        http.pool_max_idle_per_host(CONNECTIONS_MAX);
        Ok(Self {
            http: http.build(connector),
            bases: bases.into_iter().map(str::to_owned).collect(),
            next_base: AtomicUsize::new(0),
            authorizations: (0..users).map(authorization).collect::<Result<_>>()?,
            turns: Semaphore::new(CONNECTIONS_MAX),
        })
    }

    /// A user's home timeline.
    pub(crate) async fn home(&self, user: usize) -> Result<Value> {
        let id = user_id(user);
        let path = format!("/2/users/{id}/timelines/reverse_chronological?{SHOWN}");
        self.call(user, Method::GET, &path, Bytes::new()).await
    }

    /// Another user's tweets.
    pub(crate) async fn tweets_of(&self, user: usize, of: usize) -> Result<Value> {
        let path = format!("/2/users/{}/tweets?{SHOWN}", user_id(of));
        self.call(user, Method::GET, &path, Bytes::new()).await
    }

    /// What search finds; `query` needs no escaping but of spaces.
    pub(crate) async fn search(&self, user: usize, query: &str) -> Result<Value> {
        let query = query.replace(' ', "%20");
        let path = format!("/2/tweets/search/recent?query={query}&{SHOWN}");
        self.call(user, Method::GET, &path, Bytes::new()).await
    }

    /// Posts a tweet; gives its id.
    pub(crate) async fn post(&self, user: usize, text: &str) -> Result<String> {
        let body = json!({ "text": text }).to_string();
        let answer = self.call(user, Method::POST, "/2/tweets", body.into()).await?;
        let id = answer.pointer("/data/id").and_then(Value::as_str);
        Ok(id.context("a tweet without an id")?.to_owned())
    }

    /// One request; anything but success is an error that begins with the status.
    async fn call(&self, user: usize, method: Method, path: &str, body: Bytes) -> Result<Value> {
        let authorization = self.authorizations.get(user).context("no such user")?.clone();
        let turn = self.next_base.fetch_add(1, Ordering::Relaxed);
        let base = self.bases.get(turn % self.bases.len().max(1)).context("no address")?;
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{base}{path}"))
            .header(header::AUTHORIZATION, authorization);
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(body))?;
        let exchange = async {
            let _turn = self.turns.acquire().await?;
            let (head, body) = self.http.request(request).await?.into_parts();
            Ok::<_, anyhow::Error>((head.status, body.collect().await?.to_bytes()))
        };
        let answer = tokio::time::timeout(DEADLINE, exchange).await;
        let (status, body) = answer.context("no answer in time")??;
        if !status.is_success() {
            bail!("{}: {}", status.as_u16(), String::from_utf8_lossy(&body));
        }
        let answer: Value = serde_json::from_slice(&body).context("an answer is no JSON")?;
        // A read whose parts could not be fetched is a success with errors in it.
        if let Some(errors) = answer.get("errors") {
            bail!("errors in an answer: {errors}");
        }
        Ok(answer)
    }
}

/// The tweets of a page.
pub(crate) fn tweets(page: &Value) -> &[Value] {
    page.get("data").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Whether a page of tweets holds this one.
pub(crate) fn holds(page: &Value, id: &str) -> bool {
    tweets(page).iter().any(|tweet| tweet.get("id").and_then(Value::as_str) == Some(id))
}

/// Refuses a page that is not what an app would show: to measure it would mean nothing.
pub(crate) fn check(what: &str, page: &Value, tweets_min: usize) -> Result<()> {
    let shown = |tweet: &&Value| {
        let author = tweet.get("author_id");
        let users = page.pointer("/includes/users").and_then(Value::as_array);
        tweet.get("created_at").is_some()
            && tweet.get("public_metrics").is_some()
            && users.into_iter().flatten().any(|user| user.get("id") == author)
    };
    let (all, good) = (tweets(page).len(), tweets(page).iter().filter(shown).count());
    if all < tweets_min || good < all {
        bail!("{what}: {good} of {all} tweets are complete; {tweets_min} or more must be: {page}");
    }
    Ok(())
}
