//! A stream's body: a line of JSON per tweet, an empty line when there is nothing to say, and an
//! error as the last line when the server ends it. Lines end with `\r\n`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use pillion_chassis::answer::Streaming;
use pillion_chassis::{DatabaseError, TweetId};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use crate::document::Document;
use crate::error::Disconnect;
use crate::lease::Lease;
use crate::live::{Listener, News};
use crate::query::{self, Pattern, Query, RULE_CHARS_MAX};
use crate::store::{Rule, Store};

const LINE_END: &[u8] = b"\r\n";
/// How long a rule that another process changed, or a handle in a rule, may stay as it was. As
/// often a connection says that it is still there.
const RULES_AGE_MAX: Duration = Duration::from_secs(10);

/// Which tweets are on a stream.
#[derive(Debug)]
pub(crate) enum Filter {
    /// Those that one of the app's rules matches.
    Rules(Rules),
    /// So many of 10,000.
    Sample(u32),
}

/// The rules of an app, ready to be asked.
#[derive(Debug)]
pub(crate) struct Rules {
    store: Store,
    client_id: String,
    ready: Vec<ReadyRule>,
}

#[derive(Debug)]
struct ReadyRule {
    id: i64,
    /// Empty for a rule without one: clients read the key without asking whether it is present.
    tag: String,
    pattern: Pattern,
}

/// A stream under way.
struct Connection {
    listener: Listener,
    lease: Lease,
    filter: Filter,
    heartbeat: Duration,
    heartbeat_at: Instant,
    refresh_at: Instant,
    is_over: bool,
}

/// The endless answer with the tweets of the filter.
pub(crate) fn respond(
    listener: Listener,
    lease: Lease,
    filter: Filter,
    heartbeat: Duration,
) -> Response {
    let now = Instant::now();
    let connection = Connection {
        listener,
        lease,
        filter,
        heartbeat,
        heartbeat_at: now + heartbeat,
        refresh_at: now + RULES_AGE_MAX,
        is_over: false,
    };
    let lines = stream::unfold(connection, |mut connection| async {
        let line = connection.next().await?;
        Some((Ok::<_, Infallible>(line), connection))
    });
    let headers = [(CONTENT_TYPE, "application/json; charset=utf-8"), (CACHE_CONTROL, "no-store")];
    (Extension(Streaming), headers, Body::from_stream(lines)).into_response()
}

/// What woke a stream.
enum Woken {
    News(Result<News, RecvError>),
    Heartbeat,
    Refresh,
    Closing,
}

impl Connection {
    /// The next line, unless the last one has been sent.
    async fn next(&mut self) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        loop {
            match self.woken().await {
                Woken::Closing => {
                    // It may come again at once, to another process.
                    self.lease.end().await;
                    return Some(self.end(Disconnect::Shutdown));
                }
                Woken::Refresh if !self.has_its_place().await => {
                    return Some(self.end(Disconnect::Shutdown));
                }
                Woken::Refresh => self.refresh().await,
                Woken::Heartbeat => return Some(self.line(&[])),
                Woken::News(Ok(News::Tweet(document))) => {
                    if let Some(found) = self.filter.find(&document) {
                        return Some(self.line(found.to_string().as_bytes()));
                    }
                }
                Woken::News(Ok(News::Gap)) => return Some(self.end(Disconnect::Missed)),
                Woken::News(Err(RecvError::Lagged(_))) => {
                    return Some(self.end(Disconnect::SlowReader));
                }
                Woken::News(Err(RecvError::Closed)) => return None,
            }
        }
    }

    /// Dropping the wait loses nothing.
    async fn woken(&mut self) -> Woken {
        let Listener { feed, rules_changed, closing, .. } = &mut self.listener;
        tokio::select! {
            biased;
            // An error says that the service is gone, which ends the stream as well.
            _ = closing.wait_for(|closing| *closing) => Woken::Closing,
            _ = rules_changed.changed() => Woken::Refresh,
            () = tokio::time::sleep_until(self.refresh_at) => Woken::Refresh,
            // Before the tweets: a stream of tweets that do not match is silent, too.
            () = tokio::time::sleep_until(self.heartbeat_at) => Woken::Heartbeat,
            news = feed.recv() => Woken::News(news),
        }
    }

    /// Says that the connection is still there, unless another took its place.
    async fn has_its_place(&self) -> bool {
        self.lease.renew().await.unwrap_or_else(|error| {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "a stream goes on without saying that it is there");
            true
        })
    }

    async fn refresh(&mut self) {
        self.refresh_at = Instant::now() + RULES_AGE_MAX;
        if let Filter::Rules(rules) = &mut self.filter
            && let Err(error) = rules.reload().await
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                client_id = rules.client_id,
                "a stream goes on with its old rules, for the new ones cannot be read"
            );
        }
    }

    fn line(&mut self, text: &[u8]) -> Bytes {
        self.heartbeat_at = Instant::now() + self.heartbeat;
        [text, LINE_END].concat().into()
    }

    fn end(&mut self, why: Disconnect) -> Bytes {
        self.is_over = true;
        self.line(why.document().to_string().as_bytes())
    }
}

impl Filter {
    /// What is sent of the document, if it is sent.
    fn find(&self, document: &Arc<Document>) -> Option<Value> {
        match self {
            Self::Sample(per_10_000) => {
                is_in_sample(document.id, *per_10_000).then(|| json!({"data": {"id": document.id}}))
            }
            Self::Rules(rules) => {
                let matching = rules.matching(document);
                (!matching.is_empty())
                    .then(|| json!({"data": {"id": document.id}, "matching_rules": matching}))
            }
        }
    }
}

/// Whether the tweet is one of the so many of 10,000: always the same ones, and no matter how
/// ids are handed out.
fn is_in_sample(id: TweetId, per_10_000: u32) -> bool {
    // The finalizer of SplitMix64: every bit of the id moves every bit of the number.
    let mut number = id.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (number ^ (number >> 31)) % 10_000 < u64::from(per_10_000)
}

impl Rules {
    /// The rules of the app as they are now.
    pub(crate) async fn load(store: Store, client_id: &str) -> Result<Self, DatabaseError> {
        let mut rules = Self { store, client_id: client_id.to_owned(), ready: Vec::new() };
        rules.reload().await?;
        Ok(rules)
    }

    /// Whether the app has none.
    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    async fn reload(&mut self) -> Result<(), DatabaseError> {
        let stored = self.store.all_rules(&self.client_id).await?;
        let parsed: Vec<(Rule, Query)> = stored.into_iter().filter_map(parsed).collect();
        let handles = parsed.iter().flat_map(|(_, query)| query.handles());
        let accounts = self.store.accounts(handles).await?;
        self.ready = parsed
            .into_iter()
            .map(|(Rule { id, tag, .. }, query)| ReadyRule {
                id,
                tag: tag.unwrap_or_default(),
                pattern: query.pattern(&accounts),
            })
            .collect();
        Ok(())
    }

    fn matching(&self, document: &Document) -> Vec<Value> {
        let matching = self.ready.iter().filter(|rule| rule.pattern.matches(document));
        matching.map(|rule| json!({"id": rule.id.to_string(), "tag": rule.tag})).collect()
    }
}

/// The rule's query. Every rule was read once before it was stored; a newer build may read less.
fn parsed(rule: Rule) -> Option<(Rule, Query)> {
    match query::parse(&rule.value, RULE_CHARS_MAX) {
        Ok(query) => Some((rule, query)),
        Err(error) => {
            tracing::warn!(
                rule = rule.id,
                error = &error as &dyn std::error::Error,
                "a stored rule cannot be read any more and matches nothing"
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_the_share_that_it_says() {
        let tweets = 100_000_u64;
        let sampled = |per_10_000| {
            // As ids come: close together, the low bits mostly the same.
            let ids = (0..tweets).map(|n| TweetId::new(1_460_323_737_035_677_696 + (n << 22)));
            ids.flatten().filter(|id| is_in_sample(*id, per_10_000)).count()
        };
        assert_eq!(sampled(0), 0);
        assert_eq!(sampled(10_000), 100_000);
        let hundredth = sampled(100);
        assert!((900..1_100).contains(&hundredth), "{hundredth}");
    }
}
