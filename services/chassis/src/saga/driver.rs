//! Conducts sagas: takes those that are due, asks the participants, and writes down what came of
//! it before anything follows from it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::{JoinError, JoinSet};

use super::ask::Answer;
use super::definition::{Kind, OnTimer, Saga, Step};
use super::log::{self, Row, What};
use super::{Conductor, Reason, Sagas, State};
use crate::crash::crash_point;
use crate::database::{Backend, DatabaseError};
use crate::service::Shutdown;

/// Sagas that one process drives at a time.
const AT_ONCE_MAX: usize = 32;
/// How often it is looked for what another host started or let go of.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Between tries of a step: doubles from the first to the last.
const BACK_OFF_MIN: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(5);
/// A step that was tried in vain so often is told in the log as an error, and again every so often.
pub(super) const ALARM_AFTER: i64 = 10;
const ALARM_EVERY: i64 = 60;
/// A compensation that its service failed to do so often parks the saga.
const FAILURES_MAX: i64 = 10;
/// No saga waits longer, whatever its data says.
const WAIT_MAX: Duration = Duration::from_hours(24 * 366);
/// No saga that is under way is put off for longer: beyond back-off and lease, and the differences
/// between hosts' clocks.
const PUT_OFF_MAX: Duration = Duration::from_mins(1);
/// How often sagas that ended long ago are forgotten.
const FORGET_INTERVAL: Duration = Duration::from_mins(10);

/// Why a saga is let go of in the middle.
#[derive(Debug, thiserror::Error)]
enum Lost {
    /// Somebody else works on it, or told it something.
    #[error("it has another owner")]
    Taken,
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Whether the saga goes on at once.
enum Next {
    Goes,
    Rests,
}

/// Conducts until the shutdown, and ends the steps that are under way then.
pub(super) async fn run(sagas: Sagas, mut shutdown: Shutdown) {
    let database = &sagas.0.database;
    // Nobody else can be at a file of ours: who owned its sagas is gone.
    if database.backend() == Backend::Sqlite
        && let Err(error) = log::end_leases(database).await
    {
        // They end by themselves, a little later.
        tell(&sagas, &error);
    }
    let mut drives = JoinSet::new();
    let mut forget_at = tokio::time::Instant::now();
    loop {
        let free = AT_ONCE_MAX.saturating_sub(drives.len());
        let pause = match take(&sagas, free, &mut drives, &shutdown).await {
            Ok(pause) => pause,
            Err(error) => {
                tell(&sagas, &error);
                LOOK_INTERVAL
            }
        };
        if forget_at <= tokio::time::Instant::now() {
            match log::forget(database, sagas.now()).await {
                Ok(true) => {}
                Ok(false) => forget_at = tokio::time::Instant::now() + FORGET_INTERVAL,
                Err(error) => {
                    forget_at = tokio::time::Instant::now() + FORGET_INTERVAL;
                    tell(&sagas, &error);
                }
            }
        }
        tokio::select! {
            () = shutdown.requested() => break,
            () = sagas.0.due.notified() => {}
            Some(ended) = drives.join_next() => look_at(&sagas, ended),
            () = tokio::time::sleep(pause) => {}
        }
    }
    while let Some(ended) = drives.join_next().await {
        look_at(&sagas, ended);
    }
}

fn tell(sagas: &Sagas, error: &DatabaseError) {
    let error = error as &dyn std::error::Error;
    tracing::warn!(service = sagas.0.service, error, "sagas stand still; trying again");
}

fn look_at(sagas: &Sagas, ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        let error = &error as &dyn std::error::Error;
        // The panic hook has written the message; the saga is taken up again when its lease ends.
        tracing::error!(service = sagas.0.service, error, "a step of a saga panicked");
    }
}

/// Takes sagas that are due, and says how long it may be until the next one is.
async fn take(
    sagas: &Sagas,
    free: usize,
    drives: &mut JoinSet<()>,
    shutdown: &Shutdown,
) -> Result<Duration, DatabaseError> {
    if free == 0 {
        return Ok(LOOK_INTERVAL);
    }
    for row in sagas.claim(free).await? {
        let (sagas, shutdown) = (sagas.clone(), shutdown.clone());
        drives.spawn(async move { drive(&sagas, row, &shutdown).await });
    }
    let next = log::next_due(&sagas.0.database, &sagas.names()).await?;
    let pause = next.map(|due_at| due_at.saturating_sub(sagas.now()).max(0));
    let pause = pause.and_then(|micros| u64::try_from(micros).ok()).map(Duration::from_micros);
    Ok(pause.unwrap_or(LOOK_INTERVAL).min(LOOK_INTERVAL))
}

/// Does what is due, until nothing is.
#[cfg(any(test, feature = "testing"))]
pub(super) async fn run_until_idle(sagas: &Sagas) {
    let (_trigger, shutdown) = Shutdown::new();
    loop {
        let rows = sagas.claim(AT_ONCE_MAX).await.expect("a database that works");
        if rows.is_empty() {
            return;
        }
        for row in rows {
            drive(sagas, row, &shutdown).await;
        }
    }
}

/// Takes a saga on until it waits, fails, ends, or is somebody else's.
pub(super) async fn drive(sagas: &Sagas, mut row: Row, shutdown: &Shutdown) {
    let (service, id) = (sagas.0.service, row.id());
    loop {
        let next = match sagas.go_on(&mut row).await {
            Ok(Next::Goes) if shutdown.is_requested() => {
                row.release();
                sagas.write(&mut row, &[]).await.map(|()| Next::Rests)
            }
            next => next,
        };
        match next {
            Ok(Next::Goes) => {}
            Ok(Next::Rests) => return,
            Err(Lost::Taken) => {
                tracing::debug!(service, %id, "a saga has another owner now");
                return;
            }
            Err(Lost::Database(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(service, %id, error, "a saga's log cannot be written; trying again");
                return;
            }
        }
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// How long to wait after so many tries, in microseconds. Sagas that failed together do not come
/// back together.
fn back_off(attempts: i64, id: i64) -> i64 {
    let doubled = u32::try_from(attempts.clamp(1, 10)).unwrap_or(10) - 1;
    let pause = micros(BACK_OFF_MIN.saturating_mul(1 << doubled).min(BACK_OFF_MAX));
    pause - pause / 4 * (id ^ attempts).rem_euclid(8) / 8
}

impl Sagas {
    fn now(&self) -> i64 {
        self.0.clock.now().as_micros()
    }

    fn names(&self) -> Vec<&'static str> {
        self.0.sagas.iter().map(|saga| saga.name).collect()
    }

    async fn claim(&self, count_max: usize) -> Result<Vec<Row>, DatabaseError> {
        let Conductor { database, owner, .. } = &*self.0;
        let count_max = u32::try_from(count_max).unwrap_or(u32::MAX);
        let now = self.now();
        if now < self.0.latest.load(Ordering::Relaxed) {
            log::bring_forward(database, now, PUT_OFF_MAX).await?;
        }
        self.0.latest.store(now, Ordering::Relaxed);
        log::claim(database, &self.names(), owner, now, count_max).await
    }

    /// What is about to be written, for the places at which tests end the process.
    #[cfg(feature = "crash-points")]
    fn said(lines: &[(&str, What, Option<&str>)]) -> String {
        let said = lines.first().map(|(step, what, _)| format!("{step} {}", what.word()));
        said.unwrap_or_default()
    }

    /// Writes where the saga stands, and lines of its journal, if it is still ours.
    async fn write(&self, row: &mut Row, lines: &[(&str, What, Option<&str>)]) -> Result<(), Lost> {
        crash_point!("saga.log.before", &row.name, &Self::said(lines));
        let mut transaction = self.0.database.write().await?;
        if !row.save(&mut transaction, row.epoch).await? {
            return Err(Lost::Taken);
        }
        let now = self.now();
        for (step, what, detail) in lines {
            log::note(&mut transaction, row.id(), now, step, *what, *detail).await?;
        }
        transaction.commit().await?;
        crash_point!("saga.log.after", &row.name, &Self::said(lines));
        self.0.watchers.wake(row.id());
        Ok(())
    }

    /// The next thing that is to be done.
    async fn go_on(&self, row: &mut Row) -> Result<Next, Lost> {
        let Some(saga) = self.0.sagas.iter().find(|saga| saga.name == row.name) else {
            // Only declared ones are claimed.
            return Ok(Next::Rests);
        };
        let Some(step) = saga.index_of(&row.step).and_then(|index| saga.step(index)) else {
            // While a fleet is upgraded, a process of the other build may know it.
            let error = format!("{} has no step {} in this build", saga.name, row.step);
            return self.failed(row, error, None).await;
        };
        match (row.state()?, step.kind) {
            (State::Running, Kind::Wait { due_field, on_timer }) => {
                self.begin_wait(row, saga, due_field, on_timer).await
            }
            (State::Waiting, Kind::Wait { on_timer, .. }) => {
                self.end_wait(row, saga, on_timer).await
            }
            (State::Running, _) => self.do_step(row, saga, step).await,
            (State::Compensating, _) => self.undo_step(row, saga, step).await,
            _ => Ok(Next::Rests),
        }
    }

    /// Waits, unless it was told to proceed already, or the moment is past.
    async fn begin_wait(
        &self,
        row: &mut Row,
        saga: &Saga,
        due_field: &str,
        on_timer: OnTimer,
    ) -> Result<Next, Lost> {
        let Some(due) = row.data()?.get(due_field).and_then(Value::as_i64) else {
            let error = format!("its data has no moment in `{due_field}`: microseconds since 1970");
            return self.park(row, error).await;
        };
        let now = self.now();
        let until = due.min(row.started_at.saturating_add(micros(WAIT_MAX)));
        let step = row.step.clone();
        let mut transaction = self.0.database.write().await?;
        let fresh = log::find(&mut transaction, row.id()).await?;
        // A signal that comes from here on finds it waiting.
        let proceeds = fresh.is_some_and(|fresh| fresh.proceeds);
        if !proceeds && until <= now {
            drop(transaction);
            return self.end_wait(row, saga, on_timer).await;
        }
        let (what, detail) = if proceeds {
            log::set_proceeds(&mut transaction, row.id(), false).await?;
            row.advance(saga, now);
            row.keep_if_owned(now);
            (What::Proceeded, "signal")
        } else {
            row.wait(until, now);
            (What::Waiting, "")
        };
        crash_point!("saga.log.before", &row.name, &step, what.word());
        if !row.save(&mut transaction, row.epoch).await? {
            return Err(Lost::Taken);
        }
        let detail = Some(detail).filter(|detail| !detail.is_empty());
        log::note(&mut transaction, row.id(), now, &step, what, detail).await?;
        transaction.commit().await?;
        crash_point!("saga.log.after", &row.name, &step, what.word());
        self.0.watchers.wake(row.id());
        Ok(next(row.state()?))
    }

    /// Nobody said anything in time.
    async fn end_wait(&self, row: &mut Row, saga: &Saga, on_timer: OnTimer) -> Result<Next, Lost> {
        match on_timer {
            OnTimer::Proceed => self.done(row, saga, What::Proceeded, Some("timer")).await,
            OnTimer::Compensate => {
                let detail = format!("Nothing ended the wait `{}` in its time.", row.step);
                let reason = late(&row.step, &detail);
                self.turn_back(row, saga, &reason, What::TimedOut, None).await
            }
        }
    }

    /// Asks for a step.
    async fn do_step(&self, row: &mut Row, saga: &Saga, step: &Step) -> Result<Next, Lost> {
        let time_max = matches!(step.kind, Kind::Compensated | Kind::Plain)
            .then(|| row.step_since.saturating_add(micros(step.time_max)));
        // After an outage of ours it is nobody's fault: each step has at least one try.
        if row.attempts > 0 && time_max.is_some_and(|until| until <= self.now()) {
            let error = row.error.clone().unwrap_or_default();
            let detail =
                format!("The step {} was not done in {:?}: {error}", row.step, step.time_max);
            let reason = late(&row.step, &detail);
            return self.turn_back(row, saga, &reason, What::TimedOut, None).await;
        }
        match self.ask(Method::PUT, row, saga, step).await? {
            Answer::Done(answer) => {
                row.learn(answer)?;
                self.done(row, saga, What::Done, None).await
            }
            Answer::Refused { reason, is_final } => match step.kind {
                Kind::Retried if is_final => {
                    let error = format!("refused with {}: {}", reason.status, detail_of(&reason));
                    self.park(row, error).await
                }
                // Something in front of it refuses; it may have been done by an earlier try.
                Kind::Pivot | Kind::Retried if !is_final => {
                    let error = format!("answered {}: {}", reason.status, detail_of(&reason));
                    self.failed(row, error, None).await
                }
                _ => {
                    let status = reason.status.to_string();
                    self.turn_back(row, saga, &reason, What::Refused, Some(&status)).await
                }
            },
            Answer::Failed { error, .. } => self.failed(row, error, time_max).await,
        }
    }

    /// Asks for a step to be taken back.
    async fn undo_step(&self, row: &mut Row, saga: &Saga, step: &Step) -> Result<Next, Lost> {
        let (error, is_own) = match self.ask(Method::DELETE, row, saga, step).await? {
            Answer::Done(_) => {
                let undone = row.step.clone();
                let now = self.now();
                let state = row.undone(saga, now);
                row.keep_if_owned(now);
                let mut lines = vec![(undone.as_str(), What::Undone, None)];
                lines.extend(end_of(state));
                self.write(row, &lines).await?;
                return Ok(next(state));
            }
            Answer::Refused { reason, .. } => {
                (format!("answered {}: {}", reason.status, detail_of(&reason)), true)
            }
            Answer::Failed { error, is_own } => (error, is_own),
        };
        row.failures += i64::from(is_own);
        if row.failures >= FAILURES_MAX {
            return self.park(row, error).await;
        }
        self.failed(row, error, None).await
    }

    /// The next step's turn.
    async fn done(
        &self,
        row: &mut Row,
        saga: &Saga,
        what: What,
        detail: Option<&str>,
    ) -> Result<Next, Lost> {
        let (step, now) = (row.step.clone(), self.now());
        let state = row.advance(saga, now);
        row.keep_if_owned(now);
        let mut lines = vec![(step.as_str(), what, detail)];
        lines.extend(end_of(state));
        self.write(row, &lines).await?;
        Ok(next(state))
    }

    /// From here on everything is taken back.
    async fn turn_back(
        &self,
        row: &mut Row,
        saga: &Saga,
        reason: &Reason,
        what: What,
        detail: Option<&str>,
    ) -> Result<Next, Lost> {
        let (step, now) = (row.step.clone(), self.now());
        let state = row.turn_back(saga, row.position(saga), reason, now);
        row.keep_if_owned(now);
        let mut lines = vec![(step.as_str(), what, detail)];
        lines.extend(end_of(state));
        self.write(row, &lines).await?;
        Ok(next(state))
    }

    /// Another try, a little later.
    async fn failed(&self, row: &mut Row, error: String, until: Option<i64>) -> Result<Next, Lost> {
        row.attempts += 1;
        let (service, id, attempts) = (self.0.service, row.id(), row.attempts);
        let (saga, step) = (row.name.clone(), row.step.clone());
        tracing::debug!(service, saga, %id, step, attempts, error, "a step of a saga failed");
        let is_alarming =
            attempts == ALARM_AFTER || (attempts > 0 && attempts.rem_euclid(ALARM_EVERY) == 0);
        if is_alarming {
            tracing::error!(
                service,
                saga,
                %id,
                step,
                attempts,
                error,
                "a saga does not get on; it is tried again"
            );
        }
        let due_at = self.now().saturating_add(back_off(attempts, id.get()));
        // Its journal has a bound: what follows says nothing new.
        let line = (attempts == 1 || attempts == ALARM_AFTER).then(|| error.clone());
        row.back_off(until.map_or(due_at, |until| until.min(due_at)), error);
        let lines = line.as_deref().map(|line| (step.as_str(), What::Failing, Some(line)));
        self.write(row, lines.as_slice()).await?;
        Ok(Next::Rests)
    }

    /// Somebody has to look at it.
    async fn park(&self, row: &mut Row, error: String) -> Result<Next, Lost> {
        let (service, id, saga, step) =
            (self.0.service, row.id(), row.name.clone(), row.step.clone());
        row.park(error.clone(), self.now());
        self.write(row, &[(&step, What::Parked, Some(&error))]).await?;
        tracing::error!(
            service,
            saga,
            %id,
            step,
            error,
            "a saga is parked; `pillion saga show` tells how far it came, and `pillion saga retry` \
             takes it on when the cause is gone"
        );
        Ok(Next::Rests)
    }
}

fn detail_of(reason: &Reason) -> &str {
    reason.problem.get("detail").and_then(Value::as_str).unwrap_or("no reason was given")
}

/// A time ran out.
fn late(step: &str, detail: &str) -> Reason {
    let problem = json!({
        "title": "Request Timeout",
        "detail": detail,
        "type": "about:blank",
        "status": StatusCode::REQUEST_TIMEOUT.as_u16(),
    });
    Reason::new(step, StatusCode::REQUEST_TIMEOUT, problem)
}

/// The last line of the journal, when a saga is at its end.
pub(super) fn end_of(state: State) -> Option<(&'static str, What, Option<&'static str>)> {
    let what = match state {
        State::Completed => What::Completed,
        State::Compensated => What::Compensated,
        State::Abandoned => What::Abandoned,
        State::Running | State::Waiting | State::Compensating | State::Parked => return None,
    };
    Some(("", what, None))
}

fn next(state: State) -> Next {
    match state {
        State::Running | State::Compensating => Next::Goes,
        State::Waiting
        | State::Parked
        | State::Completed
        | State::Compensated
        | State::Abandoned => Next::Rests,
    }
}
