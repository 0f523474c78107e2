//! The events of the services in this process: what carries them, and what operators see of them.

mod command;

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::Result;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use pillion_chassis::event_log::read_after;
use pillion_chassis::journal::{RebuildError, Status};
use pillion_chassis::{Broker, Journal, Json, Problem, Worker};
use serde::Deserialize;
use serde_json::json;

use crate::config::Loaded;
use crate::data::DataDir;
use crate::storage;

pub(crate) use command::events;

/// Events that one answer holds.
const TAIL_EVENTS_MAX: u32 = 1_000;
const TAIL_EVENTS_DEFAULT: u32 = 20;

/// The events of the services in this process. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    journals: Arc<[Journal]>,
    /// None when no service here has events.
    broker: Option<Arc<dyn Broker>>,
}

impl Events {
    /// Reaches the broker when one of the journals needs it; `service` is whose they are, if not
    /// those of all.
    pub(crate) async fn new(
        journals: Vec<Journal>,
        loaded: &Loaded,
        data: &DataDir,
        service: Option<&str>,
    ) -> Result<Self> {
        let broker = if journals.is_empty() {
            None
        } else {
            Some(storage::broker(loaded, data, service).await?)
        };
        Ok(Self { journals: journals.into(), broker })
    }

    /// What carries events to the broker and from it.
    pub(crate) fn workers(&self) -> Vec<Worker> {
        let Some(broker) = &self.broker else {
            return Vec::new();
        };
        self.journals.iter().flat_map(|journal| journal.workers(broker)).collect()
    }

    /// The operator's routes, below `/admin/v1/events`.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/admin/v1/events", get(status))
            .route("/admin/v1/events/{service}", get(tail))
            .route("/admin/v1/events/{service}/parked", get(parked))
            .route("/admin/v1/events/{service}/replay", post(replay))
            .route("/admin/v1/events/{service}/rebuild", post(rebuild))
            .with_state(self)
    }

    /// In Prometheus' text form. A service whose database does not answer is left out: its
    /// probe says so.
    pub(crate) async fn metrics(&self) -> String {
        let mut page = Page::default();
        for status in self.statuses().await.into_iter().flatten() {
            page.add(&status);
        }
        page.text()
    }

    async fn statuses(&self) -> Vec<Result<Status, Problem>> {
        let mut all = Vec::new();
        // One that does not answer is waited for once, not once for each source.
        let broker = match &self.broker {
            Some(broker) if broker.check().await.is_ok() => Some(&**broker),
            _ => None,
        };
        for journal in &*self.journals {
            all.push(journal.status(broker).await.map_err(Problem::from));
        }
        all
    }

    fn find(&self, service: &str) -> Result<(&Journal, &Arc<dyn Broker>), Problem> {
        let journal = self.journals.iter().find(|journal| journal.name() == service);
        journal.zip(self.broker.as_ref()).ok_or_else(|| {
            let names: Vec<&str> = self.journals.iter().map(Journal::name).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Problem::plain(
                StatusCode::NOT_FOUND,
                format!(
                    "No service `{service}` with events runs in this process; there are: {names}."
                ),
            )
        })
    }
}

async fn status(State(events): State<Events>) -> Result<Response, Problem> {
    let data = events.statuses().await.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(Json(json!({ "data": data })).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tail {
    /// From the event after this position on; without it, the last ones.
    after: Option<i64>,
    count: Option<u32>,
}

async fn tail(
    State(events): State<Events>,
    Path(service): Path<String>,
    Query(tail): Query<Tail>,
) -> Result<Response, Problem> {
    let (journal, _) = events.find(&service)?;
    let count = tail.count.unwrap_or(TAIL_EVENTS_DEFAULT).clamp(1, TAIL_EVENTS_MAX);
    let database = journal.database();
    let after = match tail.after {
        Some(after) => after,
        None => pillion_chassis::event_log::last_position(database).await? - i64::from(count),
    };
    let data = read_after(database, journal.name(), after, count).await?;
    Ok(Json(json!({ "data": data })).into_response())
}

async fn parked(
    State(events): State<Events>,
    Path(service): Path<String>,
) -> Result<Response, Problem> {
    let (journal, _) = events.find(&service)?;
    Ok(Json(json!({ "data": journal.parked().await? })).into_response())
}

async fn replay(
    State(events): State<Events>,
    Path(service): Path<String>,
) -> Result<Response, Problem> {
    let (journal, _) = events.find(&service)?;
    Ok(Json(json!({ "data": journal.replay().await? })).into_response())
}

async fn rebuild(
    State(events): State<Events>,
    Path(service): Path<String>,
) -> Result<Response, Problem> {
    let (journal, broker) = events.find(&service)?;
    match journal.rebuild(&**broker).await {
        Ok(rebuilt) => {
            let identical = rebuilt.is_identical();
            Ok(Json(json!({ "data": { "identical": identical, "rebuilt": rebuilt } }))
                .into_response())
        }
        Err(RebuildError::Database(error)) => Err(error.into()),
        // The operator gets the whole chain of causes: it is their machine.
        Err(error) => Err(Problem::plain(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("{:#}. The tables are as they were.", anyhow::Error::from(error)),
        )),
    }
}

/// Samples by their metric, each metric with its head once.
#[derive(Default)]
struct Page([String; METRICS.len()]);

const METRICS: [(&str, &str, &str); 8] = [
    ("pillion_events_recorded_total", "counter", "Events in a service's log."),
    (
        "pillion_events_unpublished",
        "gauge",
        "Events that the broker does not have yet; below 0 it has some that the log does not have.",
    ),
    (
        "pillion_events_lag",
        "gauge",
        "Events of a source that a service has not taken up yet; below 0 it has taken up some that \
         the broker does not have.",
    ),
    (
        "pillion_events_parked",
        "gauge",
        "Events that a service could not take up, and those behind them.",
    ),
    ("pillion_events_attempts", "gauge", "Tries of the event at which a source stands still."),
    ("pillion_broker_up", "gauge", "Whether the broker answers."),
    (
        "pillion_events_diverged",
        "gauge",
        "Whether the broker's last event is none of the log's: nothing is published until somebody \
         acts.",
    ),
    (
        "pillion_events_foreign_messages",
        "gauge",
        "Messages in a service's stream that something else published; they are skipped.",
    ),
];

impl Page {
    fn add(&mut self, status: &Status) {
        let service = status.service;
        let [recorded, unpublished, lag, parked, attempts, up, diverged, foreign] = &mut self.0;
        let own = format!("service=\"{service}\"");
        // Writing to a String cannot fail.
        let _ = writeln!(recorded, "pillion_events_recorded_total{{{own}}} {}", status.recorded);
        let _ = writeln!(parked, "pillion_events_parked{{{own}}} {}", status.parked);
        let is_up = u8::from(status.published.is_some());
        let _ = writeln!(up, "pillion_broker_up{{{own}}} {is_up}");
        if let Some(published) = status.published {
            let left = status.recorded - published;
            let _ = writeln!(unpublished, "pillion_events_unpublished{{{own}}} {left}");
            let differs = u8::from(status.diverged);
            let _ = writeln!(diverged, "pillion_events_diverged{{{own}}} {differs}");
            let count = status.foreign;
            let _ = writeln!(foreign, "pillion_events_foreign_messages{{{own}}} {count}");
        }
        for source in &status.sources {
            let both = format!("{own},source=\"{}\"", source.source);
            if let Some(behind) = source.lag {
                let _ = writeln!(lag, "pillion_events_lag{{{both}}} {behind}");
            }
            let _ = writeln!(attempts, "pillion_events_attempts{{{both}}} {}", source.attempts);
        }
    }

    fn text(self) -> String {
        let mut text = String::new();
        for (samples, (name, kind, help)) in self.0.iter().zip(METRICS) {
            if !samples.is_empty() {
                let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{samples}");
            }
        }
        text
    }
}
