//! The steps of a registration: the handle is reserved, the profile kept aside, and then both
//! become an account.

use pillion_chassis::database::Transaction;
use pillion_chassis::journal::Journal;
use pillion_chassis::saga::StepError;
use pillion_chassis::sql::query;
use pillion_chassis::{DatabaseError, Problem, Timestamp, UserId};
use pillion_events::{UserEvent, UserRegistered};
use serde::Deserialize;

use crate::error::Error;
use crate::profile::{About, Checks, Username, UsernameError};
use crate::store::{by_id, record};

/// What the saga knows.
#[derive(Debug, Deserialize)]
pub(crate) struct Registration {
    user_id: UserId,
    username: String,
    name: String,
    description: Option<String>,
    location: Option<String>,
    url: Option<String>,
}

/// Reserves the handle. Refuses, with all that is wrong, what cannot become a profile: whoever
/// registers shall not learn of it piece by piece.
pub(crate) async fn reserve_handle(
    transaction: &mut Transaction,
    registration: Registration,
) -> Result<(), StepError> {
    let user_id = registration.user_id;
    let (username, _) = check(registration).map_err(StepError::Refused)?;
    reserve(transaction, user_id, &username).await
}

/// Makes the handle free again.
pub(crate) async fn release_handle(
    transaction: &mut Transaction,
    registration: Registration,
) -> Result<(), StepError> {
    let Registration { user_id, username, .. } = registration;
    Ok(release(transaction, user_id, &username).await?)
}

/// Keeps the profile aside.
pub(crate) async fn create_profile(
    transaction: &mut Transaction,
    registration: Registration,
) -> Result<(), StepError> {
    let user_id = registration.user_id;
    let (_, about) = check(registration).map_err(StepError::Refused)?;
    query(
        "INSERT INTO profile_draft (user_id, name, description, location, url)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(user_id)
    .bind(about.name)
    .bind(about.description)
    .bind(about.location)
    .bind(about.url)
    .execute(transaction)
    .await?;
    Ok(())
}

/// Forgets what was kept aside.
pub(crate) async fn drop_profile(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<(), StepError> {
    query("DELETE FROM profile_draft WHERE user_id = $1")
        .bind(user_id)
        .execute(transaction)
        .await?;
    Ok(())
}

/// Makes the account of what was reserved and kept aside.
pub(crate) async fn activate(
    journal: &Journal,
    transaction: &mut Transaction,
    registration: Registration,
    at: Timestamp,
) -> Result<(), StepError> {
    let Registration { user_id, username, .. } = registration;
    let draft = query(
        "DELETE FROM profile_draft WHERE user_id = $1
         RETURNING name, description, location, url",
    )
    .bind(user_id)
    .fetch_optional::<(String, Option<String>, Option<String>, Option<String>)>(&mut *transaction)
    .await?;
    let Some((name, description, location, url)) = draft else {
        let detail = format!("There is no profile kept aside for the account {user_id}.");
        return Err(StepError::Refused(Problem::conflict(detail)));
    };
    release(transaction, user_id, &username).await?;
    // A build before the sagas may have made the account, and then lost its answer.
    if by_id(transaction, user_id).await?.is_some() {
        return Ok(());
    }
    let event = UserEvent::Registered(UserRegistered {
        user_id,
        username,
        name,
        description,
        location,
        url,
        created_at: at,
    });
    record(journal, transaction, user_id, &event, at).await?;
    Ok(())
}

/// Reserves a handle for an account, which may have it already.
pub(crate) async fn reserve(
    transaction: &mut Transaction,
    user_id: UserId,
    username: &Username,
) -> Result<(), StepError> {
    if is_taken(transaction, user_id, username).await? {
        return Err(StepError::Refused(Error::UsernameTaken(username.clone()).into()));
    }
    query("INSERT INTO handle_reservation (username_key, user_id) VALUES ($1, $2)")
        .bind(username.key())
        .bind(user_id)
        .execute(transaction)
        .await?;
    Ok(())
}

/// Makes a handle that an account had reserved free again.
pub(crate) async fn release(
    transaction: &mut Transaction,
    user_id: UserId,
    username: &str,
) -> Result<(), DatabaseError> {
    query("DELETE FROM handle_reservation WHERE username_key = $1 AND user_id = $2")
        .bind(username.to_ascii_lowercase())
        .bind(user_id)
        .execute(transaction)
        .await?;
    Ok(())
}

/// Whether a handle is another account's, or was: one that is deleted keeps its handle, so that
/// nobody else can pose as its owner. What is reserved is taken, whoever reserved it.
pub(crate) async fn is_taken(
    transaction: &mut Transaction,
    user_id: UserId,
    username: &Username,
) -> Result<bool, DatabaseError> {
    let (taken,) = query(
        "SELECT EXISTS (SELECT 1 FROM profile WHERE username_key = $1 AND user_id <> $2)
             OR EXISTS (SELECT 1 FROM handle_reservation WHERE username_key = $1)",
    )
    .bind(username.key())
    .bind(user_id)
    .fetch_one::<(bool,)>(transaction)
    .await?;
    Ok(taken)
}

/// What a registration says, or all that is wrong with it.
fn check(registration: Registration) -> Result<(Username, About), Problem> {
    let Registration { username: sent, name, description, location, url, .. } = registration;
    let mut checks = Checks::default();
    let username: Result<Username, UsernameError> = sent.parse();
    if let Err(error) = username {
        checks.refuse("username", &sent, &error.to_string());
    }
    let about = About {
        name: checks.name(&name),
        description: description.and_then(|sent| checks.description(sent)),
        location: location.and_then(|sent| checks.location(sent)),
        url: url.and_then(|sent| checks.url(sent)),
    };
    match username {
        Ok(username) if checks.errors.is_empty() => Ok((username, about)),
        _ => Err(Problem::invalid_parameters(checks.errors)),
    }
}
