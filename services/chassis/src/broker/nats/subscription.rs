//! Reading a service's stream from a position on, through whatever happens to the server.

use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::pull::{Batch, Config};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer};
use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{NatsBroker, failed, position, sequence, stream, tail};
use crate::broker::{BrokerError, Subscription};
use crate::event_log::Recorded;

/// Events that the server sends ahead at a time, until they are asked for again.
const PULL_COUNT_MAX: usize = 256;
/// How long the server keeps a pull waiting. A pull that it has lost (it was killed, and the
/// connection did not break) is noticed five seconds later; a lost connection at once.
const PULL_TIME_MAX: Duration = Duration::from_secs(5);
/// A pull that ends later than this after it was asked for was not read in time. The client ends it
/// by a clock of its own then, whatever of it is here and unread, and the server sends that once.
const PULL_READ_TIME_MAX: Duration = Duration::from_secs(6);
/// The server forgets a consumer that has not pulled for this long. A subscriber who is slower
/// than that gets another one.
const CONSUMER_IDLE_TIME_MAX: Duration = Duration::from_mins(1);

/// Events of a stream. The position here is the only one that counts: the consumer at the server
/// acknowledges nothing, and is replaced whenever there is doubt about where it stands. Messages
/// that are no events of the source are skipped.
#[derive(Debug)]
pub(super) struct NatsSubscription {
    broker: NatsBroker,
    source: String,
    /// Of the last event that was given out.
    position: i64,
    pull: Option<Pull>,
}

/// A consumer at the server, which begins right after the position.
struct Pull {
    consumer: PullConsumer,
    /// What it was asked for last, until that comes to its end.
    batch: Option<Batch>,
    /// When it was asked.
    asked: Instant,
    /// Changes with every new connection.
    connected: watch::Receiver<()>,
    /// Whether it has sent nothing yet.
    is_new: bool,
    /// Of the last message that it sent.
    sequence: u64,
}

impl NatsSubscription {
    pub(super) fn new(broker: NatsBroker, source: &str, position: i64) -> Self {
        Self { broker, source: source.to_owned(), position, pull: None }
    }

    /// A new consumer. When the stream ends before the position, because it was wiped, the
    /// consumer has nothing to send until the relay has come so far again.
    async fn consumer(&self) -> Result<PullConsumer, BrokerError> {
        let stream = stream::open(&self.broker.context, &self.broker.options, &self.source).await?;
        let start_sequence = sequence(self.position + 1)?;
        let config = Config {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence },
            ack_policy: AckPolicy::None,
            inactive_threshold: CONSUMER_IDLE_TIME_MAX,
            num_replicas: 1,
            memory_storage: true,
            ..Config::default()
        };
        stream.create_consumer(config).await.map_err(failed)
    }

    /// What the server was asked for, and what tells that it is another connection now. Asks
    /// when there is nothing to wait for.
    async fn asked(&mut self) -> Result<(&mut Batch, &mut watch::Receiver<()>), BrokerError> {
        // Taken out while it is waited for: what a pull brings that was cancelled on its way
        // comes to nobody, and only another consumer brings it again.
        let mut pull = if let Some(pull) = self.pull.take() {
            pull
        } else {
            let mut connected = self.broker.connected.clone();
            connected.mark_unchanged();
            self.broker.connection().await?;
            let consumer = self.consumer().await?;
            // An event's sequence is never less than its position. Those that are more, because
            // of foreign messages before them, come behind some that are known.
            let sequence = sequence(self.position)?;
            let asked = Instant::now();
            Pull { consumer, batch: None, asked, connected, is_new: true, sequence }
        };
        let batch = if let Some(batch) = pull.batch.take() {
            batch
        } else {
            self.broker.connection().await?;
            pull.asked = Instant::now();
            let batch = pull.consumer.batch();
            let batch = batch.max_messages(PULL_COUNT_MAX).expires(PULL_TIME_MAX);
            batch.messages().await.map_err(failed)?
        };
        let pull = self.pull.insert(pull);
        Ok((pull.batch.insert(batch), &mut pull.connected))
    }

    /// Waits for the next message; none: ask again.
    async fn wait(&mut self) -> Result<Option<Message>, BrokerError> {
        let (batch, connected) = self.asked().await?;
        let next = tokio::select! {
            next = batch.next() => next,
            // The server that knew of the pull is gone.
            _ = connected.changed() => {
                self.pull = None;
                return Ok(None);
            }
        };
        self.received(next)
    }

    /// The next message that is here already.
    fn ready(&mut self) -> Result<Option<Message>, BrokerError> {
        match self.pull.as_mut().and_then(|pull| pull.batch.as_mut()?.next().now_or_never()) {
            Some(next) => self.received(next),
            None => Ok(None),
        }
    }

    fn received(
        &mut self,
        next: Option<Result<Message, async_nats::Error>>,
    ) -> Result<Option<Message>, BrokerError> {
        match next {
            Some(Ok(message)) => Ok(Some(message)),
            // The consumer is gone; another one is made, unless this one was fresh from the press.
            Some(Err(error)) => match self.pull.take() {
                Some(pull) if !pull.is_new => Ok(None),
                _ => Err(BrokerError::Unavailable(error)),
            },
            None => {
                match self.pull.as_mut() {
                    Some(pull) if pull.asked.elapsed() < PULL_READ_TIME_MAX => pull.batch = None,
                    _ => self.pull = None,
                }
                Ok(None)
            }
        }
    }

    /// The event of a message if it is the one that is due.
    fn accept(&mut self, message: &Message) -> Result<Option<Recorded>, BrokerError> {
        let found = match message.info() {
            Ok(info) => info.stream_sequence,
            Err(error) => return Err(BrokerError::Failed(error)),
        };
        let Some(pull) = self.pull.as_mut() else {
            return Ok(None);
        };
        let (is_new, before) = (std::mem::take(&mut pull.is_new), pull.sequence);
        // Wherever the server lets a consumer begin, nothing comes twice.
        if found <= before {
            return Ok(None);
        }
        pull.sequence = found;
        let missing = |found: i64| {
            let (name, after) = (self.source.clone(), self.position);
            Err(BrokerError::Gap { name, after, found })
        };
        if found > before + 1 {
            let gap = missing(position(found)?);
            self.pull = None;
            // A new one was asked for the very next message, and there is none.
            return if is_new { gap } else { Ok(None) };
        }
        let Some(event) = tail::parse(&self.source, &message.payload) else {
            tracing::debug!(source = self.source, sequence = found, "skipped a foreign message");
            return Ok(None);
        };
        if event.position <= self.position {
            return Ok(None);
        }
        if event.position > self.position + 1 {
            // What was due is damaged, or this was not published by a relay.
            let gap = missing(event.position);
            self.pull = None;
            return gap;
        }
        self.position = event.position;
        Ok(Some(event))
    }
}

#[async_trait]
impl Subscription for NatsSubscription {
    async fn next(&mut self, max: usize) -> Result<Vec<Recorded>, BrokerError> {
        let mut events = Vec::new();
        while events.is_empty() {
            let Some(message) = self.wait().await? else { continue };
            events.extend(self.accept(&message)?);
            // No waiting from here on: nobody can cancel it and take events with him.
            while events.len() < max.max(1) {
                // What goes wrong now goes wrong again when it is alone; those before it count.
                match self.ready() {
                    Ok(Some(message)) => match self.accept(&message) {
                        Ok(event) => events.extend(event),
                        Err(_) => break,
                    },
                    Ok(None) | Err(_) => break,
                }
            }
        }
        Ok(events)
    }
}

impl std::fmt::Debug for Pull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pull").field("is_new", &self.is_new).finish_non_exhaustive()
    }
}
