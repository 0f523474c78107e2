//! A user's notifications live, as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::sse::{Event, Sse};
use futures_util::stream::{self, Stream};
use http::HeaderMap;
use pillion_chassis::answer::Streaming;
use pillion_chassis::page::Window;
use pillion_chassis::{DatabaseError, Parameters, Problem, UserCaller, UserId};
use pillion_events::NotificationId;
use tokio::time::Instant;

use crate::Notifications;
use crate::error::Error;
use crate::feeds::Seat;
use crate::notice::Item;
use crate::store::{Mailbox, Store};

const LAST_EVENT_ID: &str = "Last-Event-ID";
/// Read at once: so many wait in memory for a slow client, no more.
const BATCH_MAX: u32 = 100;
/// What a client waits until it comes again.
const RETRY: Duration = Duration::from_secs(1);

/// `GET /pillion/v1/notifications/stream`: what comes in from now on or, with `Last-Event-ID`,
/// after that notification.
pub(crate) async fn stream(
    State(notifications): State<Notifications>,
    caller: UserCaller,
    headers: HeaderMap,
    query: Parameters,
) -> Result<(Extension<Streaming>, Sse<impl Stream<Item = Result<Event, Infallible>>>), Error> {
    query.finish()?;
    let user_id = caller.user_id;
    let last_seen = last_event_id(&headers)?;
    let Notifications { store, feeds, config, .. } = notifications;
    // The seat comes first: what happens between the reading of the mailbox and the first wait
    // calls it.
    let seat = feeds.take_seat(user_id)?;
    if store.is_deleted(user_id).await? {
        return Err(Problem::account_gone(user_id).into());
    }
    let position = start(store.mailbox(user_id).await?, last_seen)?;
    let live = Live {
        store,
        seat,
        position,
        pending: VecDeque::new(),
        greeted: false,
        heartbeat_interval: config.heartbeat_interval,
        end: Instant::now() + config.stream_time_max,
    };
    let events = Sse::new(stream::unfold(live, async |mut live| {
        let event = live.next().await?;
        Some((Ok(event), live))
    }));
    Ok((Extension(Streaming), events))
}

/// Where the stream begins: after this id.
fn start(mailbox: Mailbox, last_seen: Option<NotificationId>) -> Result<i64, Problem> {
    let Some(last_seen) = last_seen else {
        return Ok(mailbox.last_id);
    };
    if last_seen.as_i64() > mailbox.last_id {
        let message = format!(
            "The header `{LAST_EVENT_ID}` [{last_seen}] is beyond your newest notification"
        );
        return Err(Problem::invalid(LAST_EVENT_ID, Some(&last_seen.to_string()), message));
    }
    Ok(last_seen.as_i64())
}

/// What the client saw last, if it says so.
fn last_event_id(headers: &HeaderMap) -> Result<Option<NotificationId>, Problem> {
    let Some(value) = headers.get(LAST_EVENT_ID) else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    // Clients send an empty one when no event had an id.
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| {
        let message =
            format!("The header `{LAST_EVENT_ID}` [{text}] is not a notification's id: {error}");
        Problem::invalid(LAST_EVENT_ID, Some(&text), message)
    })
}

/// A stream under way. It does something only when the client takes an event, so that a slow
/// client is waited for, not buffered for.
struct Live {
    store: Store,
    seat: Seat,
    /// All up to here was sent or is pending.
    position: i64,
    pending: VecDeque<Item>,
    greeted: bool,
    heartbeat_interval: Duration,
    end: Instant,
}

impl Live {
    /// The next event; `None` ends the stream.
    async fn next(&mut self) -> Option<Event> {
        if !self.greeted {
            self.greeted = true;
            return Some(Event::default().retry(RETRY).comment("open"));
        }
        let heartbeat = Instant::now() + self.heartbeat_interval;
        loop {
            if self.seat.is_closed() || Instant::now() >= self.end {
                return None;
            }
            if let Some(item) = self.pending.pop_front() {
                return event(&item);
            }
            match self.read().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    // The client comes again with the id that it saw last.
                    let user_id = self.seat.user_id().get();
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(user_id, error, "a stream of notifications was cut");
                    return None;
                }
            }
            tokio::select! {
                () = self.seat.called() => {}
                () = tokio::time::sleep_until(heartbeat.min(self.end)) => {
                    if self.is_orphaned().await {
                        return None;
                    }
                    return Some(Event::default().comment("heartbeat"));
                }
            }
        }
    }

    /// Reads what is new; whether there is any.
    async fn read(&mut self) -> Result<bool, DatabaseError> {
        let (above, below) = (self.position, i64::MAX);
        let window = Window { above, below, newest_first: false, count_max: BATCH_MAX };
        let user_id: UserId = self.seat.user_id();
        let mailbox = self.store.mailbox(user_id).await?;
        let found = self.store.page(user_id, mailbox, &[], &window).await?;
        if let Some(newest) = found.last() {
            self.position = newest.id.as_i64();
        }
        self.pending.extend(found);
        Ok(!self.pending.is_empty())
    }

    /// Whether the account is gone, also if only for a while, as far as one can tell now.
    async fn is_orphaned(&self) -> bool {
        self.store.is_gone(self.seat.user_id()).await.unwrap_or(false)
    }
}

/// `None` only if an item could not be written as JSON, which cannot happen to these.
fn event(item: &Item) -> Option<Event> {
    Event::default().event("notification").id(item.id.to_string()).json_data(item).ok()
}
