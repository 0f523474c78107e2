//! The tables as a fold over this service's events and those of the users service.

use async_trait::async_trait;
use pillion_chassis::sql::query;
use pillion_chassis::{ApplyError, DatabaseError, Projection, Recorded, Transaction, UserId};
use pillion_events::{GraphEvent, Relation, UserEvent};

use crate::NAME;
use crate::accounts::USERS;
use crate::store::Kind;

/// What makes the tables.
#[derive(Debug)]
pub(crate) struct Tables;

#[async_trait]
impl Projection for Tables {
    fn follows(&self) -> &'static [&'static str] {
        &[USERS]
    }

    fn tables(&self) -> &'static [&'static str] {
        &["relation", "follow_count", "account"]
    }

    async fn apply(
        &self,
        transaction: &mut Transaction,
        event: &Recorded,
    ) -> Result<(), ApplyError> {
        match event.name.as_str() {
            "user.registered" | "user.profile_changed" | "user.deleted" if event.is_of(USERS) => {
                apply_user(transaction, event.decode()?).await?;
            }
            _ if event.is_of(NAME) => {
                apply_graph(transaction, &event.decode()?, event.position).await?;
            }
            _ => {}
        }
        Ok(())
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
                count_follow(transaction, relation).await?;
            }
        }
        GraphEvent::Unfollowed(relation) => {
            if end(transaction, Kind::Follow, relation).await? {
                discount_follow(transaction, relation).await?;
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

/// Whether it was there.
async fn end(
    transaction: &mut Transaction,
    kind: Kind,
    relation: &Relation,
) -> Result<bool, DatabaseError> {
    let ended = query("DELETE FROM relation WHERE source_id = $1 AND target_id = $2 AND kind = $3")
        .bind(relation.user_id)
        .bind(relation.target_user_id)
        .bind(kind.as_str())
        .execute(transaction)
        .await?;
    Ok(ended > 0)
}

async fn count_follow(
    transaction: &mut Transaction,
    relation: &Relation,
) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO follow_count (user_id, followers_count, following_count) VALUES ($1, 0, 1)
         ON CONFLICT (user_id) DO UPDATE SET following_count = follow_count.following_count + 1",
    )
    .bind(relation.user_id)
    .execute(&mut *transaction)
    .await?;
    query(
        "INSERT INTO follow_count (user_id, followers_count, following_count) VALUES ($1, 1, 0)
         ON CONFLICT (user_id) DO UPDATE SET followers_count = follow_count.followers_count + 1",
    )
    .bind(relation.target_user_id)
    .execute(transaction)
    .await?;
    Ok(())
}

async fn discount_follow(
    transaction: &mut Transaction,
    relation: &Relation,
) -> Result<(), DatabaseError> {
    query("UPDATE follow_count SET following_count = following_count - 1 WHERE user_id = $1")
        .bind(relation.user_id)
        .execute(&mut *transaction)
        .await?;
    query("UPDATE follow_count SET followers_count = followers_count - 1 WHERE user_id = $1")
        .bind(relation.target_user_id)
        .execute(transaction)
        .await?;
    Ok(())
}

async fn apply_user(transaction: &mut Transaction, event: UserEvent) -> Result<(), DatabaseError> {
    match event {
        UserEvent::Registered(event) => {
            query(
                "INSERT INTO account (user_id, protected, deleted) VALUES ($1, FALSE, FALSE)
                 ON CONFLICT DO NOTHING",
            )
            .bind(event.user_id)
            .execute(transaction)
            .await?;
        }
        // Requests wait for their answer also when the account becomes public: X accepts none by
        // itself, and who asked may follow anew.
        UserEvent::ProfileChanged(event) => {
            query(
                "INSERT INTO account (user_id, protected, deleted) VALUES ($1, $2, FALSE)
                 ON CONFLICT (user_id) DO UPDATE SET protected = excluded.protected",
            )
            .bind(event.user_id)
            .bind(event.protected)
            .execute(transaction)
            .await?;
        }
        UserEvent::Deleted(event) => delete_account(transaction, event.user_id).await?,
    }
    Ok(())
}

/// Ends all that was between the account and others, and lets nothing begin any more.
async fn delete_account(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<(), DatabaseError> {
    for statement in [
        "UPDATE follow_count SET followers_count = followers_count - 1 WHERE user_id IN
             (SELECT target_id FROM relation WHERE source_id = $1 AND kind = 'follow')",
        "UPDATE follow_count SET following_count = following_count - 1 WHERE user_id IN
             (SELECT source_id FROM relation WHERE target_id = $1 AND kind = 'follow')",
        "DELETE FROM follow_count WHERE user_id = $1",
        "DELETE FROM relation WHERE source_id = $1 OR target_id = $1",
        "INSERT INTO account (user_id, protected, deleted) VALUES ($1, FALSE, TRUE)
         ON CONFLICT (user_id) DO UPDATE SET protected = FALSE, deleted = TRUE",
    ] {
        query(statement).bind(user_id).execute(&mut *transaction).await?;
    }
    Ok(())
}
