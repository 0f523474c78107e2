//! Other services' steps of the sagas of this one, done, refused or failed as a test wants it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::Extension;
use pillion_chassis::saga::{self, Command, Participant, StepError};
use pillion_chassis::testing::{self, TestDatabase};
use pillion_chassis::{Backend, FakeClock, InProcessPeers, Problem, Routes, Transaction};
use serde_json::Value;

use crate::store::MIGRATIONS;

/// How a step goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Refuses,
    Fails,
}

#[derive(Debug)]
pub(super) struct Elsewhere {
    moods: Mutex<HashMap<String, Mood>>,
    happened: Mutex<Vec<String>>,
    /// What the last step was told.
    data: Mutex<Value>,
    test: TestDatabase,
}

impl Elsewhere {
    /// Takes the places of the services.
    pub(super) async fn start(peers: &InProcessPeers, clock: &Arc<FakeClock>) -> Arc<Self> {
        let elsewhere = Arc::new(Self {
            moods: Mutex::default(),
            happened: Mutex::default(),
            data: Mutex::default(),
            // Only what all services have is used of it.
            test: testing::migrated(Backend::Sqlite, &MIGRATIONS).await,
        });
        let database = elsewhere.test.database.clone();
        let steps = Arc::new(Steps(elsewhere.clone()));
        let service = saga::participate(Routes::new(), database, clock.clone(), steps);
        let (router, _) = service.finish(());
        let router = router.layer(Extension(testing::by_service("graph")));
        peers.register("notifications", router.clone());
        peers.register("timelines", router);
        elsewhere
    }

    /// From now on this step goes like that; `None`: well.
    pub(super) fn set_mood(&self, step: &str, mood: Option<Mood>) {
        let mut moods = self.moods.lock().unwrap();
        match mood {
            Some(mood) => moods.insert(step.to_owned(), mood),
            None => moods.remove(step),
        };
    }

    /// What was done, as `step source>target`, and taken back, as `-step source>target`.
    pub(super) fn happened(&self) -> Vec<String> {
        self.happened.lock().unwrap().clone()
    }

    /// What the last step was told.
    pub(super) fn data(&self) -> Value {
        self.data.lock().unwrap().clone()
    }

    fn note(&self, sign: &str, command: &Command) {
        let id = |name: &str| command.data[name].as_str().unwrap().to_owned();
        let pair = format!("{}>{}", id("user_id"), id("target_user_id"));
        self.happened.lock().unwrap().push(format!("{sign}{} {pair}", command.step));
        *self.data.lock().unwrap() = command.data.clone();
    }
}

#[derive(Debug)]
struct Steps(Arc<Elsewhere>);

#[async_trait]
impl Participant for Steps {
    async fn execute(&self, _: &mut Transaction, command: &Command) -> Result<Value, StepError> {
        let mood = self.0.moods.lock().unwrap().get(&command.step).copied();
        match mood {
            Some(Mood::Refuses) => Err(StepError::Refused(Problem::conflict("no"))),
            Some(Mood::Fails) => Err(StepError::Failed(Problem::unavailable("not now", 1))),
            None => {
                self.0.note("", command);
                Ok(Value::Null)
            }
        }
    }

    async fn compensate(&self, _: &mut Transaction, command: &Command) -> Result<(), StepError> {
        self.0.note("-", command);
        Ok(())
    }
}
