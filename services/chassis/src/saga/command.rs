//! What participants have in common: reading what a saga carries, and the ways to say no.

use http::StatusCode;
use pillion_events::UserId;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::participant::{Command, StepError};
use crate::problem::Problem;

impl Command {
    /// What the saga carries, as far as `T` wants it. Refused when it is not there: it will not be
    /// later either.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, StepError> {
        let Self { saga, step, .. } = self;
        T::deserialize(&self.data).map_err(|error| {
            let detail =
                format!("The step {step} of {saga} cannot go by the saga's data: {error}.");
            StepError::Refused(Problem::plain(StatusCode::BAD_REQUEST, detail))
        })
    }

    /// The account that the saga is about, which all name `user_id`.
    pub fn user_id(&self) -> Result<UserId, StepError> {
        #[derive(Deserialize)]
        struct About {
            user_id: UserId,
        }
        self.read().map(|About { user_id }| user_id)
    }

    /// The step is none of this build's: a newer one will know it.
    pub fn unknown(&self) -> StepError {
        let Self { saga, step, .. } = self;
        let detail = format!(
            "The step {step} of {saga} is unknown here; run the build of the service that began it."
        );
        StepError::Failed(Problem::plain(StatusCode::SERVICE_UNAVAILABLE, detail))
    }

    /// What the step waits for has not come yet: `what` says which event.
    pub fn too_early(&self, what: &str) -> StepError {
        let Self { saga, step, .. } = self;
        let detail = format!("The step {step} of {saga} waits for {what}, which is still to come.");
        StepError::Failed(Problem::plain(StatusCode::SERVICE_UNAVAILABLE, detail))
    }
}
