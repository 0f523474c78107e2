//! How far the events of a service have come: what operators and metrics ask.

use serde::Serialize;

use super::{Journal, relay};
use crate::broker::Broker;
use crate::database::DatabaseError;
use crate::event_log;
use crate::sql::query;

/// How far a service's events have come.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// The service.
    pub service: &'static str,
    /// Events in its log.
    pub recorded: i64,
    /// How far the broker has come; `None` when it cannot be asked. More than there are in the log
    /// says that the database was restored, and the broker was not.
    pub published: Option<i64>,
    /// Whether the broker's last event is none of the log's: the database was restored, and the
    /// broker was not. Nothing is published then. False also when the broker cannot be asked.
    pub diverged: bool,
    /// Messages in the broker's copy of the log that are no events, because something else
    /// publishes there. They are skipped.
    pub foreign: u64,
    /// What it takes of other services.
    pub sources: Vec<SourceStatus>,
    /// Events that are kept aside.
    pub parked: i64,
}

/// How far a service has come with the events of another.
#[derive(Debug, Clone, Serialize)]
pub struct SourceStatus {
    /// The other service.
    pub source: &'static str,
    /// The last event that was taken up or parked.
    pub position: i64,
    /// Events that the broker has beyond it; `None` when it cannot be asked. Less than none says
    /// that the broker has lost events, or that the source was restored without this service.
    pub lag: Option<i64>,
    /// How often the next event was tried in vain.
    pub attempts: i64,
    /// Why it failed.
    pub error: Option<String>,
}

impl Journal {
    /// How far its events have come. Without a broker, what it has is not known.
    pub async fn status(&self, broker: Option<&dyn Broker>) -> Result<Status, DatabaseError> {
        let published = async |source: &str| match broker {
            Some(broker) => broker.last_position(source).await.ok(),
            None => None,
        };
        let rows = query("SELECT source, position, attempts, error FROM cursor")
            .fetch_all::<(String, i64, i64, Option<String>)>(&self.database)
            .await?;
        let mut sources = Vec::new();
        for source in self.projection.follows() {
            let row = rows.iter().find(|(name, ..)| name == source).cloned();
            let (_, position, attempts, error) = row.unwrap_or_default();
            let last = published(source).await;
            let lag = last.map(|last| last - position);
            sources.push(SourceStatus { source, position, lag, attempts, error });
        }
        let (parked,) =
            query("SELECT count(*) FROM parked").fetch_one::<(i64,)>(&self.database).await?;
        // In this order: what is recorded and published meanwhile is not ahead of its log.
        let published = published(self.name).await;
        let diverged = match (broker, published) {
            (Some(broker), Some(last)) => {
                let agreed = relay::agree(self, broker, last).await;
                agreed.is_err_and(|error| error.is_divergence())
            }
            _ => false,
        };
        Ok(Status {
            service: self.name,
            recorded: event_log::last_position(&self.database).await?,
            published,
            diverged,
            foreign: broker.map_or(0, |broker| broker.foreign_messages(self.name)),
            sources,
            parked,
        })
    }
}
