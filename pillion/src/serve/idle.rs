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
use tokio::sync::Notify;
use tokio::time::Instant;

/// Requests that a client may reset before it counts how many those are of all. Apps reset some
/// when their users move on.
const ABANDONED_MIN: u64 = 200;

/// How long a client may keep a connection waiting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For a head: the first from the connection on, an HTTP/1 one from its first byte on.
    pub(super) head: Duration,
    /// Between requests.
    pub(super) idle: Duration,
    /// For taking a response, from its head to its last byte.
    pub(super) response: Duration,
    /// For reading anything of what waits for the client.
    pub(super) write: Duration,
}

/// What is to become of a connection whose client keeps it waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It idles: say goodbye.
    Close,
    /// It sends a head or takes a response too slowly: there is nobody to say anything to.
    Cut,
    /// It does not read what is written.
    Stalled,
    /// It resets most of its requests.
    Flooded,
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
    /// Since when the socket takes nothing; 0 while it does.
    blocked_since_ms: AtomicU64,
    /// Requests that the client reset before they were answered.
    abandoned: AtomicU64,
    /// A stream was not read in time.
    is_stalled: AtomicBool,
    /// Something is to be looked at now.
    alarm: Notify,
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
            blocked_since_ms: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
            is_stalled: AtomicBool::new(false),
            alarm: Notify::new(),
        }
    }
}

impl Activity {
    pub(super) fn begin(this: &Arc<Self>, version: Version) -> Busy {
        this.http2.store(version == Version::HTTP_2, Ordering::Relaxed);
        this.requests.fetch_add(1, Ordering::Relaxed);
        this.in_flight.fetch_add(1, Ordering::Relaxed);
        this.head_since_ms.store(0, Ordering::Relaxed);
        Busy { activity: Arc::clone(this), response: None, is_answered: false }
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

    /// The socket takes bytes, or does not.
    fn wrote(&self, is_blocked: bool) {
        if !is_blocked {
            // Most writes are not blocked, and a load is cheaper than a store.
            if self.blocked_since_ms.load(Ordering::Relaxed) != 0 {
                self.blocked_since_ms.store(0, Ordering::Relaxed);
            }
        } else if self.blocked_since_ms.load(Ordering::Relaxed) == 0 {
            self.blocked_since_ms.store(self.now_ms().max(1), Ordering::Relaxed);
        }
    }

    /// Ends the connection: a stream on it was not read in time.
    pub(super) fn stall(&self) {
        self.is_stalled.store(true, Ordering::Release);
        self.alarm.notify_one();
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.is_stalled.load(Ordering::Acquire)
    }

    /// Whether most requests were reset: work for nothing, which costs the client two frames.
    fn is_flooded(&self) -> bool {
        let abandoned = self.abandoned.load(Ordering::Relaxed);
        abandoned >= ABANDONED_MIN && abandoned * 2 > self.requests.load(Ordering::Relaxed)
    }

    /// Returns since when nothing is in flight; `None` while something is.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let is_idle = self.in_flight.load(Ordering::Relaxed) == 0;
        is_idle
            .then(|| self.begun + Duration::from_millis(self.last_end_ms.load(Ordering::Relaxed)))
    }

    /// Ends when the client's time is up.
    pub(super) async fn watch(&self, patience: Patience) -> Verdict {
        // A head or a response may begin at any moment, so this looks up now and then: time-outs
        // are exact to half of the shorter one.
        let look_up = patience.head.min(patience.response).min(patience.write) / 2;
        loop {
            if self.is_stalled() {
                return Verdict::Stalled;
            }
            if self.is_flooded() {
                return Verdict::Flooded;
            }
            let (deadline, verdict) = self.deadline(patience);
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return verdict;
            }
            tokio::select! {
                () = self.alarm.notified() => {}
                () = tokio::time::sleep(left.min(look_up)) => {}
            }
        }
    }

    fn deadline(&self, patience: Patience) -> (Instant, Verdict) {
        let by_progress = self.progress_deadline(patience);
        let blocked_since_ms = self.blocked_since_ms.load(Ordering::Relaxed);
        if blocked_since_ms == 0 {
            return by_progress;
        }
        let blocked_since = self.begun + Duration::from_millis(blocked_since_ms);
        let stalled = (blocked_since + patience.write, Verdict::Stalled);
        if stalled.0 < by_progress.0 { stalled } else { by_progress }
    }

    fn progress_deadline(&self, patience: Patience) -> (Instant, Verdict) {
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
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.activity.wrote(polled.is_pending());
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.activity.wrote(polled.is_pending());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS keeps bytes that the socket does not take.
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.activity.wrote(polled.is_pending());
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
    /// Its response's number, once there is one that must be taken in time.
    response: Option<u64>,
    /// Whether there is a response of any kind.
    is_answered: bool,
}

impl Busy {
    /// A stream begins, which may take as long as its reader likes.
    pub(super) fn stream(&mut self) {
        self.is_answered = true;
    }

    /// The response's head is there: from now on it is the client that is waited for.
    pub(super) fn respond(&mut self) {
        self.is_answered = true;
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
        } else if !self.is_answered && activity.http2.load(Ordering::Relaxed) {
            activity.abandoned.fetch_add(1, Ordering::Relaxed);
            if activity.is_flooded() {
                activity.alarm.notify_one();
            }
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
        write: Duration::from_secs(20),
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
    async fn s02_a_socket_that_takes_nothing_is_cut_whether_or_not_a_response_ends() {
        let activity = Arc::new(Activity::default());
        let _stream = Activity::begin(&activity, Version::HTTP_11);
        activity.wrote(true);
        tokio::time::sleep(Duration::from_secs(15)).await;
        // Progress counts, however little.
        activity.wrote(false);
        activity.wrote(true);
        tokio::time::sleep(Duration::from_secs(15)).await;
        activity.wrote(true);
        assert_eq!(verdict_after(&activity).await, (Verdict::Stalled, 35));
    }

    #[tokio::test(start_paused = true)]
    async fn p12_a_client_that_resets_most_requests_is_cut() {
        let activity = Arc::new(Activity::default());
        for _ in 0..ABANDONED_MIN {
            Activity::begin(&activity, Version::HTTP_2).respond();
        }
        for _ in 0..ABANDONED_MIN {
            drop(Activity::begin(&activity, Version::HTTP_2));
        }
        assert!(!activity.is_flooded(), "half of them");
        drop(Activity::begin(&activity, Version::HTTP_2));
        assert_eq!(verdict_after(&activity).await, (Verdict::Flooded, 0));
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
