//! How many tweets apps read, by day.
//!
//! Reads are counted in memory and written now and then, so that a read writes nothing. A process that
//! ends without a shutdown loses the counts of [`WRITE_INTERVAL`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use pillion_chassis::sql::query;
use pillion_chassis::{
    Answer, Caller, Clock, Database, DatabaseError, Parameters, Problem, Shutdown, Timestamp,
    Worker,
};
use serde::Serialize;

use crate::Tweets;

/// How often counts are written.
const WRITE_INTERVAL: Duration = Duration::from_secs(10);
/// Apps whose counts wait to be written; of more that read within [`WRITE_INTERVAL`] some are not
/// counted, which is logged.
const WAITING_MAX: usize = 10_000;
/// X's bounds for the days of an answer, which are kept.
const DAYS_MAX: u32 = 90;
const DAYS_DEFAULT: u32 = 7;
const DAY_MS: u64 = 86_400_000;

/// `usage.fields`.
const FIELDS: [&str; 6] = [
    "cap_reset_day",
    "daily_client_app_usage",
    "daily_project_usage",
    "project_cap",
    "project_id",
    "project_usage",
];

/// Counts that are not written yet.
#[derive(Debug)]
pub(crate) struct Usage {
    database: Database,
    clock: Arc<dyn Clock>,
    waiting: Mutex<HashMap<(String, i64), i64>>,
}

impl Usage {
    /// Counts for the service on this database.
    pub(crate) fn new(database: Database, clock: Arc<dyn Clock>) -> Self {
        Self { database, clock, waiting: Mutex::default() }
    }

    /// The caller's app has read so many tweets.
    pub(crate) fn count(&self, caller: &Caller, tweets: usize) {
        let Ok(tweets @ 1..) = i64::try_from(tweets) else {
            return;
        };
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (caller.client_id.clone(), day(self.clock.now()));
        if let Some(count) = waiting.get_mut(&key) {
            *count += tweets;
        } else if waiting.len() < WAITING_MAX {
            waiting.insert(key, tweets);
        } else {
            drop(waiting);
            tracing::warn!(client_id = key.0, "too many apps read at once; usage not counted");
        }
    }

    /// Writes what waits, and forgets what is too old to be asked for.
    async fn write(&self) -> Result<(), DatabaseError> {
        let waiting = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *waiting)
        };
        if waiting.is_empty() {
            return Ok(());
        }
        let written = self.write_counts(&waiting).await;
        if written.is_err() {
            let mut again = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            for (key, tweets) in waiting {
                *again.entry(key).or_default() += tweets;
            }
        }
        written
    }

    async fn write_counts(
        &self,
        counts: &HashMap<(String, i64), i64>,
    ) -> Result<(), DatabaseError> {
        let mut transaction = self.database.write().await?;
        for ((client_id, day), tweets) in counts {
            query(
                "INSERT INTO usage (client_id, day, tweets) VALUES ($1, $2, $3)
                 ON CONFLICT (client_id, day) DO UPDATE
                 SET tweets = usage.tweets + excluded.tweets",
            )
            .bind(client_id)
            .bind(*day)
            .bind(*tweets)
            .execute(&mut transaction)
            .await?;
        }
        query("DELETE FROM usage WHERE day < $1")
            .bind(day(self.clock.now()) - i64::from(DAYS_MAX))
            .execute(&mut transaction)
            .await?;
        transaction.commit().await
    }

    /// What an app read from this day on, by day.
    async fn since(&self, client_id: &str, first: i64) -> Result<Vec<(i64, i64)>, DatabaseError> {
        query("SELECT day, tweets FROM usage WHERE client_id = $1 AND day >= $2 ORDER BY day")
            .bind(client_id)
            .bind(first)
            .fetch_all(&self.database)
            .await
    }
}

/// Writes counts now and then, and at the shutdown.
pub(crate) fn worker(usage: Arc<Usage>) -> Worker {
    Worker::new("usage", move |shutdown: Shutdown| write_at_intervals(Arc::clone(&usage), shutdown))
}

async fn write_at_intervals(usage: Arc<Usage>, mut shutdown: Shutdown) {
    loop {
        let is_last = tokio::select! {
            () = tokio::time::sleep(WRITE_INTERVAL) => false,
            () = shutdown.requested() => true,
        };
        if let Err(error) = usage.write().await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "usage counts could not be written, retrying");
        }
        if is_last {
            return;
        }
    }
}

/// Tweets of a day.
#[derive(Debug, Clone, Serialize)]
struct OfDay {
    date: Timestamp,
    usage: i64,
}

#[derive(Debug, Serialize)]
struct OfApp {
    client_app_id: String,
    usage: Vec<OfDay>,
    usage_result_count: usize,
}

#[derive(Debug, Serialize)]
struct OfProject {
    project_id: String,
    usage: Vec<OfDay>,
}

/// X counts by projects, which have apps and a monthly cap. Every app is a project of its own here,
/// and there is no cap.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    daily_client_app_usage: Vec<OfApp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    daily_project_usage: Option<OfProject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project_usage: Option<i64>,
}

/// `GET /2/usage/tweets`: for an app's own token.
pub(crate) async fn usage(
    State(tweets): State<Tweets>,
    caller: Caller,
    mut parameters: Parameters,
) -> Result<Answer<Report>, Problem> {
    if caller.user_id.is_some() {
        return Err(Problem::forbidden("This is for apps: use an app's own token."));
    }
    let days = parameters.number("days", 1..=DAYS_MAX, DAYS_DEFAULT);
    let asked = parameters.fields("usage.fields", &FIELDS);
    parameters.finish()?;
    let any = FIELDS.iter().any(|field| asked.has(field));
    let has = |field: &str| asked.has(field) || (!any && field.starts_with("project_"));
    let usage = &tweets.usage;
    usage.write().await?;
    let first = day(tweets.clock.now()) - i64::from(days) + 1;
    let found = usage.since(&caller.client_id, first).await?;
    let total = found.iter().map(|(_, tweets)| tweets).sum();
    let daily: Vec<OfDay> =
        found.into_iter().map(|(day, usage)| OfDay { date: start_of(day), usage }).collect();
    let project_id = caller.client_id.trim_start_matches("app-").to_owned();
    let mut report = Report {
        daily_client_app_usage: Vec::new(),
        daily_project_usage: None,
        project_id: has("project_id").then(|| project_id.clone()),
        project_usage: has("project_usage").then_some(total),
    };
    // X leaves out what is empty.
    if has("daily_project_usage") && !daily.is_empty() {
        report.daily_project_usage = Some(OfProject { project_id, usage: daily.clone() });
    }
    if has("daily_client_app_usage") && !daily.is_empty() {
        report.daily_client_app_usage = vec![OfApp {
            client_app_id: caller.client_id,
            usage_result_count: daily.len(),
            usage: daily,
        }];
    }
    Ok(Answer::found(report))
}

/// The day of a time, counted from 1970.
fn day(at: Timestamp) -> i64 {
    i64::try_from(at.as_millis() / DAY_MS).unwrap_or(i64::MAX)
}

fn start_of(day: i64) -> Timestamp {
    let millis = i64::try_from(DAY_MS).unwrap_or(i64::MAX).saturating_mul(day);
    Timestamp::from_micros(millis.saturating_mul(1_000))
}
