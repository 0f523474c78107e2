//! The broker of several machines: NATS `JetStream`, one stream for each service.
//!
//! A message's sequence in the stream is the event's position, always: each is published with the
//! last sequence that must be there before it, so the server refuses whatever would come twice,
//! too early or too late, however many relays publish at once.
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

use std::collections::HashSet;
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
use super::{
    Broker, BrokerError, Cause, Subscription, check_consecutive, check_name, decode, encode,
};
use crate::event_log::Recorded;
use crate::tls::ServerTls;

/// Whatever is asked of the server is answered, or given up on, within this time.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);
/// How soon it is seen that the connection stands, by those who wait for it.
const CONNECTION_LOOK_TIME: Duration = Duration::from_millis(10);
/// Events that are on their way to the server at a time, unacknowledged. Enough to fill the
/// round trips within a data centre; few enough for the client's queue of 2,048 commands.
const IN_FLIGHT_COUNT_MAX: usize = 256;
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
    /// The sources whose streams were there and sound when last looked at.
    known: Arc<Mutex<HashSet<String>>>,
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
        Ok(Self { client, context, options, connected, trouble, known: Arc::default() })
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

    fn knows(&self, source: &str) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(source)
    }

    fn remember(&self, source: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(source.to_owned());
    }

    fn forget(&self, source: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(source);
    }

    /// Publishes events in one go. The server takes them one after the other, each only right
    /// behind the one before it.
    async fn publish_pipelined(
        &self,
        source: &str,
        events: &[Recorded],
    ) -> Result<(), PublishFailure> {
        let subject = stream::subject(source);
        let mut acknowledgements = Vec::with_capacity(events.len());
        for event in events {
            let message = PublishMessage::build()
                .payload(encode(event)?.into())
                .message_id(format!("{source}/{}", event.position))
                .expected_last_sequence(sequence(event.position - 1)?);
            acknowledgements.push(self.context.send_publish(subject.clone(), message).await?);
        }
        // All answers are waited for: only then it is settled what the last position is.
        let mut refused = false;
        for (event, acknowledgement) in events.iter().zip(acknowledgements) {
            match acknowledgement.await.map_err(PublishFailure::from) {
                // The server knows an id for a while, and then does not look at the sequence.
                Ok(it) => refused |= it.duplicate || it.sequence != sequence(event.position)?,
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
            PublishErrorKind::WrongLastSequence => Self::Refused,
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
        let stream = stream::open(&self.context, &self.options, source).await?;
        let state = &stream.cached_info().state;
        self.remember(source);
        if state.messages == state.last_sequence {
            return position(state.last_sequence);
        }
        tracing::warn!(
            source,
            last = state.last_sequence,
            held = state.messages,
            "the broker has lost events of this service; its stream is deleted and filled again"
        );
        self.forget(source);
        self.context.delete_stream(stream::name(source)).await.map_err(failed)?;
        Ok(0)
    }

    async fn event(&self, source: &str, position: i64) -> Result<Option<Recorded>, BrokerError> {
        check_name(source)?;
        self.connection().await?;
        let sequence = sequence(position)?;
        match stream::message(&self.context, source, sequence).await? {
            Some(message) => decode(source, position, &message).map(Some),
            None => Ok(None),
        }
    }

    async fn publish(
        &self,
        source: &str,
        after: i64,
        events: &[Recorded],
    ) -> Result<(), BrokerError> {
        check_consecutive(source, after, events)?;
        self.connection().await?;
        if !self.knows(source) {
            stream::open(&self.context, &self.options, source).await?;
            self.remember(source);
        }
        for events in events.chunks(IN_FLIGHT_COUNT_MAX) {
            match self.publish_pipelined(source, events).await {
                Ok(()) => {}
                Err(PublishFailure::Other(error)) => return Err(error),
                Err(PublishFailure::Refused | PublishFailure::NoStream) => {
                    self.forget(source);
                    let last = self.last_position(source).await?;
                    return Err(BrokerError::OutOfOrder { last });
                }
            }
        }
        Ok(())
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
