//! Keeps the host's set of revoked access tokens equal to identity's: at once where identity runs in
//! this process, within a second where it runs in another.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::body::Body;
use http::Method;
use http::header::AUTHORIZATION;
use pillion_chassis::{
    Clock as _, Onward, Peers, ServiceTokens, Shutdown, SystemClock, Worker, peers,
};
use pillion_host::Revocations;
use pillion_identity::{Handle, RevocationPage};
use tokio::sync::watch;

/// How often identity is asked.
const INTERVAL: Duration = Duration::from_millis(700);
/// After this long without an answer it is logged that revocations are not applied here.
const SILENCE_LOGGED: Duration = Duration::from_secs(10);
/// How many ids more than identity's are kept before the set is read again: identity replaces many
/// narrow ids by a wide one now and then.
const SURPLUS_MAX: i64 = 1_000;

/// Where revocations come from.
pub(crate) enum Source {
    /// Identity runs in this process.
    Handle(Handle),
    /// It runs in another, which wants to see who asks.
    Peers(Arc<dyn Peers>, Arc<ServiceTokens>),
}

/// What the process knows about revoked tokens, for `/metrics`.
#[derive(Clone, Debug)]
pub(crate) struct RevocationStatus {
    set: Revocations,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// When the last answer came, in microseconds since 1970.
    answered_us: AtomicI64,
    failures: AtomicU64,
    dropped: AtomicU64,
}

impl RevocationStatus {
    /// In Prometheus' text form.
    pub(crate) fn metrics(&self) -> String {
        let answered = self.counts.answered_us.load(Ordering::Relaxed);
        let age = if answered == 0 {
            // Never yet.
            f64::NAN
        } else {
            seconds(SystemClock.now().as_micros().saturating_sub(answered))
        };
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut text = String::new();
        for (name, kind, help, value) in [
            (
                "pillion_revocations",
                "gauge",
                "Ids of revoked access tokens that this host knows.",
                self.set.len().to_string(),
            ),
            (
                "pillion_revocations_age_seconds",
                "gauge",
                "Time since identity last said what is revoked.",
                format!("{age:.3}"),
            ),
            (
                "pillion_revocations_failures_total",
                "counter",
                "Attempts to learn from identity what is revoked that failed.",
                load(&self.counts.failures).to_string(),
            ),
            (
                "pillion_revocations_dropped_total",
                "counter",
                "Ids of revoked access tokens that did not fit into the set.",
                load(&self.counts.dropped).to_string(),
            ),
        ] {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        }
        text
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact for 285 years")]
fn seconds(micros: i64) -> f64 {
    micros.max(0) as f64 / 1e6
}

/// The worker that follows identity, whether the set is known (until then no token is let in), and
/// what `/metrics` shows of it. A set that is not needed counts as known before identity answers.
pub(crate) fn follow(
    set: &Revocations,
    source: Source,
    is_needed: bool,
) -> (Worker, watch::Receiver<bool>, RevocationStatus) {
    let (known, is_known) = watch::channel(!is_needed);
    let counts = Arc::new(Counts::default());
    let status = RevocationStatus { set: set.clone(), counts: counts.clone() };
    let follower =
        Follower { set: set.clone(), source, counts, since: 0, known, is_silence_logged: false };
    let worker = Worker::stateful("revocations", follower, |follower, shutdown| {
        Box::pin(follower.run(shutdown))
    });
    (worker, is_known, status)
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

struct Follower {
    set: Revocations,
    source: Source,
    counts: Arc<Counts>,
    /// The position up to which everything is known.
    since: i64,
    /// Whether identity has ever answered.
    known: watch::Sender<bool>,
    is_silence_logged: bool,
}

impl Follower {
    async fn run(&mut self, mut shutdown: Shutdown) {
        let begun = SystemClock.now().as_micros();
        loop {
            match self.catch_up().await {
                Ok(()) => self.answered(),
                Err(error) => self.failed(&error, begun),
            }
            tokio::select! {
                () = shutdown.requested() => return,
                () = self.source.changed() => {}
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    fn answered(&mut self) {
        if self.is_silence_logged {
            tracing::info!("revocations are followed again");
        }
        self.is_silence_logged = false;
        self.counts.answered_us.store(SystemClock.now().as_micros(), Ordering::Relaxed);
        self.known.send_replace(true);
    }

    fn failed(&mut self, error: &anyhow::Error, begun: i64) {
        self.counts.failures.fetch_add(1, Ordering::Relaxed);
        let last = self.counts.answered_us.load(Ordering::Relaxed).max(begun);
        let silent = SystemClock.now().as_micros().saturating_sub(last);
        if !self.is_silence_logged && silent > micros(SILENCE_LOGGED) {
            self.is_silence_logged = true;
            let error = format!("{error:#}");
            tracing::warn!(error, "identity unavailable, revoked tokens still accepted");
        }
    }

    /// Reads what is new, page by page, or everything where positions do not fit.
    async fn catch_up(&mut self) -> Result<()> {
        let page = self.source.page(self.since).await?;
        let surplus = i64::try_from(self.set.len()).unwrap_or(i64::MAX) - page.count;
        // The database was restored, or most of what is kept here is of no use any more.
        if page.last < self.since || surplus > SURPLUS_MAX {
            return self.read_all().await;
        }
        let mut next = page;
        while !next.revocations.is_empty() {
            self.since = next.next;
            let ids = next.revocations.into_iter().map(|it| (it.id, it.until_s));
            let added = self.set.add(ids, SystemClock.now().as_secs());
            self.count_dropped(added);
            next = self.source.page(self.since).await?;
        }
        Ok(())
    }

    async fn read_all(&mut self) -> Result<()> {
        let (mut since, mut all) = (0, Vec::new());
        loop {
            let page = self.source.page(since).await?;
            if page.revocations.is_empty() {
                break;
            }
            since = page.next;
            all.extend(page.revocations.into_iter().map(|it| (it.id, it.until_s)));
        }
        let replaced = self.set.replace(all, SystemClock.now().as_secs());
        self.count_dropped(replaced);
        self.since = since;
        Ok(())
    }

    fn count_dropped(&self, outcome: Result<(), pillion_host::RevocationsFull>) {
        if let Err(full) = outcome {
            let dropped = u64::try_from(full.dropped).unwrap_or(u64::MAX);
            self.counts.dropped.fetch_add(dropped, Ordering::Relaxed);
            tracing::error!(error = %full, "revoked tokens still accepted on this host");
        }
    }
}

impl Source {
    async fn page(&self, since: i64) -> Result<RevocationPage> {
        match self {
            Self::Handle(handle) => Ok(handle.revocations_after(since).await?),
            Self::Peers(peers, tokens) => fetch(&**peers, tokens, since).await,
        }
    }

    /// Waits until this process revokes something itself; for ever where identity is elsewhere.
    async fn changed(&self) {
        match self {
            Self::Handle(handle) => handle.revoked().await,
            Self::Peers(..) => std::future::pending().await,
        }
    }
}

async fn fetch(peers: &dyn Peers, tokens: &ServiceTokens, since: i64) -> Result<RevocationPage> {
    const IDENTITY: &str = "identity";
    let request = Onward::default()
        .request(Method::GET, &format!("/internal/revocations?since={since}"))
        .header(AUTHORIZATION, tokens.bearer())
        .body(Body::empty())?;
    let response = peers.call(IDENTITY, request).await?;
    let status = response.status();
    anyhow::ensure!(status.is_success(), "identity answered {status}");
    let body = peers::body_of(IDENTITY, response.into_body()).await?;
    serde_json::from_slice(&body).context("identity's revocations have an unknown form")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use http::{Request, Response};
    use pillion_chassis::{PeerError, ServiceKeys, SystemRandom};
    use pillion_identity::Revocation;

    use super::*;

    /// An identity that answers pages of two.
    #[derive(Debug, Default)]
    struct Identity {
        rows: Mutex<Vec<(i64, String)>>,
        down: std::sync::atomic::AtomicBool,
    }

    #[async_trait]
    impl Peers for Identity {
        async fn call(
            &self,
            service: &str,
            request: Request<Body>,
        ) -> Result<Response<Body>, PeerError> {
            assert_eq!(service, "identity");
            assert!(request.headers()[AUTHORIZATION].to_str().unwrap().starts_with("Bearer "));
            if self.down.load(Ordering::Relaxed) {
                return Err(PeerError::TimedOut(service.to_owned()));
            }
            let since: i64 = request.uri().query().unwrap()["since=".len()..].parse().unwrap();
            let rows = self.rows.lock().unwrap();
            let page: Vec<_> = rows.iter().filter(|row| row.0 > since).take(2).collect();
            let page = RevocationPage {
                next: page.last().map_or(since, |row| row.0),
                last: rows.last().map_or(0, |row| row.0),
                count: i64::try_from(rows.len()).unwrap(),
                revocations: page
                    .into_iter()
                    .map(|row| Revocation { id: row.1.clone(), until_s: u64::MAX })
                    .collect(),
            };
            Ok(Response::new(Body::from(serde_json::to_vec(&page).unwrap())))
        }
    }

    fn follower(identity: &Arc<Identity>) -> Follower {
        let keys = ServiceKeys::passing(&SystemRandom).unwrap();
        let clock = Arc::new(SystemClock);
        let tokens = ServiceTokens::new("users", keys, "i", "a", clock, &SystemRandom).unwrap();
        Follower {
            set: Revocations::default(),
            source: Source::Peers(identity.clone(), Arc::new(tokens)),
            counts: Arc::default(),
            since: 0,
            known: watch::Sender::new(false),
            is_silence_logged: false,
        }
    }

    #[tokio::test]
    async fn i04_a_host_reads_every_page_and_then_what_is_new() {
        let identity = Arc::new(Identity::default());
        let put = |seq: i64| identity.rows.lock().unwrap().push((seq, format!("id{seq}")));
        (1..=5).for_each(put);
        let mut follower = follower(&identity);
        follower.catch_up().await.unwrap();
        assert_eq!((follower.set.len(), follower.since), (5, 5));
        put(6);
        follower.catch_up().await.unwrap();
        assert!(follower.set.contains("id6"));
        // An identity that does not answer takes nothing away.
        identity.down.store(true, Ordering::Relaxed);
        assert!(follower.catch_up().await.is_err());
        assert_eq!(follower.set.len(), 6);
        // One whose database was restored is read again.
        identity.down.store(false, Ordering::Relaxed);
        *identity.rows.lock().unwrap() = vec![(1, "id1".to_owned()), (2, "other".to_owned())];
        follower.catch_up().await.unwrap();
        assert_eq!((follower.set.len(), follower.since), (2, 2));
        assert!(follower.set.contains("other"));
    }

    #[tokio::test]
    async fn i04_a_set_of_many_useless_ids_is_read_again() {
        let identity = Arc::new(Identity::default());
        identity.rows.lock().unwrap().push((5_000, "u7.1".to_owned()));
        let mut follower = follower(&identity);
        let old = (0..2_000).map(|id| (id.to_string(), u64::MAX));
        follower.set.add(old, 0).unwrap();
        follower.since = 4_999;
        follower.catch_up().await.unwrap();
        assert_eq!(follower.set.len(), 1);
        assert!(follower.set.contains("u7.1"));
    }
}
