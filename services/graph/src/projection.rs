//! The tables as a fold over this service's events and those of the users service.

use std::sync::Arc;

use async_trait::async_trait;
use pillion_chassis::sql::query;
use pillion_chassis::{ApplyError, DatabaseError, Projection, Recorded, Transaction, UserId};
use pillion_events::{AccountHiding, GraphAccountEvent, GraphEvent, Relation, UserEvent};
use tokio::sync::Notify;

use crate::NAME;
use crate::accounts::USERS;
use crate::store::{self, Kind};

/// What makes the tables.
#[derive(Debug)]
pub(crate) struct Tables {
    /// Woken when an account was deleted, whose requests have to end.
    deleted: Arc<Notify>,
}

impl Tables {
    /// Wakes who waits for this when an account was deleted.
    pub(crate) fn new(deleted: Arc<Notify>) -> Self {
        Self { deleted }
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
            "graph.account_hidden" | "graph.account_unhidden" if event.is_of(NAME) => {
                apply_account(transaction, event.decode()?).await?;
            }
            _ if event.is_of(NAME) => {
                apply_graph(transaction, &event.decode()?, event.position).await?;
            }
            _ => {}
        }
        Ok(())
    }

    fn applied(&self, event: &Recorded) {
        if event.name == "user.deleted" && event.is_of(USERS) {
            self.deleted.notify_one();
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

/// Who is hidden counts for nobody; but both have a row from now on.
async fn count_follow(
    transaction: &mut Transaction,
    relation: &Relation,
) -> Result<(), DatabaseError> {
    for statement in [
        "INSERT INTO follow_count (user_id, followers_count, following_count)
         SELECT $1, 0, CASE WHEN EXISTS (SELECT 1 FROM account WHERE user_id = $2 AND hidden)
                            THEN 0 ELSE 1 END
         WHERE TRUE
         ON CONFLICT (user_id) DO UPDATE
         SET following_count = follow_count.following_count + excluded.following_count",
        "INSERT INTO follow_count (user_id, followers_count, following_count)
         SELECT $2, CASE WHEN EXISTS (SELECT 1 FROM account WHERE user_id = $1 AND hidden)
                         THEN 0 ELSE 1 END, 0
         WHERE TRUE
         ON CONFLICT (user_id) DO UPDATE
         SET followers_count = follow_count.followers_count + excluded.followers_count",
    ] {
        query(statement)
            .bind(relation.user_id)
            .bind(relation.target_user_id)
            .execute(&mut *transaction)
            .await?;
    }
    Ok(())
}

async fn discount_follow(
    transaction: &mut Transaction,
    relation: &Relation,
) -> Result<(), DatabaseError> {
    for statement in [
        "UPDATE follow_count SET following_count = following_count - 1 WHERE user_id = $1
           AND NOT EXISTS (SELECT 1 FROM account WHERE user_id = $2 AND hidden)",
        "UPDATE follow_count SET followers_count = followers_count - 1 WHERE user_id = $2
           AND NOT EXISTS (SELECT 1 FROM account WHERE user_id = $1 AND hidden)",
    ] {
        query(statement)
            .bind(relation.user_id)
            .bind(relation.target_user_id)
            .execute(&mut *transaction)
            .await?;
    }
    Ok(())
}

/// An account that is hidden leaves the counts of those whom it follows and who follow it; its own
/// stay as they are, for the day when it is there again.
async fn apply_account(
    transaction: &mut Transaction,
    event: GraphAccountEvent,
) -> Result<(), DatabaseError> {
    let AccountHiding { user_id, .. } = *event.hiding();
    let known = store::account(&mut *transaction, user_id).await?.unwrap_or_default();
    match event {
        GraphAccountEvent::Hidden(_) if !known.is_gone() => {
            discount_account(transaction, user_id).await?;
            set_hidden(transaction, user_id, true).await
        }
        GraphAccountEvent::Unhidden(_) if known.hidden => {
            transaction.take_time().await?;
            for statement in [
                "UPDATE follow_count SET followers_count = followers_count + 1 WHERE user_id IN
                     (SELECT target_id FROM relation WHERE source_id = $1 AND kind = 'follow')",
                "UPDATE follow_count SET following_count = following_count + 1 WHERE user_id IN
                     (SELECT source_id FROM relation WHERE target_id = $1 AND kind = 'follow')",
            ] {
                query(statement).bind(user_id).execute(&mut *transaction).await?;
            }
            set_hidden(transaction, user_id, false).await
        }
        _ => Ok(()),
    }
}

async fn set_hidden(
    transaction: &mut Transaction,
    user_id: UserId,
    hidden: bool,
) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO account (user_id, protected, deleted, hidden) VALUES ($1, FALSE, FALSE, $2)
         ON CONFLICT (user_id) DO UPDATE SET hidden = excluded.hidden",
    )
    .bind(user_id)
    .bind(hidden)
    .execute(transaction)
    .await?;
    Ok(())
}

/// Takes an account out of the counts of the others, of whom there may be very many.
async fn discount_account(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<(), DatabaseError> {
    transaction.take_time().await?;
    for statement in [
        "UPDATE follow_count SET followers_count = followers_count - 1 WHERE user_id IN
             (SELECT target_id FROM relation WHERE source_id = $1 AND kind = 'follow')",
        "UPDATE follow_count SET following_count = following_count - 1 WHERE user_id IN
             (SELECT source_id FROM relation WHERE target_id = $1 AND kind = 'follow')",
    ] {
        query(statement).bind(user_id).execute(&mut *transaction).await?;
    }
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
        // Names are nothing of this service's, and what is hidden is told by its own events.
        UserEvent::Renamed(_) | UserEvent::Deactivated(_) | UserEvent::Reactivated(_) => {}
    }
    Ok(())
}

/// Ends all that was between the account and others, and lets nothing begin any more. Requests
/// are ended with their sagas, by events; until then nobody sees them.
async fn delete_account(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<(), DatabaseError> {
    let known = store::account(&mut *transaction, user_id).await?.unwrap_or_default();
    if !known.is_gone() {
        discount_account(transaction, user_id).await?;
    }
    transaction.take_time().await?;
    for statement in [
        "DELETE FROM follow_count WHERE user_id = $1",
        "DELETE FROM relation WHERE source_id = $1 AND kind <> 'request'",
        "DELETE FROM relation WHERE target_id = $1 AND kind <> 'request'",
        "INSERT INTO account (user_id, protected, deleted, hidden)
         VALUES ($1, FALSE, TRUE, FALSE)
         ON CONFLICT (user_id) DO UPDATE
         SET protected = FALSE, deleted = TRUE, hidden = FALSE",
    ] {
        query(statement).bind(user_id).execute(&mut *transaction).await?;
    }
    Ok(())
}
