//! How events come from one service to the others: a broker holds, for every service, a copy of
//! its event log, and hands it on live, in order and without gaps.
//!
//! The log in the service's own database is the truth; the broker only carries. So a broker may
//! lose what it has been given: the relay asks for the last position and goes on from there, and
//! a broker that was wiped is filled again. Consumers keep their cursor in their own database,
//! in the transaction of the effect, and never rely on the broker to know what they have seen.

mod embedded;
mod nats;

use std::fmt::Debug;

use async_trait::async_trait;

use crate::event_log::Recorded;

pub use embedded::EmbeddedBroker;
pub use nats::{NatsAddress, NatsBroker, NatsOptions, NatsTrouble};

/// Carries events between services. The *source* is the name of the service whose log it is;
/// lower-case letters, digits and hyphens.
#[async_trait]
pub trait Broker: Send + Sync + Debug {
    /// The last position that it holds of a source; 0: none. What is after it is to be published
    /// (again).
    async fn last_position(&self, source: &str) -> Result<i64, BrokerError>;

    /// The event that it holds at a position of a source; `None`: none.
    async fn event(&self, source: &str, position: i64) -> Result<Option<Recorded>, BrokerError>;

    /// Appends events of a source, whose positions are `after` + 1, `after` + 2, and so on; all of
    /// them or, when it fails, the first few. When the broker's last position is another than
    /// `after`, it refuses with [`BrokerError::OutOfOrder`]: another relay was faster, or the
    /// broker was wiped; go on from the position that the error names, which may be beyond what
    /// the broker had before, if some of the events did follow. After any other error, and after
    /// a publish that was cancelled, ask for the last position.
    async fn publish(
        &self,
        source: &str,
        after: i64,
        events: &[Recorded],
    ) -> Result<(), BrokerError>;

    /// The events of a source after a position: those that are there and those to come. The
    /// position may be ahead of what the broker holds.
    async fn subscribe(
        &self,
        source: &str,
        after: i64,
    ) -> Result<Box<dyn Subscription>, BrokerError>;

    /// Whether the broker answers.
    async fn check(&self) -> Result<(), BrokerError>;

    /// How many messages among those of a source are no events, as far as it has seen when it was
    /// last asked for the last position or published: somebody else published them. They are
    /// skipped.
    fn foreign_messages(&self, _source: &str) -> u64 {
        0
    }
}

/// Events of one source from one position on.
#[async_trait]
pub trait Subscription: Send + Debug {
    /// Waits until there is at least one event, and gives those that are there, at most `max` (at
    /// least 1), in order and without a gap to those before. Cancelling it loses nothing. After
    /// an error the subscription still stands: wait a little and call it again.
    async fn next(&mut self, max: usize) -> Result<Vec<Recorded>, BrokerError>;
}

/// What a library or a server said.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why the broker did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// What was to be published does not follow on what the broker holds.
    #[error("the broker's last position is {last}, not the one before the first event")]
    OutOfOrder {
        /// The broker's last position: go on after it.
        last: i64,
    },
    /// The caller gave events of several sources, or with gaps between them.
    #[error(
        "events for the broker must be of {name} and consecutive; instead of position {expected} \
         there was {found_position} of {found_name}"
    )]
    NotConsecutive {
        /// The source that the caller named.
        name: String,
        /// The position that was due.
        expected: i64,
        /// The position that came.
        found_position: i64,
        /// The source of what came.
        found_name: String,
    },
    /// A source's name that cannot be one.
    #[error(
        "{name:?} cannot be the name of a source: it must be 1 to {NAME_BYTES_MAX} lower-case \
         letters, digits and hyphens"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// The broker does not answer, or is too busy. It may or may not have taken what it was given.
    #[error("the broker does not answer")]
    Unavailable(#[source] Cause),
    /// The broker has no room for more.
    #[error(
        "the broker has no room for more events; make room on its disk, or raise the stream's \
         max_bytes"
    )]
    Full(#[source] Cause),
    /// Events are missing in the middle of what the broker holds.
    #[error(
        "the broker lost events of {name}: after position {after} it has {found}; wipe its store, \
         and it is filled again from the services' logs"
    )]
    Gap {
        /// The source.
        name: String,
        /// The last position before the gap.
        after: i64,
        /// The first one behind it.
        found: i64,
    },
    /// What the broker holds is no event of that source and position.
    #[error("what the broker holds as position {position} of {name} is not that event")]
    Corrupt {
        /// The source.
        name: String,
        /// The position.
        position: i64,
        /// What is wrong with it.
        #[source]
        cause: Cause,
    },
    /// The broker is set up such that it would lose events.
    #[error("the broker's stream {stream} has {setting} = {found} where it must be {expected}")]
    Setting {
        /// The stream.
        stream: String,
        /// The setting.
        setting: &'static str,
        /// Its value.
        found: String,
        /// What it must be.
        expected: String,
    },
    /// The broker cannot be opened or reached as configured.
    #[error("cannot use the broker: {reason}")]
    Configuration {
        /// What is wrong, without passwords.
        reason: String,
    },
    /// The embedded broker's file cannot be used.
    #[error(
        "cannot use the embedded broker's file; it holds copies only: when it is damaged, delete \
         it and it is filled again"
    )]
    Open(#[from] crate::database::OpenError),
    /// Anything else.
    #[error("the broker failed")]
    Failed(#[source] Cause),
}

/// A source's name is part of a stream's name, which is a folder's name at the server.
const NAME_BYTES_MAX: usize = 64;

/// Refuses what cannot be part of a subject or a stream's name.
fn check_name(name: &str) -> Result<(), BrokerError> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(fits) {
        return Err(BrokerError::Name { name: name.to_owned() });
    }
    Ok(())
}

/// Refuses events that are not the ones of `source` right after `after`.
fn check_consecutive(source: &str, after: i64, events: &[Recorded]) -> Result<(), BrokerError> {
    check_name(source)?;
    for (event, expected) in events.iter().zip(after + 1..) {
        if event.position != expected || !event.is_of(source) {
            return Err(BrokerError::NotConsecutive {
                name: source.to_owned(),
                expected,
                found_position: event.position,
                found_name: event.source.clone(),
            });
        }
    }
    Ok(())
}

/// An event in the form that brokers hold, a JSON object.
fn encode(event: &Recorded) -> Result<String, BrokerError> {
    serde_json::to_string(event).map_err(|error| BrokerError::Failed(error.into()))
}

/// The event that a broker holds as the one of that source and position.
fn decode(source: &str, position: i64, event: &[u8]) -> Result<Recorded, BrokerError> {
    let corrupt = |cause| BrokerError::Corrupt { name: source.to_owned(), position, cause };
    let event: Recorded = serde_json::from_slice(event).map_err(|error| corrupt(error.into()))?;
    if event.position != position || !event.is_of(source) {
        let found = format!("it says that it is position {} of {}", event.position, event.source);
        return Err(corrupt(found.into()));
    }
    Ok(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(source: &str, position: i64) -> Recorded {
        Recorded {
            source: source.to_owned(),
            position,
            stream_id: "tweet/7".to_owned(),
            version: 2,
            name: "tweet.deleted".to_owned(),
            wire_version: 1,
            data: r#"{"tweet_id":"7"}"#.to_owned(),
            recorded_at: 1_000_000,
        }
    }

    #[test]
    fn an_event_has_one_form_on_the_wire_for_ever() {
        let form = concat!(
            r#"{"source":"tweets","position":3,"stream_id":"tweet/7","version":2,"#,
            r#""name":"tweet.deleted","wire_version":1,"data":"{\"tweet_id\":\"7\"}","#,
            r#""recorded_at":1000000}"#
        );
        assert_eq!(encode(&event("tweets", 3)).unwrap(), form);
        assert_eq!(decode("tweets", 3, form.as_bytes()).unwrap(), event("tweets", 3));
    }

    #[test]
    fn what_is_not_the_event_asked_for_is_refused() {
        let form = encode(&event("tweets", 3)).unwrap();
        for (source, position, bytes) in [
            ("tweets", 4, form.as_bytes()),
            ("graph", 3, form.as_bytes()),
            ("tweets", 3, b"{}".as_slice()),
            ("tweets", 3, b"\xff".as_slice()),
        ] {
            let error = decode(source, position, bytes).unwrap_err();
            assert!(
                matches!(&error, BrokerError::Corrupt { name, position: at, .. }
                    if name == source && *at == position),
                "{error:?}"
            );
        }
    }

    #[test]
    fn only_consecutive_events_of_the_source_may_be_published() {
        let events = [event("tweets", 3), event("tweets", 4)];
        assert!(check_consecutive("tweets", 2, &events).is_ok());
        assert!(check_consecutive("tweets", 2, &[]).is_ok());
        for (source, after, events) in [
            ("tweets", 1, events.as_slice()),
            ("tweets", 3, &events),
            ("graph", 2, &events),
            ("tweets", 2, &[event("tweets", 3), event("tweets", 5)]),
            ("tweets", 2, &[event("tweets", 3), event("graph", 4)]),
        ] {
            let refused = check_consecutive(source, after, events);
            assert!(matches!(refused, Err(BrokerError::NotConsecutive { .. })), "{refused:?}");
        }
    }

    #[test]
    fn a_name_is_a_plain_word() {
        for name in ["tweets", "a", "search-2"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        for name in ["", "Tweets", "a.b", "a*", ">", "a b", "ä", &long] {
            assert!(matches!(check_name(name), Err(BrokerError::Name { .. })), "{name}");
        }
    }
}
