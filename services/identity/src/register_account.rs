//! `POST /pillion/v1/accounts`: registers an account.
//!
//! The account is stored as pending together with the beginning of the saga, which takes it to its
//! end whatever happens here. Sending the same request again waits for the same registration.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{HeaderValue, LOCATION};
use pillion_chassis::saga::{Outcome, Reason, SagaError, SagaId};
use pillion_chassis::{Json, Problem, UserId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use crate::password::{Lane, check_length};
use crate::sagas::REGISTER_ACCOUNT;
use crate::secret::Secret;
use crate::state::Identity;
use crate::store::{Account, AccountState, accounts};

/// How long a request takes at most, hashing included; then the client is told that the registration
/// goes on. Shorter than the gateway's patience.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(4);
/// Far above any rule for handles, which is the users service's: longer ones are no keys here.
const USERNAME_BYTES_MAX: usize = 64;
/// A registration that is under way ends within seconds.
const RETRY_AFTER_S: u32 = 2;

/// The body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    username: String,
    name: String,
    password: Secret,
    description: Option<String>,
    location: Option<String>,
    url: Option<String>,
}

/// What the saga knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Registration {
    pub(crate) user_id: UserId,
    #[serde(flatten)]
    pub(crate) profile: Profile,
}

/// What the users service is told about an account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Profile {
    /// The handle, as its owner writes it.
    pub(crate) username: String,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

/// How a registration began.
enum Begun {
    /// Just now.
    Anew(Registration, SagaId),
    /// Before, perhaps by the same person.
    Before(Account, Registration, SagaId),
}

/// The key of an account's registration. A handle alone would be none: after a change of handle
/// somebody else may register it while the saga of who had it still waits for other services.
pub(crate) fn key(username: &str, user_id: UserId) -> String {
    format!("{}/{user_id}", username.to_ascii_lowercase())
}

pub(crate) async fn register_account(
    State(identity): State<Arc<Identity>>,
    Json(body): Json<Body>,
) -> Result<Response, Problem> {
    let end = Instant::now() + ANSWER_TIME_MAX;
    let Body { username, name, password, description, location, url } = body;
    check_length(&password)?;
    if username.len() > USERNAME_BYTES_MAX {
        let message = format!("`username` has more than {USERNAME_BYTES_MAX} bytes");
        return Err(Problem::invalid("username", Some(&username), message));
    }
    // As the users service keeps it, so that the answer is what will be read.
    let name = name.trim().to_owned();
    let profile = Profile { username, name, description, location, url };
    // A hash takes a hundred times as long as this look; the transaction below looks again.
    if identity.is_taken(&profile.username).await? {
        return Err(taken(&profile.username));
    }
    let hash = identity.passwords.hash(password.clone()).await?;
    let (registration, saga) = match identity.begin_registration(&profile, &hash).await? {
        Begun::Anew(registration, saga) => (registration, saga),
        Begun::Before(account, registration, saga) => {
            let hash = Some(account.password_hash);
            if !identity.passwords.verify(password, hash, Lane::Registration).await? {
                return Err(taken(&profile.username));
            }
            (registration, saga)
        }
    };
    let left = end.saturating_duration_since(Instant::now());
    match identity.sagas.outcome_at_pivot(saga, left).await? {
        Outcome::Pivoted | Outcome::Completed => {}
        Outcome::Compensated(reason) => return Err(refused(reason)),
        Outcome::Unfinished => return Err(goes_on()),
    }
    // The account exists from the pivot on. Its owner may log in with the answer, not when the saga
    // comes to the step that says the same.
    let mut transaction = identity.store.write().await?;
    accounts::enable(&mut transaction, registration.user_id, identity.clock.now()).await?;
    transaction.commit().await?;
    Ok(created(registration))
}

impl Identity {
    /// Whether an account that exists has this handle.
    async fn is_taken(&self, username: &str) -> Result<bool, Problem> {
        let account = self.store.account_by_username(username).await?;
        Ok(account.is_some_and(|account| account.state != AccountState::Pending))
    }

    /// Stores the account and begins the saga that makes it one.
    async fn begin_registration(
        &self,
        profile: &Profile,
        password_hash: &str,
    ) -> Result<Begun, Problem> {
        let mut transaction = self.store.write().await?;
        let handle = profile.username.to_ascii_lowercase();
        if let Some(holder) = accounts::holder(&mut transaction, &handle).await? {
            let key = key(&handle, holder.id);
            let running = self.sagas.running(&mut transaction, &REGISTER_ACCOUNT, &key).await?;
            match (holder.state, running) {
                (AccountState::Pending, Some(saga)) => {
                    let registration = Registration::deserialize(&saga.data)
                        .map_err(|error| Problem::internal(&error))?;
                    return Ok(Begun::Before(holder, registration, saga.id));
                }
                // Its saga was given up, or was over before its first step.
                (AccountState::Pending, None) => {
                    accounts::drop_pending(&mut transaction, holder.id).await?;
                }
                (AccountState::Active | AccountState::Deactivated, _) => {
                    return Err(taken(&profile.username));
                }
            }
        }
        let registration = Registration { user_id: self.ids.user()?, profile: profile.clone() };
        let data =
            serde_json::to_value(&registration).map_err(|error| Problem::internal(&error))?;
        let key = key(&handle, registration.user_id);
        let started = self.sagas.start(&mut transaction, &REGISTER_ACCOUNT, &key, data).await;
        let saga = match started {
            Err(SagaError::Data) => {
                let message = "the body: this is far too much for a profile";
                return Err(Problem::invalid("body", None, message));
            }
            started => started?,
        };
        let account = Account {
            id: registration.user_id,
            username: profile.username.clone(),
            password_hash: password_hash.to_owned(),
            state: AccountState::Pending,
        };
        accounts::insert(&mut transaction, &account, self.clock.now()).await?;
        transaction.commit().await?;
        Ok(Begun::Anew(registration, saga))
    }
}

/// 409: the handle belongs to somebody.
pub(crate) fn taken(username: &str) -> Problem {
    Problem::conflict(format!("The username [{username}] is taken; choose another one."))
}

/// Why there is no account: as the service said that refused its part.
fn refused(reason: Reason) -> Problem {
    if reason.status == StatusCode::REQUEST_TIMEOUT.as_u16() {
        tracing::warn!(
            step = reason.step,
            "a registration was taken back because it took too long"
        );
        return Problem::unavailable(
            "The account could not be made in time; nothing is left of it. Try again.",
            RETRY_AFTER_S,
        );
    }
    reason.into()
}

fn goes_on() -> Problem {
    Problem::unavailable(
        "The registration has begun but is not done yet; it goes on by itself. Send the same \
         request again to learn when it is done.",
        RETRY_AFTER_S,
    )
}

fn created(registration: Registration) -> Response {
    let Registration { user_id, profile: Profile { username, name, .. } } = registration;
    let data = json!({ "id": user_id, "name": name, "username": username });
    let mut response = (StatusCode::CREATED, Json(json!({ "data": data }))).into_response();
    // Digits only: always a valid header.
    if let Ok(location) = HeaderValue::try_from(format!("/2/users/{user_id}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}
