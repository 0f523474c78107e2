//! The broker of several machines: NATS `JetStream`, one stream for each service.
//!
//! Each event is published with the last sequence that must be there before it, so the server
//! refuses whatever would come twice, too early or too late, however many relays publish at once. In
//! a stream that only relays write to, a message's sequence is the event's position.
//!
//! What somebody else published to the subject, a *foreign* message, has a sequence and is no event.
//! It is skipped and counted: by relays, which publish behind it, and by subscriptions. So the
//! sequence of an event is its position plus the number of foreign messages before it, never less.
//!
//! `JetStream` acknowledges before it has synced, unless the server says `sync_interval: always`,
//! and has lost messages with holes in the middle. Neither costs an event: what is missing at the
//! end is published again by the relay, and a stream with holes is deleted and filled anew
//! (see [`NatsBroker::last_position`]). With `sync_interval: always` that is rare; without it, it
//! happens at power cuts. A client cannot ask the server for this setting; whoever runs it looks
//! at `sync_always` in the server's `/varz`.

mod address;
mod stream;
mod subscription;
mod tail;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, Context, ErrorCode, context};
use async_nats::{Client, Event};
use async_trait::async_trait;
use tokio::sync::watch;

use self::address::address_error;
pub use self::address::{NatsAddress, NatsTrouble};
use self::subscription::NatsSubscription;
use self::tail::Tail;
use super::{Broker, BrokerError, Cause, Subscription, check_consecutive, check_name, encode};
use crate::event_log::Recorded;
use crate::tls::ServerTls;

/// Whatever is asked of the server is answered, or given up on, within this time.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);
/// How soon it is seen that the connection stands, by those who wait for it.
const CONNECTION_LOOK_TIME: Duration = Duration::from_millis(10);
/// Events that are on their way to the server at a time, unacknowledged. Enough to fill the
/// round trips within a data centre; few enough for the client's queue of 2,048 commands.
const IN_FLIGHT_COUNT_MAX: usize = 256;
/// Foreign messages that may come between a relay's look at the stream and its publishing, before
/// the relay begins again.
const REFUSALS_MAX: u32 = 8;
/// The server hears from us this often, and we notice that it is gone without a word.
const PING_TIME: Duration = Duration::from_secs(5);
/// By how much the pause between tries to connect grows, and to what at most. A server that comes
/// back is found within a second; a thousand services that look for it do not keep it busy.
const RECONNECT_PAUSE_STEP: Duration = Duration::from_millis(50);
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// What a stream may hold unless configured: at half a kilobyte an event, some two million events.
/// The server counts that much of its disk as taken once it has made the stream.
const STREAM_BYTES_MAX: i64 = 1024 * 1024 * 1024;

/// How streams are made, of which those that exist are left as they are, and what the server must
/// show.
#[derive(Debug, Clone)]
pub struct NatsOptions {
    /// Servers that hold a copy of each stream: 1, or 3 in a cluster.
    pub replicas: usize,
    /// Bytes that a stream may have. When they are used up, the broker takes no more events of
    /// that service, and loses none.
    pub stream_bytes_max: i64,
    /// For `tls://`, and for servers that ask for TLS.
    pub tls: ServerTls,
}

impl Default for NatsOptions {
    fn default() -> Self {
        Self { replicas: 1, stream_bytes_max: STREAM_BYTES_MAX, tls: ServerTls::default() }
    }
}

/// A broker on a NATS server. Clones are the same broker, on one connection.
#[derive(Clone)]
pub struct NatsBroker {
    client: Client,
    context: Context,
    options: NatsOptions,
    /// Changes with every new connection.
    connected: watch::Receiver<()>,
    trouble: NatsTrouble,
    /// Where the streams ended that were there and sound when last looked at, by their source.
    tails: Arc<Mutex<HashMap<String, Tail>>>,
}

impl NatsBroker {
    /// Connects to a URL that [`NatsAddress::parse`] reads. It does not wait for the server: while
    /// there is none, everything fails with [`BrokerError::Unavailable`] after two seconds, and
    /// once it is there all goes on. So a service starts without its broker.
    pub async fn connect(url: &str) -> Result<Self, BrokerError> {
        Self::connect_with(url, NatsOptions::default()).await
    }

    /// [`NatsBroker::connect`], with other options for streams.
    pub async fn connect_with(url: &str, options: NatsOptions) -> Result<Self, BrokerError> {
        if !matches!(options.replicas, 1 | 3) {
            let reason = format!("a stream has 1 or 3 replicas, not {}", options.replicas);
            return Err(BrokerError::Configuration { reason });
        }
        let NatsAddress { servers, options: connect, trouble } =
            NatsAddress::parse(url, &options.tls)?;
        let (connections, connected) = watch::channel(());
        let client = connect
            .name("pillion")
            .retry_on_initial_connect()
            .connection_timeout(ANSWER_TIME_MAX)
            .request_timeout(Some(ANSWER_TIME_MAX))
            .ping_interval(PING_TIME)
            .reconnect_delay_callback(reconnect_pause)
            .event_callback(move |event| {
                if matches!(event, Event::Connected) {
                    connections.send_replace(());
                }
                std::future::ready(())
            })
            .connect(servers)
            .await
            .map_err(|error| address_error(&error))?;
        let context = context::ContextBuilder::new()
            .timeout(ANSWER_TIME_MAX)
            .max_ack_inflight(IN_FLIGHT_COUNT_MAX)
            .build(client.clone());
        Ok(Self { client, context, options, connected, trouble, tails: Arc::default() })
    }

    /// Waits for the connection, but not for long: what is sent without one piles up.
    async fn connection(&self) -> Result<(), BrokerError> {
        let wait = async {
            while self.client.connection_state() != State::Connected {
                tokio::time::sleep(CONNECTION_LOOK_TIME).await;
            }
        };
        tokio::time::timeout(ANSWER_TIME_MAX, wait)
            .await
            .map_err(|_| BrokerError::Unavailable(self.trouble.to_string().into()))
    }

    fn known_tail(&self, source: &str) -> Option<Tail> {
        self.tails.lock().unwrap_or_else(PoisonError::into_inner).get(source).copied()
    }

    fn remember(&self, source: &str, tail: Tail) {
        self.tails.lock().unwrap_or_else(PoisonError::into_inner).insert(source.to_owned(), tail);
    }

    fn forget(&self, source: &str) {
        self.tails.lock().unwrap_or_else(PoisonError::into_inner).remove(source);
    }

    /// Where the stream of a source ends now. One that is not sound is deleted first: the relay,
    /// which asks, fills it again.
    async fn tail(&self, source: &str) -> Result<Tail, BrokerError> {
        let stream = stream::open(&self.context, &self.options, source).await?;
        let found = tail::find(&stream, source, self.known_tail(source)).await?;
        let Some(tail) = found else {
            self.forget(source);
            self.context.delete_stream(stream::name(source)).await.map_err(failed)?;
            let stream = stream::open(&self.context, &self.options, source).await?;
            let tail = Tail::empty(&stream);
            self.remember(source, tail);
            return Ok(tail);
        };
        self.remember(source, tail);
        Ok(tail)
    }

    /// Publishes events in one go, behind the message that is the last one. The server takes them
    /// one after the other, each only right behind the one before it.
    async fn publish_pipelined(
        &self,
        source: &str,
        last_sequence: u64,
        events: &[Recorded],
    ) -> Result<(), PublishFailure> {
        let subject = stream::subject(source);
        let mut acknowledgements = Vec::with_capacity(events.len());
        let id = |position: i64| format!("{source}/{position}");
        for (number, (event, before)) in events.iter().zip(last_sequence..).enumerate() {
            let mut message = PublishMessage::build()
                .payload(encode(event)?.into())
                .message_id(id(event.position))
                .expected_last_sequence(before);
            if number > 0 {
                // The sequence alone would let an event in behind a foreign message that took the
                // place of the event before it.
                message = message.expected_last_message_id(id(event.position - 1));
            }
            acknowledgements.push(self.context.send_publish(subject.clone(), message).await?);
        }
        // All answers are waited for: only then it is settled what the last position is.
        let mut refused = false;
        for (acknowledgement, before) in acknowledgements.into_iter().zip(last_sequence..) {
            match acknowledgement.await.map_err(PublishFailure::from) {
                // The server knows an id for a while, and then does not look at the sequence.
                Ok(it) => refused |= it.duplicate || it.sequence != before + 1,
                Err(PublishFailure::Refused) => refused = true,
                Err(failure) => return Err(failure),
            }
        }
        if refused { Err(PublishFailure::Refused) } else { Ok(()) }
    }
}

/// Between tries to connect: none at first, then longer and longer, to the longest.
fn reconnect_pause(tries: usize) -> Duration {
    let tries = u32::try_from(tries).unwrap_or(u32::MAX);
    RECONNECT_PAUSE_STEP.saturating_mul(tries.saturating_sub(1)).min(RECONNECT_PAUSE_MAX)
}

/// A position as the server counts.
fn sequence(position: i64) -> Result<u64, BrokerError> {
    u64::try_from(position)
        .map_err(|_| BrokerError::Failed(format!("{position} is no position").into()))
}

/// A sequence as we count.
fn position(sequence: u64) -> Result<i64, BrokerError> {
    i64::try_from(sequence)
        .map_err(|_| BrokerError::Failed(format!("{sequence} is no position").into()))
}

/// Why the server did not take an event.
enum PublishFailure {
    /// Another than the one before it is the last, or it is there already.
    Refused,
    /// There is no stream.
    NoStream,
    /// Anything else.
    Other(BrokerError),
}

impl From<BrokerError> for PublishFailure {
    fn from(error: BrokerError) -> Self {
        Self::Other(error)
    }
}

impl From<PublishError> for PublishFailure {
    fn from(error: PublishError) -> Self {
        match error.kind() {
            PublishErrorKind::WrongLastSequence | PublishErrorKind::WrongLastMessageId => {
                Self::Refused
            }
            PublishErrorKind::StreamNotFound => Self::NoStream,
            PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => {
                Self::Other(BrokerError::Unavailable(error.into()))
            }
            PublishErrorKind::MaxPayloadExceeded => Self::Other(BrokerError::Failed(error.into())),
            _ => Self::Other(failed(error)),
        }
    }
}

/// What a call to `JetStream` ended with.
fn failed(error: impl Into<Cause>) -> BrokerError {
    /// The server's status for what it cannot do now, such as while a cluster elects a leader.
    const NOT_NOW: usize = 503;
    let error = error.into();
    // Without a word of the server: no answer in time, or nobody there to answer.
    let Some(said) = server_error(&*error) else {
        return BrokerError::Unavailable(error);
    };
    match said.error_code() {
        ErrorCode::STORAGE_RESOURCES_EXCEEDED
        | ErrorCode::INSUFFICIENT_RESOURCES
        | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED => BrokerError::Full(error),
        // The code says no more than that it was not stored.
        ErrorCode::STREAM_STORE_FAILED if said.to_string().contains("maximum bytes") => {
            BrokerError::Full(error)
        }
        _ if said.code() == NOT_NOW => BrokerError::Unavailable(error),
        _ => BrokerError::Failed(error),
    }
}

/// What the server said, where that is in an error.
fn server_error<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e jetstream::Error> {
    std::iter::successors(Some(error), |error| error.source())
        .find_map(|error| error.downcast_ref())
}

impl std::fmt::Debug for NatsBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsBroker")
            .field("connection", &self.client.connection_state())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Broker for NatsBroker {
    /// A stream with holes is deleted first: the relay, which asks, fills it again.
    async fn last_position(&self, source: &str) -> Result<i64, BrokerError> {
        check_name(source)?;
        self.connection().await?;
        Ok(self.tail(source).await?.position)
    }

    async fn event(&self, source: &str, position: i64) -> Result<Option<Recorded>, BrokerError> {
        check_name(source)?;
        self.connection().await?;
        let first = match self.known_tail(source) {
            Some(tail) if tail.position == position => tail.event_sequence,
            _ => sequence(position)?,
        };
        tail::event(&self.context, source, position, first).await
    }

    async fn publish(
        &self,
        source: &str,
        after: i64,
        events: &[Recorded],
    ) -> Result<(), BrokerError> {
        check_consecutive(source, after, events)?;
        self.connection().await?;
        let mut tail = match self.known_tail(source) {
            Some(tail) => tail,
            None => self.tail(source).await?,
        };
        let (mut rest, mut refusals) = (events, 0);
        while !rest.is_empty() {
            let due = rest.first().map_or(after, |event| event.position - 1);
            if tail.position != due {
                // What is known may be old: another relay has published since.
                tail = self.tail(source).await?;
                if tail.position != due {
                    return Err(BrokerError::OutOfOrder { last: tail.position });
                }
            }
            let (batch, others) = rest.split_at(rest.len().min(IN_FLIGHT_COUNT_MAX));
            match self.publish_pipelined(source, tail.sequence, batch).await {
                Ok(()) => {
                    tail.advance(batch.len());
                    self.remember(source, tail);
                    rest = others;
                }
                Err(PublishFailure::Other(error)) => {
                    self.forget(source);
                    return Err(error);
                }
                Err(PublishFailure::Refused | PublishFailure::NoStream) => {
                    tail = self.tail(source).await?;
                    refusals += 1;
                    // A foreign message came in between: the same again, behind it.
                    if tail.position != due || refusals > REFUSALS_MAX {
                        return Err(BrokerError::OutOfOrder { last: tail.position });
                    }
                }
            }
        }
        Ok(())
    }

    fn foreign_messages(&self, source: &str) -> u64 {
        self.known_tail(source).map_or(0, |tail| tail.foreign())
    }

    async fn subscribe(
        &self,
        source: &str,
        after: i64,
    ) -> Result<Box<dyn Subscription>, BrokerError> {
        check_name(source)?;
        Ok(Box::new(NatsSubscription::new(self.clone(), source, after)))
    }

    async fn check(&self) -> Result<(), BrokerError> {
        self.connection().await?;
        self.context.query_account().await.map_err(failed)?;
        Ok(())
    }
}
