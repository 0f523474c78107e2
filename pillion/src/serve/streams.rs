//! Long-lived streams have limits of their own, apart from requests: in the process, for each
//! address and for each account. A stream whose client does not read is cut in bounded time, and
//! its places are free at once.

use std::collections::HashMap;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt as _;
use pillion_chassis::Problem;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::addresses::{Address, AddressPlace, Resource};
use super::count;
use super::idle::Activity;
use super::refusals::Refusal;
use super::requests::ProcessMetrics;
use crate::config::Server;

/// Whose stream it is: the user's, or that of an app that acts for itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Account {
    /// By the user's id.
    User(String),
    /// By the client's id.
    App(String),
}

impl Account {
    pub(super) fn of(caller: &pillion_host::Caller) -> Self {
        match &caller.user_id {
            Some(id) => Self::User(id.clone()),
            None => Self::App(caller.client_id.clone()),
        }
    }
}

/// The streams of this process.
#[derive(Debug)]
pub(crate) struct Streams {
    max: usize,
    per_account_max: usize,
    open: Mutex<Open>,
    metrics: Arc<ProcessMetrics>,
}

#[derive(Debug, Default)]
struct Open {
    count: usize,
    accounts: HashMap<Account, usize>,
}

impl Streams {
    pub(crate) fn new(server: &Server, metrics: Arc<ProcessMetrics>) -> Self {
        Self {
            max: count(server.live_streams),
            per_account_max: count(server.live_streams_per_account),
            open: Mutex::default(),
            metrics,
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // No code that holds the lock can panic.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the places of a stream: its address's, its account's and its own.
    fn enter(
        self: &Arc<Self>,
        address: Option<&Arc<Address>>,
        account: Option<Account>,
    ) -> Result<StreamPlace, Refusal> {
        let address = match address {
            Some(address) => {
                Some(address.take(Resource::Streams).ok_or(Refusal::StreamAddressLimit)?)
            }
            None => None,
        };
        let mut open = self.open();
        if open.count >= self.max {
            return Err(Refusal::StreamLimit);
        }
        if let Some(account) = &account {
            let streams = open.accounts.entry(account.clone()).or_default();
            // An entry of 0 is never left behind: the limit is at least 1.
            if *streams >= self.per_account_max {
                return Err(Refusal::StreamAccountLimit);
            }
            *streams += 1;
        }
        open.count += 1;
        drop(open);
        self.metrics.stream(1);
        Ok(StreamPlace { streams: Arc::clone(self), account, _address: address })
    }

    /// Lets a stream through when there is a place for it, and answers for it otherwise. The place
    /// is in the response's extensions.
    pub(super) fn admit(
        self: &Arc<Self>,
        address: Option<&Arc<Address>>,
        account: Option<Account>,
        mut response: Response,
    ) -> Response {
        match self.enter(address, account) {
            Ok(place) => {
                response.extensions_mut().insert(Arc::new(place));
                response
            }
            Err(refusal) => {
                self.metrics.refusals.count(refusal);
                refused(refusal)
            }
        }
    }
}

fn refused(refusal: Refusal) -> Response {
    const RETRY_AFTER_S: u32 = 10;
    let (status, whose) = match refusal {
        Refusal::StreamAddressLimit => (StatusCode::TOO_MANY_REQUESTS, "Your address has"),
        Refusal::StreamAccountLimit => (StatusCode::TOO_MANY_REQUESTS, "Your account has"),
        _ => {
            let detail = "The server has as many streams as it can serve. Try again soon.";
            return Problem::unavailable(detail, RETRY_AFTER_S).into_response();
        }
    };
    let detail = format!("{whose} as many streams open as allowed. Close one first.");
    let retry_after = HeaderValue::from(RETRY_AFTER_S);
    Problem::plain(status, detail).header(RETRY_AFTER, retry_after).into_response()
}

/// The places of one stream, until it is dropped.
#[derive(Debug)]
pub(super) struct StreamPlace {
    streams: Arc<Streams>,
    account: Option<Account>,
    _address: Option<AddressPlace>,
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut open = self.streams.open();
        open.count -= 1;
        if let Some(account) = &self.account
            && let Some(streams) = open.accounts.get_mut(account)
        {
            *streams -= 1;
            if *streams == 0 {
                open.accounts.remove(account);
            }
        }
        drop(open);
        self.streams.metrics.stream(-1);
    }
}

/// What the pump hands to the connection.
enum Item {
    Frame(Result<Frame<Bytes>, axum::Error>),
    End,
}

/// A stream's body, read by a task of its own: what the connection does not take within `patience`
/// ends the stream. Without the task nothing would notice, for a connection polls a body only when
/// its client has room for more.
///
/// The service's body and `place` are dropped at that moment, and the whole connection is cut, for
/// HTTP/2 has no way to reset a stream that is not polled.
pub(super) fn pump(
    body: Body,
    place: Option<Arc<StreamPlace>>,
    patience: Duration,
    activity: Arc<Activity>,
) -> Body {
    // One frame is read ahead, so that the service still notices a slow reader.
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let _place = place;
        if run(body, sender, patience).await.is_err() {
            activity.stall();
        }
    });
    Body::new(Pumped { receiver, is_over: false })
}

/// The client did not read in time.
struct Stalled;

async fn run(body: Body, sender: mpsc::Sender<Item>, patience: Duration) -> Result<(), Stalled> {
    let mut body = pin!(body);
    loop {
        let room = match timeout(patience, sender.reserve()).await {
            Ok(Ok(room)) => room,
            // The connection has ended.
            Ok(Err(_)) => return Ok(()),
            Err(_) => return Err(Stalled),
        };
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = sender.closed() => return Ok(()),
        };
        match frame {
            Some(Ok(frame)) => room.send(Item::Frame(Ok(frame))),
            Some(Err(error)) => {
                room.send(Item::Frame(Err(error)));
                return Ok(());
            }
            None => {
                room.send(Item::End);
                return Ok(());
            }
        }
    }
}

/// The other end of the pump.
struct Pumped {
    receiver: mpsc::Receiver<Item>,
    is_over: bool,
}

impl http_body::Body for Pumped {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        self.receiver.poll_recv(context).map(|item| match item {
            Some(Item::Frame(frame)) => {
                self.is_over = frame.is_err();
                Some(frame)
            }
            Some(Item::End) => {
                self.is_over = true;
                None
            }
            // The pump ended early: it gave up, or the service's body panicked.
            None => {
                self.is_over = true;
                Some(Err(axum::Error::new("the stream broke off")))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::super::addresses::Addresses;
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn streams(server: &Server) -> Arc<Streams> {
        Arc::new(Streams::new(server, Arc::default()))
    }

    #[test]
    fn s02_streams_are_limited_in_the_process_by_address_and_by_account() {
        let server = Server {
            live_streams: 4,
            live_streams_per_address: 3,
            live_streams_per_account: 2,
            ..Server::default()
        };
        let streams = streams(&server);
        let addresses = Arc::new(Addresses::new(&server));
        let address = |ip: &str| Addresses::of(&addresses, ip.parse().unwrap());
        let (one, two) = (address("192.0.2.1"), address("192.0.2.2"));
        let user = |id: &str| Some(Account::User(id.to_owned()));
        let first = streams.enter(Some(&one), user("7")).unwrap();
        let _second = streams.enter(Some(&one), user("7")).unwrap();
        let third = streams.enter(Some(&one), user("7"));
        assert_eq!(third.err(), Some(Refusal::StreamAccountLimit));
        // An app with the same number is another account.
        let _third = streams.enter(Some(&one), Some(Account::App("7".to_owned()))).unwrap();
        assert_eq!(streams.enter(Some(&one), user("8")).err(), Some(Refusal::StreamAddressLimit));
        let _fourth = streams.enter(Some(&two), user("8")).unwrap();
        assert_eq!(streams.enter(Some(&two), user("9")).err(), Some(Refusal::StreamLimit));
        drop(first);
        let _fifth = streams.enter(Some(&one), user("7")).unwrap();
        assert_eq!(streams.open().accounts.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn s02_a_stream_that_is_not_read_ends_and_frees_its_place() {
        let streams = streams(&Server::default());
        let place = Arc::new(streams.enter(None, None).unwrap());
        let activity = Arc::new(Activity::default());
        let body = Body::from_stream(stream::repeat_with(|| Ok::<_, axum::Error>("line\r\n")));
        let mut body = pump(body, Some(place), PATIENCE, activity.clone());
        // Somebody who reads now and then is left alone.
        for _ in 0..5 {
            tokio::time::sleep(PATIENCE / 2).await;
            assert!(body.frame().await.unwrap().is_ok());
        }
        assert_eq!(streams.open().count, 1);
        tokio::time::sleep(PATIENCE + Duration::from_secs(1)).await;
        assert_eq!(streams.open().count, 0, "the place is free, whether the body is polled or not");
        assert!(activity.is_stalled());
        // What waits is still handed out; then it ends as a failure.
        assert!(body.frame().await.unwrap().is_ok());
        assert!(body.frame().await.unwrap().is_err());
        assert!(body.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_is_not_stalled() {
        let streams = streams(&Server::default());
        let place = Arc::new(streams.enter(None, None).unwrap());
        let activity = Arc::new(Activity::default());
        let silent = Body::from_stream(stream::pending::<Result<Bytes, axum::Error>>());
        let body = pump(silent, Some(place), PATIENCE, activity.clone());
        tokio::time::sleep(PATIENCE * 10).await;
        assert!(!activity.is_stalled());
        assert_eq!(streams.open().count, 1);
        drop(body);
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        assert_eq!(streams.open().count, 0);
    }

    #[tokio::test]
    async fn a_stream_ends_as_its_service_ends_it() {
        let activity = Arc::new(Activity::default());
        let lines = stream::iter(["a", "b"].map(Ok::<_, axum::Error>));
        let body = pump(Body::from_stream(lines), None, PATIENCE, activity);
        assert_eq!(body.collect().await.unwrap().to_bytes(), "ab");
    }
}
