//! The tables as a fold over this service's events and those of the users service.

pub(crate) mod accounts;

use std::sync::Arc;

use async_trait::async_trait;
use pillion_chassis::sql::query;
use pillion_chassis::{ApplyError, DatabaseError, Projection, Recorded, Transaction};
use pillion_events::{GraphEvent, Relation};
use tokio::sync::Notify;

use crate::NAME;
use crate::accounts::USERS;
use crate::store::Kind;

/// The position up to which the follows by and of an account do not count for the other end: of
/// one that is hidden all, of another one none, unless it is being settled.
macro_rules! uncounted_to {
    ($user:literal) => {
        concat!(
            "coalesce((SELECT uncounted_to FROM settling WHERE user_id = ",
            $user,
            "), (SELECT CASE WHEN hidden THEN 9223372036854775807 ELSE 0 END
                 FROM account WHERE user_id = ",
            $user,
            "), 0)"
        )
    };
}
use uncounted_to;

/// How the names of events of a whole account begin.
const OF_ACCOUNT: &str = "graph.account_";

/// What makes the tables.
#[derive(Debug)]
pub(crate) struct Tables {
    unsettled: Arc<Notify>,
}

impl Tables {
    /// Wakes who waits for this when there may be more of an account to settle.
    pub(crate) fn new(unsettled: Arc<Notify>) -> Self {
        Self { unsettled }
    }
}

#[async_trait]
impl Projection for Tables {
    fn follows(&self) -> &'static [&'static str] {
        &[USERS]
    }

    fn opens(&self) -> &'static [&'static str] {
        &[]
    }

    fn tables(&self) -> &'static [&'static str] {
        &["relation", "follow_count", "account", "settling"]
    }

    async fn apply(
        &self,
        transaction: &mut Transaction,
        event: &Recorded,
    ) -> Result<(), ApplyError> {
        match event.name.as_str() {
            "user.registered" | "user.profile_changed" | "user.deleted" if event.is_of(USERS) => {
                accounts::apply_user(transaction, event.decode()?).await?;
            }
            name if event.is_of(NAME) && name.starts_with(OF_ACCOUNT) => {
                accounts::apply(transaction, &event.decode()?).await?;
            }
            _ if event.is_of(NAME) => {
                apply_graph(transaction, &event.decode()?, event.position).await?;
            }
            _ => {}
        }
        Ok(())
    }

    fn applied(&self, event: &Recorded) {
        let is_own = event.is_of(NAME) && event.name.starts_with(OF_ACCOUNT);
        if is_own || (event.is_of(USERS) && event.name == "user.deleted") {
            self.unsettled.notify_one();
        }
    }
}

async fn apply_graph(
    transaction: &mut Transaction,
    event: &GraphEvent,
    position: i64,
) -> Result<(), DatabaseError> {
    match event {
        GraphEvent::Followed(relation) => {
            if begin(transaction, Kind::Follow, relation, position).await? {
                count_follow(transaction, relation, position).await?;
            }
        }
        GraphEvent::Unfollowed(relation) => {
            if let Some(begun) = end(transaction, Kind::Follow, relation).await? {
                discount_follow(transaction, relation, begun).await?;
            }
        }
        GraphEvent::FollowRequested(relation) => {
            begin(transaction, Kind::Request, relation, position).await?;
        }
        GraphEvent::FollowRequestRemoved(relation) => {
            end(transaction, Kind::Request, relation).await?;
        }
        GraphEvent::Blocked(relation) => {
            begin(transaction, Kind::Block, relation, position).await?;
        }
        GraphEvent::Unblocked(relation) => {
            end(transaction, Kind::Block, relation).await?;
        }
        GraphEvent::Muted(relation) => {
            begin(transaction, Kind::Mute, relation, position).await?;
        }
        GraphEvent::Unmuted(relation) => {
            end(transaction, Kind::Mute, relation).await?;
        }
    }
    Ok(())
}

/// Whether it was not there before.
async fn begin(
    transaction: &mut Transaction,
    kind: Kind,
    relation: &Relation,
    position: i64,
) -> Result<bool, DatabaseError> {
    let begun = query(
        "INSERT INTO relation (source_id, target_id, kind, position) VALUES ($1, $2, $3, $4)
         ON CONFLICT DO NOTHING",
    )
    .bind(relation.user_id)
    .bind(relation.target_user_id)
    .bind(kind.as_str())
    .bind(position)
    .execute(transaction)
    .await?;
    Ok(begun > 0)
}

/// At which position it had begun, if it was there.
async fn end(
    transaction: &mut Transaction,
    kind: Kind,
    relation: &Relation,
) -> Result<Option<i64>, DatabaseError> {
    let ended = query(
        "DELETE FROM relation WHERE source_id = $1 AND target_id = $2 AND kind = $3
         RETURNING position",
    )
    .bind(relation.user_id)
    .bind(relation.target_user_id)
    .bind(kind.as_str())
    .fetch_optional::<(i64,)>(transaction)
    .await?;
    Ok(ended.map(|(position,)| position))
}

/// A follow counts for each end by what is known of the other one; but both have a row from now on.
async fn count_follow(
    transaction: &mut Transaction,
    relation: &Relation,
    position: i64,
) -> Result<(), DatabaseError> {
    let statements = [
        concat!(
            "INSERT INTO follow_count (user_id, followers_count, following_count)
             SELECT $1, 0, CASE WHEN $3 > ",
            uncounted_to!("$2"),
            " THEN 1 ELSE 0 END
             WHERE TRUE
             ON CONFLICT (user_id) DO UPDATE
             SET following_count = follow_count.following_count + excluded.following_count"
        ),
        concat!(
            "INSERT INTO follow_count (user_id, followers_count, following_count)
             SELECT $2, CASE WHEN $3 > ",
            uncounted_to!("$1"),
            " THEN 1 ELSE 0 END, 0
             WHERE TRUE
             ON CONFLICT (user_id) DO UPDATE
             SET followers_count = follow_count.followers_count + excluded.followers_count"
        ),
    ];
    run(transaction, statements, relation, position).await
}

/// Takes a follow that began at this position out of the counts that it is in.
async fn discount_follow(
    transaction: &mut Transaction,
    relation: &Relation,
    position: i64,
) -> Result<(), DatabaseError> {
    let statements = [
        concat!(
            "UPDATE follow_count SET following_count = following_count - 1
             WHERE user_id = $1 AND $3 > ",
            uncounted_to!("$2")
        ),
        concat!(
            "UPDATE follow_count SET followers_count = followers_count - 1
             WHERE user_id = $2 AND $3 > ",
            uncounted_to!("$1")
        ),
    ];
    run(transaction, statements, relation, position).await
}

async fn run(
    transaction: &mut Transaction,
    statements: [&'static str; 2],
    relation: &Relation,
    position: i64,
) -> Result<(), DatabaseError> {
    for statement in statements {
        query(statement)
            .bind(relation.user_id)
            .bind(relation.target_user_id)
            .bind(position)
            .execute(&mut *transaction)
            .await?;
    }
    Ok(())
}
