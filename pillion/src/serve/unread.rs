//! What nobody has read of a request's body is read and thrown away before the answer goes out.
//! A client that is still writing when its connection is closed gets a broken pipe instead of
//! the answer that explains it.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use http::header::EXPECT;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::oneshot;

/// What is thrown away at most; whoever sends more than this is cut off.
const DISCARD_BYTES_MAX: usize = 1 << 20;

/// How long an answer waits for that: a slow line brings a common body in this time, and a
/// refused client that sends nothing holds its place no longer.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// The way back of a body that is dropped before its end.
#[derive(Debug)]
pub(super) struct Unread(Option<oneshot::Receiver<Body>>);

impl Unread {
    /// Follows the request's body. A request without one costs nothing.
    pub(super) fn of(request: &mut Request) -> Self {
        if request.body().is_end_stream() {
            return Self(None);
        }
        let expects = request.headers().contains_key(EXPECT);
        let (rest, left) = oneshot::channel();
        let body = mem::take(request.body_mut());
        *request.body_mut() = Body::new(Followed { body, expects, rest: Some(rest) });
        Self(Some(left))
    }

    /// Throws away what was left over, within bounds of size and time. To be called when the
    /// answer is there.
    pub(super) async fn discard(self) {
        // A body that was read has nothing left, and one that is still being read has a reader.
        let Some(mut body) = self.0.and_then(|mut left| left.try_recv().ok()) else {
            return;
        };
        let mut bytes_left = DISCARD_BYTES_MAX;
        let read = async {
            while let Some(Ok(frame)) = body.frame().await {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                match bytes_left.checked_sub(bytes) {
                    Some(rest) => bytes_left = rest,
                    None => break,
                }
            }
        };
        // Out of time or out of patience: either way the answer goes out now.
        let _ = tokio::time::timeout(DISCARD_TIMEOUT, read).await;
    }
}

/// A body that goes back to its [`Unread`] when it is dropped before its end.
#[derive(Debug)]
struct Followed {
    body: Body,
    /// Its sender asks before it sends, and has not been told to yet: nothing is on its way.
    expects: bool,
    /// `None` once the body has ended.
    rest: Option<oneshot::Sender<Body>>,
}

impl http_body::Body for Followed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        // The first look at the body is what makes the connection say "100 Continue".
        self.expects = false;
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.rest = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        if self.expects || self.body.is_end_stream() {
            return;
        }
        if let Some(rest) = self.rest.take() {
            // When the client has left, nobody waits for it.
            let _ = rest.send(mem::take(&mut self.body));
        }
    }
}
