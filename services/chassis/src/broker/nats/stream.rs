//! A service's stream at the NATS server: its name, its settings, and which of them must hold.

use std::time::Duration;

use async_nats::jetstream::stream::{
    Config, DiscardPolicy, RawMessageErrorKind, RetentionPolicy, StorageType, Stream,
};
use async_nats::jetstream::{Context, ErrorCode};
use bytes::Bytes;

use super::{NatsOptions, failed};
use crate::broker::BrokerError;

/// The server remembers the ids of messages this long. The sequence is what keeps an event from
/// being stored twice; ids are for those who look at the stream, and cost the server's memory.
const IDS_TIME: Duration = Duration::from_secs(1);

/// The stream of a source.
pub(super) fn name(source: &str) -> String {
    format!("PILLION-{source}")
}

/// The subject of all events of a source.
pub(super) fn subject(source: &str) -> String {
    format!("pillion.events.{source}")
}

/// The stream of a source with what it holds now; it is made where there is none.
pub(super) async fn open(
    context: &Context,
    options: &NatsOptions,
    source: &str,
) -> Result<Stream, BrokerError> {
    let wanted = Config {
        name: name(source),
        description: Some(format!("Copies of the events of Pillion's service {source}")),
        subjects: vec![subject(source)],
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        // Full means that it takes no more, never that it drops the oldest.
        discard: DiscardPolicy::New,
        max_bytes: options.stream_bytes_max,
        max_messages: -1,
        max_messages_per_subject: -1,
        max_consumers: -1,
        duplicate_window: IDS_TIME,
        num_replicas: options.replicas,
        // Nobody makes holes by accident. The stream as a whole can be deleted.
        deny_delete: true,
        deny_purge: true,
        ..Config::default()
    };
    let stream = context.get_or_create_stream(&wanted).await.map_err(failed)?;
    check(&wanted, &stream.cached_info().config)?;
    Ok(stream)
}

/// What the stream of a source holds at a sequence, as its leader has it; `None`: nothing, or there
/// is no such stream.
pub(super) async fn message(
    context: &Context,
    source: &str,
    sequence: u64,
) -> Result<Option<Bytes>, BrokerError> {
    // Asks nothing of the server.
    let stream = context.get_stream_no_info(name(source)).await.map_err(failed)?;
    match stream.get_raw_message(sequence).await {
        Ok(message) => Ok(Some(message.payload)),
        Err(error) => match error.kind() {
            RawMessageErrorKind::NoMessageFound => Ok(None),
            RawMessageErrorKind::JetStream(said)
                if said.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                Ok(None)
            }
            // It is not in the error's chain.
            RawMessageErrorKind::JetStream(said) => Err(failed(said)),
            _ => Err(failed(error)),
        },
    }
}

/// Refuses a stream that somebody made differently and that would lose events, or hold others.
/// Its size, its copies and where it is placed are the operator's.
fn check(wanted: &Config, found: &Config) -> Result<(), BrokerError> {
    let unlimited = |limit: i64| if limit <= 0 { -1 } else { limit };
    let all = |config: &Config| {
        [
            ("subjects", config.subjects.join(",")),
            ("retention", format!("{:?}", config.retention)),
            ("storage", format!("{:?}", config.storage)),
            ("discard", format!("{:?}", config.discard)),
            ("max_age", format!("{:?}", config.max_age)),
            ("max_msgs", unlimited(config.max_messages).to_string()),
            ("max_msgs_per_subject", unlimited(config.max_messages_per_subject).to_string()),
        ]
    };
    for ((setting, expected), (_, found)) in all(wanted).into_iter().zip(all(found)) {
        if expected != found {
            let stream = wanted.name.clone();
            return Err(BrokerError::Setting { stream, setting, found, expected });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            name: name("tweets"),
            subjects: vec![subject("tweets")],
            discard: DiscardPolicy::New,
            max_messages: -1,
            ..Config::default()
        }
    }

    #[test]
    fn size_and_copies_are_the_operators_the_rest_must_hold() {
        let larger = Config { max_bytes: 1, num_replicas: 3, max_messages: 0, ..config() };
        assert!(check(&config(), &larger).is_ok());
        for (setting, found) in [
            ("subjects", Config { subjects: vec!["pillion.>".to_owned()], ..config() }),
            ("retention", Config { retention: RetentionPolicy::WorkQueue, ..config() }),
            ("storage", Config { storage: StorageType::Memory, ..config() }),
            ("discard", Config { discard: DiscardPolicy::Old, ..config() }),
            ("max_age", Config { max_age: Duration::from_secs(1), ..config() }),
            ("max_msgs", Config { max_messages: 10, ..config() }),
            ("max_msgs_per_subject", Config { max_messages_per_subject: 10, ..config() }),
        ] {
            let refused = check(&config(), &found).unwrap_err();
            assert!(
                matches!(&refused, BrokerError::Setting { setting: named, stream, .. }
                    if *named == setting && stream == "PILLION-tweets"),
                "{setting}: {refused}"
            );
        }
    }
}
