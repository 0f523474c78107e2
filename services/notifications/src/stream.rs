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
use crate::store::Store;

const LAST_EVENT_ID: &str = "Last-Event-ID";
/// Read at once: so many wait in memory for a slow client, no more.
const BATCH_MAX: u32 = 100;
/// What a client waits until it comes again.
const RETRY: Duration = Duration::from_secs(1);

/// `GET /pillion/v1/notifications/stream`: what comes in from now on or, with `Last-Event-ID`,
/// after that notification. An id that cannot be resumed from is no error, for browsers never
/// reconnect after one: the stream begins at the newest notification.
pub(crate) async fn stream(
    State(notifications): State<Notifications>,
    caller: UserCaller,
    headers: HeaderMap,
    query: Parameters,
) -> Result<(Extension<Streaming>, Sse<impl Stream<Item = Result<Event, Infallible>>>), Error> {
    query.finish()?;
    let user_id = caller.user_id;
    let last_seen = last_event_id(&headers);
    let Notifications { store, feeds, config, .. } = notifications;
    // The seat comes first: what happens between the reading of the mailbox and the first wait
    // calls it.
    let seat = feeds.take_seat(user_id)?;
    if store.is_deleted(user_id).await? {
        return Err(Problem::account_gone(user_id).into());
    }
    let newest = store.mailbox(user_id).await?.last_id;
    let (position, is_reset) = start(newest, last_seen);
    let live = Live {
        store,
        seat,
        position,
        pending: VecDeque::new(),
        greeted: false,
        is_reset,
        heartbeat_interval: config.heartbeat_interval,
        end: Instant::now() + config.stream_time_max,
    };
    let events = Sse::new(stream::unfold(live, async |mut live| {
        let event = live.next().await?;
        Some((Ok(event), live))
    }));
    Ok((Extension(Streaming), events))
}

/// What the client says that it saw last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastSeen {
    Nothing,
    Notification(i64),
    /// Something that is no notification's id here: longer than one, or another program's.
    Unknown,
}

/// The id after which the stream begins, and whether it is another than the client asked for: an
/// id that is beyond the newest one was given before a restore.
fn start(newest: i64, last_seen: LastSeen) -> (i64, bool) {
    match last_seen {
        LastSeen::Nothing => (newest, false),
        LastSeen::Notification(id) if id <= newest => (id, false),
        LastSeen::Notification(_) | LastSeen::Unknown => (newest, true),
    }
}

fn last_event_id(headers: &HeaderMap) -> LastSeen {
    let Some(value) = headers.get(LAST_EVENT_ID) else {
        return LastSeen::Nothing;
    };
    // Clients send an empty one when no event had an id.
    if value.is_empty() {
        return LastSeen::Nothing;
    }
    let id = value.to_str().ok().and_then(|text| text.parse::<NotificationId>().ok());
    id.map_or(LastSeen::Unknown, |id| LastSeen::Notification(id.as_i64()))
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
    /// The client's last id is of no use.
    is_reset: bool,
    heartbeat_interval: Duration,
    end: Instant,
}

impl Live {
    /// The next event; `None` ends the stream.
    async fn next(&mut self) -> Option<Event> {
        if !self.greeted {
            self.greeted = true;
            let greeting = Event::default().retry(RETRY).comment("open");
            // With an id and without data it is no event, but what the client sends next time.
            let id = self.is_reset.then(|| self.position.to_string());
            return Some(match id {
                Some(id) => greeting.id(id),
                None => greeting,
            });
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
