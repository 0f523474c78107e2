//! Streams: lines with a tweet's id each become lines with the tweet, as they come.
//!
//! Lines that wait together are completed together, so the calls that a busy stream takes depend
//! on how fast the caller reads and not on the number of tweets. Nothing is read ahead: when the
//! caller does not read, the owner of the stream notices; when they go away, it ends.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::response::Response;
use futures_util::future::FutureExt;
use futures_util::stream::{self, Fuse, StreamExt};
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use pillion_chassis::answer::Streaming;
use pillion_chassis::{Peers, Problem};
use serde_json::{Map, Value, json};

use crate::compose::visibility::Visibility;
use crate::compose::{by_id, gather, strip, text};
use crate::dialect::Dialect;
use crate::fetch::{Fetch, TWEETS};
use crate::query::Plan;
use crate::stream_guard::StreamGuard;

/// A line is an id and the rules that it matches, some tens of kilobytes if they are very many.
const LINE_BYTES_MAX: usize = 256 * 1024;
/// Lines completed at once: what services look up in one call.
const LINES_AT_ONCE_MAX: usize = 100;
/// Owners send a heartbeat at least every 20 s; after three missing ones they are gone.
const SILENCE_MAX: Duration = Duration::from_mins(1);
/// What was not there yet is asked for once more after this: news of a retweet may reach the
/// owner of the stream a little before the owner of tweets.
const LATE_AFTER: Duration = Duration::from_millis(300);

/// What streams are completed with.
pub(crate) struct Completion {
    pub(crate) peers: Arc<dyn Peers>,
    pub(crate) guard: StreamGuard,
    pub(crate) plan: Plan,
    pub(crate) dialect: Dialect,
}

/// Completes a stream of ids.
pub(crate) fn complete(completion: Completion, response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    parts.extensions.insert(Streaming);
    let data = body.into_data_stream().fuse();
    let lines = Lines { data, broken: None, buffer: Vec::new(), scanned: 0 };
    let stream = stream::unfold(Some((completion, lines)), next);
    Response::from_parts(parts, Body::from_stream(stream))
}

/// The next lines to send; `None` at the end.
async fn next(state: Option<(Completion, Lines)>) -> Option<(Sent, Option<(Completion, Lines)>)> {
    let (mut completion, mut lines) = state?;
    loop {
        let waiting = tokio::select! {
            waiting = lines.waiting() => waiting,
            () = completion.guard.revoked() => {
                let problem = Problem::unauthorized("The access token was revoked.");
                return Some((Ok(completion.disconnect(&problem).into()), None));
            }
        };
        let sent = match waiting {
            Ok(batch) if batch.is_empty() => return None,
            Ok(batch) => completion.lines(batch).await,
            Err(broken) => {
                tracing::warn!(error = %broken, "a stream of another service broke off");
                let detail = "The stream broke off here. Connect again.";
                Err(Problem::plain(StatusCode::BAD_GATEWAY, detail))
            }
        };
        match sent {
            // All of it was hidden or gone.
            Ok(sent) if sent.is_empty() => {}
            Ok(sent) => return Some((Ok(sent.into()), Some((completion, lines)))),
            Err(problem) => return Some((Ok(completion.disconnect(&problem).into()), None)),
        }
    }
}

type Sent = Result<Bytes, Infallible>;

/// Why a stream of lines cannot be read on.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("a line is over {LINE_BYTES_MAX} bytes")]
    LineTooLong,
    #[error("nothing came for {} s", SILENCE_MAX.as_secs())]
    Silent,
    #[error(transparent)]
    Data(#[from] axum::Error),
}

/// Cuts a body into lines.
struct Lines {
    data: Fuse<BodyDataStream>,
    /// Why there is no more, when the lines before that are dealt with.
    broken: Option<Broken>,
    buffer: Vec<u8>,
    /// So much of the buffer has no end of a line.
    scanned: usize,
}

impl Lines {
    /// The lines that are there, at least one, without their ends; none at the end of the body.
    async fn waiting(&mut self) -> Result<Vec<Vec<u8>>, Broken> {
        if let Some(broken) = self.broken.take() {
            return Err(broken);
        }
        let mut lines = Vec::new();
        loop {
            while lines.len() < LINES_AT_ONCE_MAX {
                match self.cut() {
                    Some(line) => lines.push(line),
                    None => break,
                }
            }
            if self.scanned > LINE_BYTES_MAX {
                return Err(Broken::LineTooLong);
            }
            if lines.len() == LINES_AT_ONCE_MAX {
                return Ok(lines);
            }
            let next = self.data.next();
            let data = if lines.is_empty() {
                tokio::time::timeout(SILENCE_MAX, next).await.map_err(|_| Broken::Silent)?
            } else {
                match next.now_or_never() {
                    Some(data) => data,
                    None => return Ok(lines),
                }
            };
            match data {
                Some(Ok(data)) => self.buffer.extend_from_slice(&data),
                Some(Err(error)) if lines.is_empty() => return Err(error.into()),
                Some(Err(error)) => {
                    self.broken = Some(error.into());
                    return Ok(lines);
                }
                None => return Ok(lines),
            }
        }
    }

    fn cut(&mut self) -> Option<Vec<u8>> {
        let rest = self.buffer.get(self.scanned..).unwrap_or_default();
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            self.scanned = self.buffer.len();
            return None;
        };
        let mut line: Vec<u8> = self.buffer.drain(..=self.scanned + end).collect();
        self.scanned = 0;
        while line.last().is_some_and(|byte| b"\r\n".contains(byte)) {
            line.pop();
        }
        Some(line)
    }
}

impl Completion {
    /// What to send for these lines; nothing for tweets that are hidden or gone.
    async fn lines(&self, lines: Vec<Vec<u8>>) -> Result<Vec<u8>, Problem> {
        // A line that is no JSON is a heartbeat, or as good as one.
        let lines: Vec<Option<Map<String, Value>>> =
            lines.iter().map(|line| serde_json::from_slice(line).ok()).collect();
        let ids: Vec<String> = lines.iter().flatten().filter_map(tweet_of).collect();
        let onward = self.guard.onward();
        let fetch = Fetch { peers: &*self.peers, onward: &onward };
        let mut tweets = self.tweets(fetch, &ids).await?;
        let mut visibility = Visibility::default();
        let (gathered, _) = gather(fetch, &self.plan, &mut tweets, &[], &mut visibility).await?;
        let tweets = by_id(tweets);
        let mut sent = Vec::new();
        for line in lines {
            let Some(mut line) = line else {
                sent.extend_from_slice(b"\r\n");
                continue;
            };
            if let Some(id) = tweet_of(&line) {
                let Some(tweet) = tweets.get(&id) else {
                    continue;
                };
                let tweet = std::slice::from_ref(tweet);
                let (includes, errors) = gathered.includes(&self.plan, &visibility, tweet);
                let data = tweet.iter().cloned().map(|mut tweet| {
                    strip(&mut tweet);
                    tweet
                });
                line.extend(data.map(|tweet| ("data".to_owned(), tweet)));
                if !includes.is_empty() {
                    line.insert("includes".to_owned(), includes.into());
                }
                if !errors.is_empty() {
                    line.insert("errors".to_owned(), errors.into());
                }
            }
            self.write(&mut sent, line.into());
        }
        Ok(sent)
    }

    /// Tweets by id, with those that are a little late.
    async fn tweets(&self, fetch: Fetch<'_>, ids: &[String]) -> Result<Vec<Value>, Problem> {
        let mut found = fetch.list(&TWEETS, ids, &self.plan.tweet_fields).await?;
        let is_there = |id: &&String| found.iter().any(|tweet| text(tweet, "id") == Some(id));
        let late: Vec<String> = ids.iter().filter(|id| !is_there(id)).cloned().collect();
        if !late.is_empty() {
            tokio::time::sleep(LATE_AFTER).await;
            found.extend(fetch.list(&TWEETS, &late, &self.plan.tweet_fields).await?);
        }
        Ok(found)
    }

    /// The last line, which says why it is the last.
    fn disconnect(&self, problem: &Problem) -> Vec<u8> {
        let detail = problem.document().get("detail").cloned().unwrap_or_default();
        let line = json!({ "errors": [{
            "title": "operational-disconnect",
            "disconnect_type": "UpstreamOperationalDisconnect",
            "detail": detail,
            "type": "https://api.twitter.com/2/problems/operational-disconnect",
        }]});
        let mut sent = Vec::new();
        self.write(&mut sent, line);
        sent
    }

    fn write(&self, sent: &mut Vec<u8>, mut line: Value) {
        self.dialect.rename(&mut line);
        sent.extend_from_slice(line.to_string().as_bytes());
        sent.extend_from_slice(b"\r\n");
    }
}

/// The id of the tweet that a line is about.
fn tweet_of(line: &Map<String, Value>) -> Option<String> {
    text(line.get("data")?, "id").map(str::to_owned)
}
