//! Access tokens that were revoked before they expired.
//!
//! There is no row per token that lives, so what is revoked is named by ids that tokens carry: their
//! own, their session's, their user's with an epoch, their app's with a generation. A row is kept
//! until the last token with its id has expired.

use std::time::Duration;

use pillion_chassis::sql::query;
use pillion_chassis::{DatabaseError, Problem, Timestamp, Transaction, UserId};

use super::Store;
use crate::revocations::{Revocation, RevocationPage};
use crate::signer::after;

/// The longest lifetime that access tokens of users can have, with a verifier's leeway: the
/// configured one may have been longer when a token was issued.
pub(crate) const USER_KEPT: Duration = Duration::from_mins(24 * 60 + 10);
/// The same for apps' own tokens.
pub(crate) const APP_KEPT: Duration = Duration::from_hours(1_096 * 24);
/// Rows for single tokens and sessions of one user or app; one row for all of them takes their
/// place after that, so that nobody can fill the table.
const NARROW_MAX: i64 = 64;
/// Rows that have not expired, after which single tokens and sessions are refused. Rows for all
/// tokens of a user or an app always get in: there is one per account and epoch.
const ROWS_MAX: i64 = 100_000;
/// Rows of one page.
const PAGE_MAX: i64 = 10_000;
/// When some rows will have expired.
const RETRY_AFTER_S: u32 = 60;

/// Why something was not revoked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RevokeError {
    #[error("{ROWS_MAX} revocations are kept, which is the most")]
    Full,
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<RevokeError> for Problem {
    fn from(error: RevokeError) -> Self {
        match error {
            RevokeError::Full => {
                tracing::error!("the table of revoked tokens is full, refusing revocations");
                Self::unavailable("Too many tokens were revoked lately; try again.", RETRY_AFTER_S)
            }
            RevokeError::Database(error) => error.into(),
        }
    }
}

/// Whose token it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner<'a> {
    User(UserId),
    App(&'a str),
}

impl Owner<'_> {
    fn key(self) -> String {
        match self {
            Self::User(id) => format!("u{id}"),
            Self::App(client_id) => client_id.to_owned(),
        }
    }
}

/// The id of all tokens of a user in an epoch.
pub(crate) fn epoch_id(user_id: UserId, epoch: i64) -> String {
    format!("u{user_id}.{epoch}")
}

/// The id of an app's own tokens of a generation.
pub(crate) fn generation_id(client_id: &str, generation: i64) -> String {
    format!("{client_id}.{generation}")
}

/// The id of all access tokens of a session.
pub(crate) fn session_id(session: u64) -> String {
    format!("s{session}")
}

/// Revokes one token, or a session, by its id; all access tokens of the owner when they have too
/// many such rows already.
pub(crate) async fn revoke_one(
    transaction: &mut Transaction,
    id: &str,
    owner: Owner<'_>,
    until: Timestamp,
    now: Timestamp,
) -> Result<(), RevokeError> {
    let (known,): (bool,) = query("SELECT EXISTS (SELECT 1 FROM revocation WHERE id = $1)")
        .bind(id)
        .fetch_one(&mut *transaction)
        .await?;
    if known {
        return Ok(());
    }
    let (rows,): (i64,) = query("SELECT count(*) FROM revocation WHERE expires_at > $1")
        .bind(now)
        .fetch_one(&mut *transaction)
        .await?;
    if rows >= ROWS_MAX {
        return Err(RevokeError::Full);
    }
    let key = owner.key();
    let (narrow,): (i64,) =
        query("SELECT count(*) FROM revocation WHERE owner = $1 AND narrow AND expires_at > $2")
            .bind(&key)
            .bind(now)
            .fetch_one(&mut *transaction)
            .await?;
    if narrow < NARROW_MAX {
        insert(transaction, id, &key, true, until).await?;
        return Ok(());
    }
    match owner {
        Owner::User(user_id) => revoke_user(transaction, user_id, now).await?,
        Owner::App(client_id) => revoke_generation(transaction, client_id, now).await?,
    }
    Ok(())
}

/// Revokes all access tokens of a user. Sessions are not touched.
pub(crate) async fn revoke_user(
    transaction: &mut Transaction,
    user_id: UserId,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    let epoch = query(
        "UPDATE account SET token_epoch = token_epoch + 1 WHERE id = $1
         RETURNING token_epoch - 1",
    )
    .bind(user_id)
    .fetch_optional::<(i64,)>(&mut *transaction)
    .await?;
    let Some((epoch,)) = epoch else {
        return Ok(());
    };
    let owner = Owner::User(user_id).key();
    widen(transaction, &epoch_id(user_id, epoch), &owner, after(now, USER_KEPT)).await
}

/// Revokes all tokens that an app has for itself.
pub(crate) async fn revoke_generation(
    transaction: &mut Transaction,
    client_id: &str,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    let generation = query(
        "UPDATE app SET token_generation = token_generation + 1 WHERE client_id = $1
         RETURNING token_generation - 1",
    )
    .bind(client_id)
    .fetch_optional::<(i64,)>(&mut *transaction)
    .await?;
    let Some((generation,)) = generation else {
        return Ok(());
    };
    let id = generation_id(client_id, generation);
    widen(transaction, &id, client_id, after(now, APP_KEPT)).await
}

/// Revokes all tokens for an app that is removed, of users and its own.
pub(crate) async fn revoke_app(
    transaction: &mut Transaction,
    client_id: &str,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    widen(transaction, client_id, client_id, after(now, APP_KEPT)).await
}

/// Revokes the tokens that the apps of an owner have for themselves, who closes the account.
pub(crate) async fn revoke_apps_of(
    transaction: &mut Transaction,
    owner_id: UserId,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    for client_id in apps_of(transaction, owner_id).await? {
        revoke_generation(transaction, &client_id, now).await?;
    }
    Ok(())
}

/// Revokes all tokens for the apps of an owner, who is erased.
pub(crate) async fn remove_apps_of(
    transaction: &mut Transaction,
    owner_id: UserId,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    for client_id in apps_of(transaction, owner_id).await? {
        revoke_app(transaction, &client_id, now).await?;
        query("UPDATE session SET revoked_at = $1 WHERE client_id = $2 AND revoked_at IS NULL")
            .bind(now)
            .bind(&client_id)
            .execute(&mut *transaction)
            .await?;
    }
    Ok(())
}

async fn apps_of(
    transaction: &mut Transaction,
    owner_id: UserId,
) -> Result<Vec<String>, DatabaseError> {
    let rows: Vec<(String,)> = query("SELECT client_id FROM app WHERE owner_id = $1")
        .bind(owner_id)
        .fetch_all(transaction)
        .await?;
    Ok(rows.into_iter().map(|(client_id,)| client_id).collect())
}

/// One row in the place of all that are narrower.
async fn widen(
    transaction: &mut Transaction,
    id: &str,
    owner: &str,
    until: Timestamp,
) -> Result<(), DatabaseError> {
    insert(transaction, id, owner, false, until).await?;
    query("DELETE FROM revocation WHERE owner = $1 AND narrow")
        .bind(owner)
        .execute(transaction)
        .await?;
    Ok(())
}

async fn insert(
    transaction: &mut Transaction,
    id: &str,
    owner: &str,
    narrow: bool,
    until: Timestamp,
) -> Result<(), DatabaseError> {
    // A service has one writer at a time, so positions come in the order of the commits.
    query(
        "INSERT INTO revocation (seq, id, owner, narrow, expires_at)
         SELECT COALESCE(max(seq), 0) + 1, $1, $2, $3, $4 FROM revocation WHERE true
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(id)
    .bind(owner)
    .bind(narrow)
    .bind(until)
    .execute(transaction)
    .await?;
    Ok(())
}

/// Forgets those whose tokens have expired. The newest stays for its position.
pub(crate) async fn forget_expired(
    transaction: &mut Transaction,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    query(
        "DELETE FROM revocation
         WHERE expires_at <= $1 AND seq < (SELECT max(seq) FROM revocation)",
    )
    .bind(now)
    .execute(transaction)
    .await?;
    Ok(())
}

impl Store {
    /// Whether any of these ids is revoked.
    pub(crate) async fn is_revoked(&self, ids: &[String]) -> Result<bool, DatabaseError> {
        for id in ids {
            let (revoked,): (bool,) =
                query("SELECT EXISTS (SELECT 1 FROM revocation WHERE id = $1)")
                    .bind(id)
                    .fetch_one(&self.0)
                    .await?;
            if revoked {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The revocations after a position that have not expired, oldest first.
    pub(crate) async fn revocations_after(
        &self,
        since: i64,
        now: Timestamp,
    ) -> Result<RevocationPage, DatabaseError> {
        let rows: Vec<(i64, String, i64)> = query(
            "SELECT seq, id, expires_at FROM revocation
             WHERE seq > $1 AND expires_at > $2 ORDER BY seq LIMIT $3",
        )
        .bind(since)
        .bind(now)
        .bind(PAGE_MAX)
        .fetch_all(&self.0)
        .await?;
        let (last, count): (i64, i64) = query(
            "SELECT COALESCE(max(seq), 0),
                    COALESCE(sum(CASE WHEN expires_at > $1 THEN 1 ELSE 0 END), 0)
             FROM revocation",
        )
        .bind(now)
        .fetch_one(&self.0)
        .await?;
        // Not the last position: a row may have been added between the two statements.
        let next = rows.last().map_or(since, |row| row.0);
        let revocations = rows.into_iter().map(|(_, id, expires_at)| Revocation {
            id,
            until_s: Timestamp::from_micros(expires_at).as_secs(),
        });
        Ok(RevocationPage { revocations: revocations.collect(), next, last, count })
    }
}
