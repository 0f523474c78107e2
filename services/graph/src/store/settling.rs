//! Accounts whose relations are not yet as the account's going or return wants them.

use pillion_chassis::sql::{On, query};
use pillion_chassis::{DatabaseError, Transaction, UserId};

use super::user;

/// Requests of one account, `$1`: the oldest so many from it, and as many to it.
pub(crate) const REQUESTS: &str = "
    SELECT source_id, target_id, position
    FROM (SELECT source_id, target_id, position FROM relation
          WHERE source_id = $1 AND kind = 'request' ORDER BY position LIMIT $2) AS by_it
    UNION ALL
    SELECT source_id, target_id, position
    FROM (SELECT source_id, target_id, position FROM relation
          WHERE target_id = $1 AND kind = 'request' ORDER BY position LIMIT $2) AS to_it";

/// One of these accounts, if there is any.
pub(crate) async fn next<'c>(on: impl Into<On<'c>>) -> Result<Option<UserId>, DatabaseError> {
    let found = query("SELECT user_id FROM settling ORDER BY user_id LIMIT 1")
        .fetch_optional::<(i64,)>(on)
        .await?;
    found.map(|(user_id,)| user(user_id)).transpose()
}

/// Whether this is such an account.
pub(crate) async fn is_unsettled(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<bool, DatabaseError> {
    let found = query("SELECT user_id FROM settling WHERE user_id = $1")
        .bind(user_id)
        .fetch_optional::<(i64,)>(transaction)
        .await?;
    Ok(found.is_some())
}

/// Requests from and to an account, each with who asks whom and its position: some of them, and at
/// most `count_max` in either direction.
pub(crate) async fn requests(
    transaction: &mut Transaction,
    user_id: UserId,
    count_max: u32,
) -> Result<Vec<(UserId, UserId, i64)>, DatabaseError> {
    let rows: Vec<(i64, i64, i64)> =
        query(REQUESTS).bind(user_id).bind(count_max).fetch_all(transaction).await?;
    rows.into_iter()
        .map(|(source, target, position)| Ok((user(source)?, user(target)?, position)))
        .collect()
}
