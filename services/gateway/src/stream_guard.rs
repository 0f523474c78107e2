//! Keeps a stream open for as long as the token that opened it is not revoked.
//!
//! A stream may outlast its token. Identity is asked every few seconds whether the token is revoked,
//! which ends the stream, and gives another one for the same caller before it expires.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use futures_util::stream::{self, StreamExt as _};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use pillion_chassis::peers::body_of;
use pillion_chassis::{Onward, PeerError, Peers, ServiceTokens};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How often identity is asked about a stream: with a host's own interval, a revoked token's stream
/// ends within some seconds.
const INTERVAL: Duration = Duration::from_secs(3);

/// Watches over the token of one stream until it is dropped.
#[derive(Debug)]
pub(crate) struct StreamGuard {
    /// What the calls of the stream show.
    onward: Arc<RwLock<Onward>>,
    revoked: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What identity answers.
#[derive(Debug, Deserialize)]
struct Status {
    active: bool,
    token: Option<String>,
}

impl StreamGuard {
    /// For a stream that was opened with the token of `onward`.
    pub(crate) fn start(peers: Arc<dyn Peers>, tokens: Arc<ServiceTokens>, onward: Onward) -> Self {
        let onward = Arc::new(RwLock::new(onward));
        let (tell, revoked) = watch::channel(false);
        let shared = Arc::clone(&onward);
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(INTERVAL).await;
                let current = shared.read().unwrap_or_else(PoisonError::into_inner).clone();
                match ask(&*peers, &tokens, &current).await {
                    Ok(Some(Status { active: false, .. })) => {
                        tell.send_replace(true);
                        return;
                    }
                    Ok(Some(Status { token: Some(token), .. })) => {
                        if let Ok(bearer) = HeaderValue::try_from(format!("Bearer {token}")) {
                            let renewed = current.with_authorization(bearer);
                            *shared.write().unwrap_or_else(PoisonError::into_inner) = renewed;
                        }
                    }
                    Ok(Some(_)) => {}
                    // Without a token there is nothing to watch over.
                    Ok(None) => return,
                    // While identity is unavailable the stream continues as long as its token works.
                    Err(error) => {
                        tracing::debug!(%error, "identity unavailable, keeping the stream");
                    }
                }
            }
        });
        Self { onward, revoked, task }
    }

    /// What the next call of the stream shows.
    pub(crate) fn onward(&self) -> Onward {
        self.onward.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the token is revoked.
    pub(crate) async fn revoked(&mut self) {
        // The task ends without a word when there is nothing to watch over.
        if self.revoked.wait_for(|revoked| *revoked).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The response with a body that ends when the token is revoked.
    pub(crate) fn around(self, response: Response) -> Response {
        let (parts, body) = response.into_parts();
        let state = (self, body.into_data_stream());
        let data = stream::unfold(state, |(mut guard, mut data)| async move {
            let next: Option<Result<Bytes, axum::Error>> = tokio::select! {
                next = data.next() => next,
                () = guard.revoked() => None,
            };
            Some((next?, (guard, data)))
        });
        Response::from_parts(parts, Body::from_stream(data))
    }
}

/// What identity says about the token; `None` without one.
async fn ask(
    peers: &dyn Peers,
    tokens: &ServiceTokens,
    onward: &Onward,
) -> Result<Option<Status>, PeerError> {
    const IDENTITY: &str = "identity";
    let bad = |reason: String| PeerError::BadAnswer { service: IDENTITY.to_owned(), reason };
    let header = onward.authorization().and_then(|value| value.to_str().ok());
    let token = header.and_then(|header| header.split_once(' ')).map(|(_, token)| token.trim());
    let Some(token) = token else {
        return Ok(None);
    };
    let request = Onward::default()
        .request(Method::POST, "/internal/token-status")
        .header(AUTHORIZATION, tokens.bearer())
        .header(CONTENT_TYPE, "application/json")
        .body(Body::from(json!({ "token": token }).to_string()))
        .map_err(|error| bad(error.to_string()))?;
    let response = peers.call(IDENTITY, request).await?;
    if response.status() != StatusCode::OK {
        return Err(bad(format!("its status is {}", response.status())));
    }
    let body = body_of(IDENTITY, response.into_body()).await?;
    serde_json::from_slice(&body).map(Some).map_err(|error| bad(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use http::{HeaderMap, Request};
    use pillion_chassis::SystemClock;
    use pillion_chassis::testing::service_tokens;

    use super::*;

    /// An identity that gives these answers, one after the other, and then the last again.
    #[derive(Debug)]
    struct Identity(Mutex<Vec<&'static str>>);

    #[async_trait]
    impl Peers for Identity {
        async fn call(
            &self,
            service: &str,
            request: Request<Body>,
        ) -> Result<http::Response<Body>, PeerError> {
            assert_eq!((service, request.uri().path()), ("identity", "/internal/token-status"));
            let mut answers = self.0.lock().unwrap();
            let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0] };
            if answer.is_empty() {
                return Err(PeerError::TimedOut(service.to_owned()));
            }
            Ok(http::Response::new(Body::from(answer)))
        }
    }

    fn guard(answers: &[&'static str]) -> StreamGuard {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer old"));
        let identity = Arc::new(Identity(Mutex::new(answers.to_vec())));
        let tokens = service_tokens("gateway", Arc::new(SystemClock));
        StreamGuard::start(identity, tokens, Onward::of(&headers))
    }

    #[tokio::test(start_paused = true)]
    async fn i13_a_stream_gets_another_token_and_outlasts_an_identity_that_is_down() {
        let guard = guard(&["", r#"{"active":true,"token":"new"}"#, r#"{"active":true}"#]);
        assert_eq!(guard.onward().authorization().unwrap(), "Bearer old");
        tokio::time::sleep(INTERVAL * 4).await;
        assert_eq!(guard.onward().authorization().unwrap(), "Bearer new");
        assert!(!*guard.revoked.borrow());
    }

    #[tokio::test(start_paused = true)]
    async fn i13_a_stream_ends_when_its_token_is_revoked() {
        let guard = guard(&[r#"{"active":true}"#, r#"{"active":false}"#]);
        let endless = stream::once(async { Ok::<_, std::convert::Infallible>("line\r\n") })
            .chain(stream::pending());
        let response = guard.around(Response::new(Body::from_stream(endless)));
        let body = axum::body::to_bytes(response.into_body(), 100);
        let body = tokio::time::timeout(INTERVAL * 3, body).await.expect("the stream ends");
        assert_eq!(body.unwrap(), "line\r\n");
    }
}
