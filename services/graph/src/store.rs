//! What the service reads in its database, and how it changes it: by events.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use pillion_chassis::page::Window;
use pillion_chassis::sql::{On, list, query};
use pillion_chassis::visibility::Reason;
use pillion_chassis::{
    AppendError, Database, DatabaseError, Journal, Migrations, Problem, Transaction, UserId,
};
use pillion_events::{GraphEvent, Relation};

use crate::error::Error;

/// What makes the tables.
pub(crate) static MIGRATIONS: Migrations = Migrations {
    sqlite: sqlx::migrate!("migrations/sqlite"),
    postgres: sqlx::migrate!("migrations/postgres"),
};

/// What can be from one account to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Wants to see the other's tweets.
    Follow,
    /// Asks the other, who is protected, to be let in as a follower.
    Request,
    /// Does not let the other follow or see anything.
    Block,
    /// Does not want to see the other's tweets.
    Mute,
}

impl Kind {
    /// As the column holds it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Follow => "follow",
            Self::Request => "request",
            Self::Block => "block",
            Self::Mute => "mute",
        }
    }

    fn from_column(text: &str) -> Result<Self, DatabaseError> {
        [Self::Follow, Self::Request, Self::Block, Self::Mute]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| DatabaseError::Corrupt(format!("a relation of the kind {text:?}")))
    }
}

/// X's bounds for a page of users, and how many it holds when the client does not say.
pub(crate) const PAGE_USERS: RangeInclusive<u32> = 1..=1_000;
pub(crate) const PAGE_USERS_DEFAULT: u32 = 100;

/// A list of one account.
#[derive(Debug, Clone, Copy)]
pub(crate) enum List {
    /// Whom it follows.
    Following,
    /// Who follows it.
    Followers,
    /// Whom it blocks.
    Blocking,
    /// Whom it mutes.
    Muting,
    /// Who asks to follow it.
    Requests,
}

/// What is known of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Account {
    /// Whether it is gone.
    pub(crate) deleted: bool,
}

/// What is between two accounts.
#[derive(Debug, Default)]
pub(crate) struct Between {
    ours: Vec<Kind>,
    theirs: Vec<Kind>,
}

impl Between {
    /// Whether there is this from the first account to the second.
    pub(crate) fn ours(&self, kind: Kind) -> bool {
        self.ours.contains(&kind)
    }

    /// Whether there is this from the second account to the first.
    pub(crate) fn theirs(&self, kind: Kind) -> bool {
        self.theirs.contains(&kind)
    }
}

/// The service's database.
#[derive(Debug, Clone)]
pub(crate) struct Store(Journal);

impl Store {
    /// The store of a journal whose database is migrated.
    pub(crate) fn new(journal: Journal) -> Self {
        Self(journal)
    }

    fn database(&self) -> &Database {
        self.0.database()
    }

    /// Begins a change: what it reads stays as it is until it is committed. Dropping it changes
    /// nothing. Others wait meanwhile, so nobody else is called within it.
    pub(crate) async fn change(&self) -> Result<Change, DatabaseError> {
        let transaction = self.database().write().await?;
        Ok(Change { journal: self.0.clone(), transaction })
    }

    /// What is between two accounts.
    pub(crate) async fn between(
        &self,
        user_id: UserId,
        other_id: UserId,
    ) -> Result<Between, DatabaseError> {
        between(self.database(), user_id, other_id).await
    }

    /// An account, if its service has told of it.
    pub(crate) async fn account(&self, user_id: UserId) -> Result<Option<Account>, DatabaseError> {
        query("SELECT deleted FROM account WHERE user_id = $1")
            .bind(user_id)
            .fetch_optional(self.database())
            .await
    }

    /// A part of a list: whom, and at which position.
    pub(crate) async fn list(
        &self,
        list: List,
        owner: UserId,
        window: &Window,
    ) -> Result<Vec<(UserId, i64)>, DatabaseError> {
        const FROM_NEWEST_FIRST: &str = "SELECT target_id, position FROM relation
             WHERE source_id = $1 AND kind = $2 AND position > $3 AND position < $4
             ORDER BY position DESC LIMIT $5";
        const FROM_OLDEST_FIRST: &str = "SELECT target_id, position FROM relation
             WHERE source_id = $1 AND kind = $2 AND position > $3 AND position < $4
             ORDER BY position ASC LIMIT $5";
        const TO_NEWEST_FIRST: &str = "SELECT source_id, position FROM relation
             WHERE target_id = $1 AND kind = $2 AND position > $3 AND position < $4
             ORDER BY position DESC LIMIT $5";
        const TO_OLDEST_FIRST: &str = "SELECT source_id, position FROM relation
             WHERE target_id = $1 AND kind = $2 AND position > $3 AND position < $4
             ORDER BY position ASC LIMIT $5";
        let (kind, from_owner) = match list {
            List::Following => (Kind::Follow, true),
            List::Followers => (Kind::Follow, false),
            List::Blocking => (Kind::Block, true),
            List::Muting => (Kind::Mute, true),
            List::Requests => (Kind::Request, false),
        };
        let statement = match (from_owner, window.newest_first) {
            (true, true) => FROM_NEWEST_FIRST,
            (true, false) => FROM_OLDEST_FIRST,
            (false, true) => TO_NEWEST_FIRST,
            (false, false) => TO_OLDEST_FIRST,
        };
        let rows: Vec<(i64, i64)> = query(statement)
            .bind(owner)
            .bind(kind.as_str())
            .bind(window.above)
            .bind(window.below)
            .bind(window.count_max)
            .fetch_all(self.database())
            .await?;
        rows.into_iter().map(|(id, position)| Ok((user(id)?, position))).collect()
    }

    /// For each of these users of whom there is one, the strongest reason why the caller (an app
    /// without a user, if there is none) does not see them. Nobody is hidden from themself.
    pub(crate) async fn reasons(
        &self,
        caller: Option<UserId>,
        users: &[UserId],
    ) -> Result<HashMap<UserId, Reason>, DatabaseError> {
        let Some(caller) = caller else {
            let rows: Vec<(i64,)> = query(
                "SELECT user_id FROM account WHERE protected
                   AND user_id IN (SELECT CAST(value AS BIGINT) FROM json_each($1))",
            )
            .bind(list(users))
            .fetch_all(self.database())
            .await?;
            return rows.into_iter().map(|(id,)| Ok((user(id)?, Reason::Protected))).collect();
        };
        let rows: Vec<(i64, String)> = query(
            "SELECT source_id, 'blocked_by' FROM relation
             WHERE target_id = $1 AND kind = 'block'
               AND source_id IN (SELECT CAST(value AS BIGINT) FROM json_each($2))
             UNION ALL
             SELECT user_id, 'protected' FROM account
             WHERE protected AND user_id <> $1
               AND user_id IN (SELECT CAST(value AS BIGINT) FROM json_each($2))
               AND NOT EXISTS (SELECT 1 FROM relation WHERE source_id = $1
                               AND target_id = account.user_id AND kind = 'follow')
             UNION ALL
             SELECT target_id, kind FROM relation
             WHERE source_id = $1 AND kind IN ('block', 'mute')
               AND target_id IN (SELECT CAST(value AS BIGINT) FROM json_each($2))",
        )
        .bind(caller)
        .bind(list(users))
        .fetch_all(self.database())
        .await?;
        let mut reasons = HashMap::new();
        for (id, reason) in rows {
            let reason = match reason.as_str() {
                "blocked_by" => Reason::BlockedBy,
                "protected" => Reason::Protected,
                "block" => Reason::Blocking,
                _ => Reason::Muting,
            };
            let strongest = reasons.entry(user(id)?).or_insert(reason);
            *strongest = reason.min(*strongest);
        }
        Ok(reasons)
    }

    /// Whether this account lets the caller see nothing of it.
    pub(crate) async fn hides_from(
        &self,
        user_id: UserId,
        caller: Option<UserId>,
    ) -> Result<bool, DatabaseError> {
        let reason = self.reasons(caller, &[user_id]).await?.remove(&user_id);
        Ok(reason.is_some_and(Reason::forbids))
    }

    /// How many follow each of these users and how many they follow, of those with either.
    pub(crate) async fn follow_counts(
        &self,
        users: &[UserId],
    ) -> Result<HashMap<UserId, (i64, i64)>, DatabaseError> {
        let rows: Vec<(i64, i64, i64)> = query(
            "SELECT user_id, followers_count, following_count FROM follow_count
             WHERE user_id IN (SELECT CAST(value AS BIGINT) FROM json_each($1))",
        )
        .bind(list(users))
        .fetch_all(self.database())
        .await?;
        rows.into_iter()
            .map(|(id, followers, following)| Ok((user(id)?, (followers, following))))
            .collect()
    }
}

/// A change under way. Nobody else changes anything until it ends.
#[derive(Debug)]
pub(crate) struct Change {
    journal: Journal,
    transaction: Transaction,
}

impl Change {
    /// What is between the two accounts, seen from the first.
    pub(crate) async fn between(&mut self, relation: &Relation) -> Result<Between, DatabaseError> {
        between(&mut self.transaction, relation.user_id, relation.target_user_id).await
    }

    /// Refuses to begin anything with an account that is gone, or by one. The users service was
    /// asked before, but its answer may be older than what its events have told.
    pub(crate) async fn require_active(
        &mut self,
        verb: &'static str,
        relation: &Relation,
    ) -> Result<(), Error> {
        let gone: Vec<(i64,)> =
            query("SELECT user_id FROM account WHERE deleted AND user_id IN ($1, $2)")
                .bind(relation.user_id)
                .bind(relation.target_user_id)
                .fetch_all(&mut self.transaction)
                .await?;
        if gone.contains(&(relation.user_id.as_i64(),)) {
            return Err(Problem::account_gone(relation.user_id).into());
        }
        if gone.is_empty() {
            return Ok(());
        }
        Err(Error::NotActive { verb, target: relation.target_user_id })
    }

    /// Records an event in its user's stream, and with it changes the tables.
    pub(crate) async fn record(&mut self, event: GraphEvent) -> Result<(), AppendError> {
        let relation = event.relation();
        let stream = format!("user/{}", relation.user_id);
        let version = self.journal.version(&mut self.transaction, &stream).await?;
        self.journal.record(&mut self.transaction, &stream, version, &event, relation.at).await?;
        Ok(())
    }

    /// Makes the change last.
    pub(crate) async fn commit(self) -> Result<(), DatabaseError> {
        self.transaction.commit().await
    }
}

async fn between<'c>(
    on: impl Into<On<'c>>,
    user_id: UserId,
    other_id: UserId,
) -> Result<Between, DatabaseError> {
    let rows: Vec<(i64, String)> = query(
        "SELECT source_id, kind FROM relation WHERE source_id = $1 AND target_id = $2
         UNION ALL
         SELECT source_id, kind FROM relation WHERE source_id = $2 AND target_id = $1",
    )
    .bind(user_id)
    .bind(other_id)
    .fetch_all(on)
    .await?;
    let mut between = Between::default();
    for (source, kind) in rows {
        let side = if source == user_id.as_i64() { &mut between.ours } else { &mut between.theirs };
        side.push(Kind::from_column(&kind)?);
    }
    Ok(between)
}

fn user(column: i64) -> Result<UserId, DatabaseError> {
    UserId::from_i64(column)
        .ok_or_else(|| DatabaseError::Corrupt(format!("the id {column} of a user")))
}
