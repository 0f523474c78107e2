//! The sagas that the services in this process conduct: what operators see of them, and what they
//! can do about one that does not get on.

mod command;

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use pillion_chassis::saga::{Counts, OperatorError, SagaId, Shown};
use pillion_chassis::{Json, Problem, Sagas};
use serde::Deserialize;
use serde_json::json;

pub(crate) use command::saga;

/// What an operator may write about a saga that is given up.
const REASON_CHARACTERS_MAX: usize = 500;

/// The sagas of the services in this process. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct AllSagas(Arc<[Sagas]>);

impl AllSagas {
    pub(crate) fn new(sagas: Vec<Sagas>) -> Self {
        Self(sagas.into())
    }

    /// The operator's routes, below `/admin/v1/sagas`.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/admin/v1/sagas", get(list))
            .route("/admin/v1/sagas/{id}", get(show))
            .route("/admin/v1/sagas/{id}/retry", post(retry))
            .route("/admin/v1/sagas/{id}/abandon", post(abandon))
            .with_state(self)
    }

    /// In Prometheus' text form. A service whose database does not answer is left out: its probe
    /// says so.
    pub(crate) async fn metrics(&self) -> String {
        let mut page = Page::default();
        for sagas in &*self.0 {
            for counts in sagas.counts().await.unwrap_or_default() {
                page.add(&counts);
            }
        }
        page.text()
    }

    /// The saga of that number, and who conducts it.
    async fn find(&self, id: SagaId) -> Result<(&Sagas, Shown), Problem> {
        for sagas in &*self.0 {
            if let Some(shown) = sagas.show(id).await? {
                return Ok((sagas, shown));
            }
        }
        Err(OperatorError::Unknown(id).into())
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    /// Those that are at their end, too.
    #[serde(default)]
    all: bool,
}

async fn list(
    State(all): State<AllSagas>,
    Query(which): Query<Which>,
) -> Result<Response, Problem> {
    let mut data = Vec::new();
    for sagas in &*all.0 {
        data.extend(sagas.list(which.all).await?);
    }
    Ok(Json(json!({ "data": data })).into_response())
}

async fn show(State(all): State<AllSagas>, Path(id): Path<i64>) -> Result<Response, Problem> {
    let (_, shown) = all.find(SagaId::new(id)).await?;
    Ok(Json(json!({ "data": shown })).into_response())
}

async fn retry(State(all): State<AllSagas>, Path(id): Path<i64>) -> Result<Response, Problem> {
    let (sagas, _) = all.find(SagaId::new(id)).await?;
    let data = sagas.retry(SagaId::new(id)).await?;
    Ok(Json(json!({ "data": data })).into_response())
}

/// What `POST …/abandon` takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Abandon {
    /// For whoever reads the journal later.
    reason: String,
}

async fn abandon(
    State(all): State<AllSagas>,
    Path(id): Path<i64>,
    Json(body): Json<Abandon>,
) -> Result<Response, Problem> {
    let reason = body.reason.trim();
    if reason.is_empty() || reason.chars().count() > REASON_CHARACTERS_MAX {
        let message = format!("write a reason of 1 to {REASON_CHARACTERS_MAX} characters");
        return Err(Problem::invalid("reason", None, message));
    }
    let (sagas, _) = all.find(SagaId::new(id)).await?;
    let data = sagas.abandon(SagaId::new(id), reason).await?;
    Ok(Json(json!({ "data": data })).into_response())
}

/// Samples by their metric, each metric with its head once.
#[derive(Default)]
struct Page([String; METRICS.len()]);

const METRICS: [(&str, &str); 4] = [
    (
        "pillion_sagas",
        "Sagas that are not at their end: running, waiting, compensating, or parked until an \
         operator helps.",
    ),
    (
        "pillion_sagas_failing",
        "Sagas that have failed at a step ten times or more and are tried again.",
    ),
    (
        "pillion_saga_oldest_seconds",
        "Time since the oldest saga that is not at its end was started.",
    ),
    (
        "pillion_saga_stalled_seconds",
        "Time since the last step of the saga that stands still longest; waiting and parked ones \
         do not count.",
    ),
];

impl Page {
    fn add(&mut self, counts: &Counts) {
        let [states, failing, oldest, stalled] = &mut self.0;
        let labels = format!("service=\"{}\",saga=\"{}\"", counts.service, counts.saga);
        // Writing to a String cannot fail.
        for (state, count) in [
            ("running", counts.running),
            ("waiting", counts.waiting),
            ("compensating", counts.compensating),
            ("parked", counts.parked),
        ] {
            let _ = writeln!(states, "pillion_sagas{{{labels},state=\"{state}\"}} {count}");
        }
        let _ = writeln!(failing, "pillion_sagas_failing{{{labels}}} {}", counts.failing);
        let age = counts.oldest_s.unwrap_or_default();
        let _ = writeln!(oldest, "pillion_saga_oldest_seconds{{{labels}}} {age}");
        let still = counts.stalled_s.unwrap_or_default();
        let _ = writeln!(stalled, "pillion_saga_stalled_seconds{{{labels}}} {still}");
    }

    fn text(self) -> String {
        let mut text = String::new();
        for (samples, (name, help)) in self.0.iter().zip(METRICS) {
            if !samples.is_empty() {
                let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{samples}");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_tell_each_state_of_each_saga() {
        let mut page = Page::default();
        page.add(&Counts {
            service: "users",
            saga: "change_handle".to_owned(),
            running: 2,
            waiting: 0,
            compensating: 0,
            parked: 1,
            failing: 1,
            oldest_s: Some(7),
            stalled_s: None,
        });
        let text = page.text();
        for line in [
            "# TYPE pillion_sagas gauge",
            "pillion_sagas{service=\"users\",saga=\"change_handle\",state=\"running\"} 2",
            "pillion_sagas{service=\"users\",saga=\"change_handle\",state=\"parked\"} 1",
            "pillion_sagas_failing{service=\"users\",saga=\"change_handle\"} 1",
            "pillion_saga_oldest_seconds{service=\"users\",saga=\"change_handle\"} 7",
            "pillion_saga_stalled_seconds{service=\"users\",saga=\"change_handle\"} 0",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
        }
    }
}
