//! How long a client may keep a connection waiting, and whether it does.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Version;
use pillion_chassis::tls::Stream;
use pillion_host::FlushNotifier;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// How long a client may keep a connection waiting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For a head: the first from the connection on, an HTTP/1 one from its first byte on.
    pub(super) head: Duration,
    /// Between requests.
    pub(super) idle: Duration,
    /// For taking a response, from its head to its last byte.
    pub(super) response: Duration,
}

/// What is to become of a connection whose client keeps it waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It idles: say goodbye.
    Close,
    /// It sends a head or takes a response too slowly: there is nobody to say anything to.
    Cut,
}

/// What a connection has been doing. Times are milliseconds after `begun`.
#[derive(Debug)]
pub(super) struct Activity {
    begun: Instant,
    requests: AtomicU64,
    in_flight: AtomicUsize,
    responses: Mutex<Responses>,
    last_end_ms: AtomicU64,
    /// When the first byte after the last request came; 0 when none has.
    head_since_ms: AtomicU64,
    /// HTTP/2 frames come for many reasons, and their own code bounds unfinished heads.
    http2: AtomicBool,
}

/// The responses that are on their way. There are as many as streams at most.
#[derive(Debug, Default)]
struct Responses {
    begun: u64,
    /// When each began, by its number: the first is the oldest.
    on_their_way: BTreeMap<u64, Instant>,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            requests: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            responses: Mutex::default(),
            last_end_ms: AtomicU64::new(0),
            head_since_ms: AtomicU64::new(0),
            http2: AtomicBool::new(false),
        }
    }
}

impl Activity {
    pub(super) fn begin(this: &Arc<Self>, version: Version) -> Busy {
        this.http2.store(version == Version::HTTP_2, Ordering::Relaxed);
        this.requests.fetch_add(1, Ordering::Relaxed);
        this.in_flight.fetch_add(1, Ordering::Relaxed);
        this.head_since_ms.store(0, Ordering::Relaxed);
        Busy { activity: Arc::clone(this), response: None }
    }

    fn responses(&self) -> MutexGuard<'_, Responses> {
        // No code that holds the lock can panic.
        self.responses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes have come.
    fn read(&self) {
        let between = self.in_flight.load(Ordering::Relaxed) == 0;
        if between && self.head_since_ms.load(Ordering::Relaxed) == 0 {
            self.head_since_ms.store(self.now_ms().max(1), Ordering::Relaxed);
        }
    }

    /// Ends when the client's time is up.
    pub(super) async fn watch(&self, patience: Patience) -> Verdict {
        // A head or a response may begin at any moment, so this looks up now and then: time-outs
        // are exact to half of the shorter one.
        let look_up = patience.head.min(patience.response) / 2;
        loop {
            let (deadline, verdict) = self.deadline(patience);
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return verdict;
            }
            tokio::time::sleep(left.min(look_up)).await;
        }
    }

    fn deadline(&self, patience: Patience) -> (Instant, Verdict) {
        let after = |ms: &AtomicU64| self.begun + Duration::from_millis(ms.load(Ordering::Relaxed));
        if self.requests.load(Ordering::Relaxed) == 0 {
            return (self.begun + patience.head, Verdict::Cut);
        }
        let oldest = self.responses().on_their_way.first_key_value().map(|(_, begun)| *begun);
        if let Some(begun) = oldest {
            return (begun + patience.response, Verdict::Cut);
        }
        if self.in_flight.load(Ordering::Relaxed) > 0 {
            return (Instant::now() + patience.idle, Verdict::Close);
        }
        let head_begun = self.head_since_ms.load(Ordering::Relaxed) > 0;
        if head_begun && !self.http2.load(Ordering::Relaxed) {
            return (after(&self.head_since_ms) + patience.head, Verdict::Cut);
        }
        (after(&self.last_end_ms) + patience.idle, Verdict::Close)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The socket, which tells when something arrives.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) stream: Stream,
    pub(super) activity: Arc<Activity>,
    /// Completion hooks wait for it.
    pub(super) flush: FlushNotifier,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.activity.read();
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        if matches!(polled, Poll::Ready(Ok(()))) {
            self.flush.flushed();
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A request in flight, until the last byte of its response is handed to the connection.
#[derive(Debug)]
pub(super) struct Busy {
    activity: Arc<Activity>,
    /// Its response's number, once there is one.
    response: Option<u64>,
}

impl Busy {
    /// The response's head is there: from now on it is the client that is waited for.
    pub(super) fn respond(&mut self) {
        let mut responses = self.activity.responses();
        let number = responses.begun;
        responses.begun += 1;
        responses.on_their_way.insert(number, Instant::now());
        self.response = Some(number);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let activity = &self.activity;
        if let Some(number) = self.response {
            activity.responses().on_their_way.remove(&number);
        }
        activity.last_end_ms.fetch_max(activity.now_ms(), Ordering::Relaxed);
        activity.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        head: Duration::from_secs(5),
        idle: Duration::from_mins(1),
        response: Duration::from_secs(30),
    };

    async fn verdict_after(activity: &Activity) -> (Verdict, u64) {
        let verdict = activity.watch(PATIENCE).await;
        (verdict, activity.begun.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_is_cut() {
        let activity = Arc::new(Activity::default());
        activity.read();
        assert_eq!(verdict_after(&activity).await, (Verdict::Cut, 5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_idles_from_the_end_of_its_last_request() {
        let activity = Arc::new(Activity::default());
        let busy = Activity::begin(&activity, Version::HTTP_11);
        tokio::time::sleep(Duration::from_secs(30)).await;
        drop(busy);
        assert_eq!(verdict_after(&activity).await, (Verdict::Close, 90));
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_has_begun_must_end() {
        let activity = Arc::new(Activity::default());
        drop(Activity::begin(&activity, Version::HTTP_11));
        tokio::time::sleep(Duration::from_secs(10)).await;
        activity.read();
        tokio::time::sleep(Duration::from_secs(2)).await;
        activity.read();
        assert_eq!(verdict_after(&activity).await, (Verdict::Cut, 15));
    }

    #[tokio::test(start_paused = true)]
    async fn http2_frames_between_requests_are_no_head() {
        let activity = Arc::new(Activity::default());
        drop(Activity::begin(&activity, Version::HTTP_2));
        tokio::time::sleep(Duration::from_secs(10)).await;
        activity.read();
        assert_eq!(verdict_after(&activity).await, (Verdict::Close, 60));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_in_flight_is_never_idle() {
        let activity = Arc::new(Activity::default());
        let _busy = Activity::begin(&activity, Version::HTTP_11);
        let watched = tokio::time::timeout(Duration::from_mins(10), activity.watch(PATIENCE)).await;
        assert!(watched.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_response_must_end_whatever_else_does() {
        let activity = Arc::new(Activity::default());
        let mut first = Activity::begin(&activity, Version::HTTP_2);
        first.respond();
        tokio::time::sleep(Duration::from_secs(10)).await;
        let mut stuck = Activity::begin(&activity, Version::HTTP_2);
        stuck.respond();
        drop(first);
        tokio::time::sleep(Duration::from_secs(20)).await;
        let mut last = Activity::begin(&activity, Version::HTTP_2);
        last.respond();
        drop(last);
        assert_eq!(verdict_after(&activity).await, (Verdict::Cut, 40));
        drop(stuck);
        assert_eq!(verdict_after(&activity).await, (Verdict::Close, 100));
    }
}
