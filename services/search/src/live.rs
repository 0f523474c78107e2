//! From the projection to the streams: new tweets as they come, and who listens.
//!
//! The projection says which documents are new and never waits. The worker reads them, once for
//! all streams, and hands them on. Every queue is bounded: whoever falls behind is told so and
//! disconnected, and nobody waits for them.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use pillion_chassis::{Shutdown, TweetId, Worker};
use tokio::sync::{broadcast, mpsc, watch};

use crate::document::Document;
use crate::error::Error;
use crate::store::Store;

/// Ids that wait to be read: more than half a minute of 300 tweets a second.
const ARRIVALS_MAX: usize = 10_000;
/// Ids that are read at once.
const BATCH_TWEETS_MAX: usize = 100;
/// Tweets that wait for a slow stream; a client that is this far behind does not catch up.
const FEED_TWEETS_MAX: usize = 1_024;
/// Streams of a process. Each one looks at every new tweet with up to a thousand rules.
const STREAMS_MAX: usize = 100;

/// What streams have in common.
#[derive(Debug)]
pub(crate) struct Live {
    arrivals: mpsc::Sender<TweetId>,
    feed: broadcast::Sender<News>,
    rules_changed: watch::Sender<()>,
    closing: watch::Sender<bool>,
    taken: Mutex<BTreeSet<Place>>,
}

/// What a stream is told.
#[derive(Debug, Clone)]
pub(crate) enum News {
    /// A tweet or a retweet came.
    Tweet(Arc<Document>),
    /// Some may have come that nobody is told of.
    Gap,
}

/// A stream of an app; it may have one of each kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    kind: StreamKind,
    client_id: String,
}

/// Which stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StreamKind {
    /// By the app's rules.
    Filtered,
    /// A share of everything.
    Sampled,
}

impl StreamKind {
    /// As the database knows it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Filtered => "filtered",
            Self::Sampled => "sampled",
        }
    }
}

/// A place that is free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    live: Arc<Live>,
    place: Place,
}

/// What a stream listens to.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) feed: broadcast::Receiver<News>,
    pub(crate) rules_changed: watch::Receiver<()>,
    pub(crate) closing: watch::Receiver<bool>,
    _seat: Seat,
}

impl Live {
    /// With what the worker reads from.
    pub(crate) fn new() -> (Self, mpsc::Receiver<TweetId>) {
        let (arrivals, waiting) = mpsc::channel(ARRIVALS_MAX);
        let live = Self {
            arrivals,
            feed: broadcast::Sender::new(FEED_TWEETS_MAX),
            rules_changed: watch::Sender::new(()),
            closing: watch::Sender::new(false),
            taken: Mutex::default(),
        };
        (live, waiting)
    }

    /// Whether there are any streams.
    pub(crate) fn has_readers(&self) -> bool {
        self.feed.receiver_count() > 0
    }

    /// A document is new.
    pub(crate) fn arrived(&self, id: TweetId) {
        if self.arrivals.try_send(id).is_err() {
            self.tell(News::Gap);
        }
    }

    /// Rules were changed in this process. Streams look for changes of others now and then.
    pub(crate) fn rules_changed(&self) {
        self.rules_changed.send_replace(());
    }

    /// A place in this process for a stream of the app, if there is one.
    pub(crate) fn listen(
        self: &Arc<Self>,
        kind: StreamKind,
        client_id: &str,
    ) -> Result<Listener, Error> {
        if *self.closing.borrow() {
            return Err(Error::Closing);
        }
        let place = Place { kind, client_id: client_id.to_owned() };
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.contains(&place) {
            return Err(Error::TooManyConnections);
        }
        if taken.len() >= STREAMS_MAX {
            return Err(Error::Full(STREAMS_MAX));
        }
        taken.insert(place.clone());
        drop(taken);
        Ok(Listener {
            feed: self.feed.subscribe(),
            rules_changed: self.rules_changed.subscribe(),
            closing: self.closing.subscribe(),
            _seat: Seat { live: self.clone(), place },
        })
    }

    /// Tells all streams.
    pub(crate) fn tell(&self, news: News) {
        // An error says that nobody listens.
        let _ = self.feed.send(news);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.live.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.remove(&self.place);
    }
}

/// Reads what is new and hands it on until the shutdown, which ends all streams.
pub(crate) fn worker(live: Arc<Live>, store: Store, waiting: mpsc::Receiver<TweetId>) -> Worker {
    Worker::stateful("live-tweets", waiting, move |waiting, shutdown| {
        Box::pin(run(Arc::clone(&live), store.clone(), waiting, shutdown))
    })
}

async fn run(
    live: Arc<Live>,
    store: Store,
    waiting: &mut mpsc::Receiver<TweetId>,
    mut shutdown: Shutdown,
) {
    // What an earlier run had read and not handed on comes to nobody; at the first there is none
    // who could miss it.
    live.tell(News::Gap);
    let mut ids = Vec::with_capacity(BATCH_TWEETS_MAX);
    loop {
        ids.clear();
        tokio::select! {
            biased;
            () = shutdown.requested() => break,
            count = waiting.recv_many(&mut ids, BATCH_TWEETS_MAX) => if count == 0 { break },
        }
        match store.documents(&ids).await {
            Ok(documents) => {
                let mut by_id: HashMap<TweetId, Document> =
                    documents.into_iter().map(|document| (document.id, document)).collect();
                for document in ids.iter().filter_map(|id| by_id.remove(id)) {
                    live.tell(News::Tweet(Arc::new(document)));
                }
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    tweets = ids.len(),
                    "new tweets could not be read, so streams are told of a gap and end"
                );
                live.tell(News::Gap);
            }
        }
    }
    live.closing.send_replace(true);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_has_one_place_of_each_kind_and_gets_it_back() {
        let (live, _waiting) = Live::new();
        let live = Arc::new(live);
        let first = live.listen(StreamKind::Filtered, "a").unwrap();
        let second = live.listen(StreamKind::Filtered, "a");
        assert!(matches!(second, Err(Error::TooManyConnections)));
        let _other_kind = live.listen(StreamKind::Sampled, "a").unwrap();
        let _other_app = live.listen(StreamKind::Filtered, "b").unwrap();
        drop(first);
        live.listen(StreamKind::Filtered, "a").unwrap();
    }

    #[test]
    fn places_are_bounded() {
        let (live, _waiting) = Live::new();
        let live = Arc::new(live);
        let all: Vec<_> = (0..STREAMS_MAX)
            .map(|app| live.listen(StreamKind::Sampled, &app.to_string()).unwrap())
            .collect();
        assert!(matches!(live.listen(StreamKind::Sampled, "late"), Err(Error::Full(_))));
        drop(all);
        assert!(!live.has_readers());
    }

    #[tokio::test]
    async fn what_does_not_fit_is_told() {
        let (live, _waiting) = Live::new();
        let live = Arc::new(live);
        let mut listener = live.listen(StreamKind::Sampled, "a").unwrap();
        for id in 0..=ARRIVALS_MAX as u64 {
            live.arrived(TweetId::new(id).unwrap());
        }
        assert!(matches!(listener.feed.recv().await, Ok(News::Gap)));
    }
}
