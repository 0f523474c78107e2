//! Where a service's stream ends: the last event, and whatever foreign messages are behind it.

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::Stream;

use super::{failed, position, sequence, stream};
use crate::broker::BrokerError;
use crate::event_log::Recorded;

/// Foreign messages in a row behind the last event that are looked through, one request each, to
/// find it. A stream with more is deleted and filled again, which also frees their room.
const TRAILING_MAX: u64 = 256;
/// Messages that are looked at, one request each, to find the event before another.
const LOOKS_BACK_MAX: u64 = 16;
/// Messages that are looked at, one request each, to find the event of a position.
const LOOKS_MAX: u32 = 1_024;

/// The end of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tail {
    /// When the stream was made, in nanoseconds since 1970: tells it from one of the same name
    /// before.
    created: i128,
    /// Of the last message.
    pub(super) sequence: u64,
    /// Of the last event; 0: none.
    pub(super) position: i64,
    /// Of the message that is the last event.
    pub(super) event_sequence: u64,
}

impl Tail {
    /// Of a stream that holds nothing.
    pub(super) fn empty(stream: &Stream) -> Self {
        Self { created: created(stream), sequence: 0, position: 0, event_sequence: 0 }
    }

    /// Behind so many more events.
    pub(super) fn advance(&mut self, events: usize) {
        let events = i64::try_from(events).unwrap_or(i64::MAX);
        self.position += events;
        self.sequence = self.sequence.saturating_add(events.unsigned_abs());
        self.event_sequence = self.sequence;
    }

    /// How many of the stream's messages are no events.
    pub(super) fn foreign(&self) -> u64 {
        self.sequence.saturating_sub(self.position.unsigned_abs())
    }

    /// Whether an event of this position can be the one of that sequence: never more of them than
    /// messages, and never fewer than were known to be there.
    fn fits(&self, found: i64, at: u64) -> bool {
        let messages = i64::try_from(at.saturating_sub(self.sequence)).unwrap_or(i64::MAX);
        found > self.position && found <= self.position.saturating_add(messages)
    }
}

fn created(stream: &Stream) -> i128 {
    stream.cached_info().created.unix_timestamp_nanos()
}

/// The end of a stream; `None`: it is not sound, and must be filled again. `known` is what was
/// found last.
pub(super) async fn find(
    stream: &Stream,
    source: &str,
    known: Option<Tail>,
) -> Result<Option<Tail>, BrokerError> {
    let state = &stream.cached_info().state;
    if state.messages != state.last_sequence {
        tracing::warn!(
            source,
            last = state.last_sequence,
            held = state.messages,
            "the broker has lost events of this service; its stream is deleted and filled again"
        );
        return Ok(None);
    }
    let is_of_this =
        |tail: &Tail| tail.created == created(stream) && tail.sequence <= state.last_sequence;
    let known = known.filter(is_of_this);
    let before = known.unwrap_or_else(|| Tail::empty(stream));
    let found = last_event(stream, source, &before, state.last_sequence).await?;
    let Some((position, event_sequence)) = found else {
        tracing::error!(
            source,
            messages = TRAILING_MAX,
            "the broker's stream ends in foreign messages; it is deleted and filled again: find out \
             what publishes to its subject"
        );
        return Ok(None);
    };
    let tail =
        Tail { created: created(stream), sequence: state.last_sequence, position, event_sequence };
    if tail.foreign() > known.map_or(0, |known| known.foreign()) {
        tracing::warn!(
            source,
            subject = stream::subject(source),
            messages = tail.foreign(),
            "foreign messages in the broker's stream are skipped: find out what publishes to its \
             subject"
        );
    }
    Ok(Some(tail))
}

/// Position and sequence of the last event up to a sequence; `None`: too far from it.
async fn last_event(
    stream: &Stream,
    source: &str,
    known: &Tail,
    last: u64,
) -> Result<Option<(i64, u64)>, BrokerError> {
    for at in (known.sequence + 1..=last).rev() {
        if last - at >= TRAILING_MAX {
            return Ok(None);
        }
        match stream.get_raw_message(at).await {
            Ok(message) => {
                if let Some(event) = parse(source, &message.payload)
                    && known.fits(event.position, at)
                    && !is_copy(stream, source, known, (event.position, at)).await?
                {
                    return Ok(Some((event.position, at)));
                }
            }
            // Deleted or wiped meanwhile: the next look sees what there is.
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(Some((known.position, known.event_sequence)))
}

/// Whether an event at the end was published before: the event before it is not an earlier one.
/// To take such a copy for the last event would have everything behind it published again.
async fn is_copy(
    stream: &Stream,
    source: &str,
    known: &Tail,
    (position, at): (i64, u64),
) -> Result<bool, BrokerError> {
    let first = at.saturating_sub(LOOKS_BACK_MAX).max(known.sequence + 1);
    for before in (first..at).rev() {
        let message = stream.get_raw_message(before).await.map_err(failed)?;
        if let Some(event) = parse(source, &message.payload) {
            return Ok(event.position >= position);
        }
    }
    Ok(false)
}

/// The event of a position; `first` is a sequence before which it cannot be.
pub(super) async fn event(
    context: &Context,
    source: &str,
    wanted: i64,
    first: u64,
) -> Result<Option<Recorded>, BrokerError> {
    let mut at = first;
    for _ in 0..LOOKS_MAX {
        let Some(message) = stream::message(context, source, at).await? else {
            return Ok(None);
        };
        match parse(source, &message) {
            Some(event) if event.position == wanted => return Ok(Some(event)),
            // As many messages on as events are missing, at the least.
            Some(event) if event.position < wanted => {
                at = at.saturating_add(sequence(wanted - event.position)?);
            }
            _ => at = at.saturating_add(1),
        }
    }
    let after = position(first)?;
    let reason = format!("the event {wanted} is not among {LOOKS_MAX} messages behind {after}");
    Err(BrokerError::Failed(reason.into()))
}

/// The event that a message holds; `None`: it is foreign.
pub(super) fn parse(source: &str, message: &[u8]) -> Option<Recorded> {
    let event: Recorded = serde_json::from_slice(message).ok()?;
    (event.is_of(source) && event.position > 0).then_some(event)
}
