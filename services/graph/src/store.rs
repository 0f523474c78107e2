//! What the service reads in its database, and how it changes it: by events.

pub(crate) mod settling;

use std::collections::HashMap;
use std::ops::RangeInclusive;

use pillion_chassis::page::Window;
use pillion_chassis::sql::{On, list, query};
use pillion_chassis::visibility::Reason;
use pillion_chassis::{
    AppendError, Database, DatabaseError, Journal, Migrations, Problem, Timestamp, Transaction,
    UserId,
};
use pillion_events::{Event, GraphAccountEvent, GraphEvent, Relation};

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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Account {
    /// Whether it is gone for good.
    pub(crate) deleted: bool,
    /// Whether it is gone until its owner comes back.
    pub(crate) hidden: bool,
}

impl Account {
    /// Whether it is for others as if it did not exist.
    pub(crate) fn is_gone(self) -> bool {
        self.deleted || self.hidden
    }
}

/// What is between two accounts.
#[derive(Debug, Default)]
pub(crate) struct Between {
    ours: Vec<(Kind, i64)>,
    theirs: Vec<(Kind, i64)>,
}

impl Between {
    /// Whether there is this from the first account to the second.
    pub(crate) fn ours(&self, kind: Kind) -> bool {
        position(&self.ours, kind).is_some()
    }

    /// Whether there is this from the second account to the first.
    pub(crate) fn theirs(&self, kind: Kind) -> bool {
        position(&self.theirs, kind).is_some()
    }

    /// The position of the first account's request to follow the second, if there is one.
    pub(crate) fn our_request(&self) -> Option<i64> {
        position(&self.ours, Kind::Request)
    }

    /// The position of the second account's request to follow the first, if there is one.
    pub(crate) fn their_request(&self) -> Option<i64> {
        position(&self.theirs, Kind::Request)
    }
}

fn position(side: &[(Kind, i64)], kind: Kind) -> Option<i64> {
    side.iter().find(|(found, _)| *found == kind).map(|(_, position)| *position)
}

/// A part of a list of the account `$1`: whom it has the relation `$2` to, or who has it to the
/// account, with its position; without those who are gone.
macro_rules! list_page {
    ($owner:literal, $other:literal, $order:literal) => {
        concat!(
            "SELECT ",
            $other,
            ", position FROM relation
             WHERE ",
            $owner,
            " = $1 AND kind = $2 AND position > $3 AND position < $4
               AND NOT EXISTS (SELECT 1 FROM account AS a
                               WHERE a.user_id = relation.",
            $other,
            "
                                 AND (a.hidden OR a.deleted))
             ORDER BY position ",
            $order,
            " LIMIT $5"
        )
    };
}

pub(crate) const FROM_NEWEST_FIRST: &str = list_page!("source_id", "target_id", "DESC");
pub(crate) const FROM_OLDEST_FIRST: &str = list_page!("source_id", "target_id", "ASC");
pub(crate) const TO_NEWEST_FIRST: &str = list_page!("target_id", "source_id", "DESC");
pub(crate) const TO_OLDEST_FIRST: &str = list_page!("target_id", "source_id", "ASC");

/// The service's database.
#[derive(Debug, Clone)]
pub(crate) struct Store(Journal);

impl Store {
    /// The store of a journal whose database is migrated.
    pub(crate) fn new(journal: Journal) -> Self {
        Self(journal)
    }

    /// The database, for what is read beside others.
    pub(crate) fn database(&self) -> &Database {
        self.0.database()
    }

    /// Begins a transaction: what it reads stays as it is until it is committed. Dropping it
    /// changes nothing. Others wait meanwhile, so nobody else is called within it.
    pub(crate) async fn write(&self) -> Result<Transaction, DatabaseError> {
        self.database().write().await
    }

    /// Records an event in its user's stream, and with it changes the tables. Its position.
    pub(crate) async fn record(
        &self,
        transaction: &mut Transaction,
        event: GraphEvent,
    ) -> Result<i64, AppendError> {
        let Relation { user_id, at, .. } = *event.relation();
        self.append(transaction, user_id, &event, at).await
    }

    /// Records what happens to a whole account.
    pub(crate) async fn record_account(
        &self,
        transaction: &mut Transaction,
        event: GraphAccountEvent,
    ) -> Result<i64, AppendError> {
        let hiding = *event.hiding();
        self.append(transaction, hiding.user_id, &event, hiding.at).await
    }

    async fn append<E: Event>(
        &self,
        transaction: &mut Transaction,
        user_id: UserId,
        event: &E,
        at: Timestamp,
    ) -> Result<i64, AppendError> {
        let stream = format!("user/{user_id}");
        let version = self.0.version(transaction, &stream).await?;
        self.0.record(transaction, &stream, version, event, at).await
    }

    /// What a caller is told of what is between two accounts: nothing, if the other is gone.
    pub(crate) async fn between(
        &self,
        user_id: UserId,
        other_id: UserId,
    ) -> Result<Between, DatabaseError> {
        if self.account(other_id).await?.is_some_and(Account::is_gone) {
            return Ok(Between::default());
        }
        between(self.database(), user_id, other_id).await
    }

    /// An account, if its service has told of it.
    pub(crate) async fn account(&self, user_id: UserId) -> Result<Option<Account>, DatabaseError> {
        account(self.database(), user_id).await
    }

    /// A part of a list: whom, and at which position.
    pub(crate) async fn list(
        &self,
        list: List,
        owner: UserId,
        window: &Window,
    ) -> Result<Vec<(UserId, i64)>, DatabaseError> {
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
            "SELECT id, reason FROM (
                 SELECT source_id AS id, 'blocked_by' AS reason FROM relation
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
                   AND target_id IN (SELECT CAST(value AS BIGINT) FROM json_each($2))
             ) AS reasons
             WHERE NOT EXISTS (SELECT 1 FROM account AS a WHERE a.user_id = id AND a.deleted)",
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

    /// What is between the caller and each of these users, in X's words; that they block the caller
    /// is not among it. Nothing is between the caller and who is gone.
    pub(crate) async fn connections(
        &self,
        caller: UserId,
        users: &[UserId],
    ) -> Result<HashMap<UserId, Vec<&'static str>>, DatabaseError> {
        let rows: Vec<(i64, String, bool)> = query(
            "SELECT id, kind, ours FROM (
                 SELECT target_id AS id, kind, TRUE AS ours FROM relation
                 WHERE source_id = $1
                   AND target_id IN (SELECT CAST(value AS BIGINT) FROM json_each($2))
                 UNION ALL
                 SELECT source_id, kind, FALSE FROM relation
                 WHERE target_id = $1 AND kind IN ('follow', 'request')
                   AND source_id IN (SELECT CAST(value AS BIGINT) FROM json_each($2))
             ) AS relations
             WHERE NOT EXISTS (SELECT 1 FROM account AS a
                               WHERE a.user_id = id AND (a.deleted OR a.hidden))",
        )
        .bind(caller)
        .bind(list(users))
        .fetch_all(self.database())
        .await?;
        let mut connections: HashMap<UserId, Vec<&'static str>> = HashMap::new();
        for (id, kind, ours) in rows {
            let status = match (Kind::from_column(&kind)?, ours) {
                (Kind::Follow, true) => "following",
                (Kind::Follow, false) => "followed_by",
                (Kind::Request, true) => "follow_request_sent",
                (Kind::Request, false) => "follow_request_received",
                (Kind::Block, _) => "blocking",
                (Kind::Mute, _) => "muting",
            };
            connections.entry(user(id)?).or_default().push(status);
        }
        Ok(connections)
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
             WHERE user_id IN (SELECT CAST(value AS BIGINT) FROM json_each($1))
               AND NOT EXISTS (SELECT 1 FROM account AS a
                               WHERE a.user_id = follow_count.user_id AND a.hidden)",
        )
        .bind(list(users))
        .fetch_all(self.database())
        .await?;
        rows.into_iter()
            .map(|(id, followers, following)| Ok((user(id)?, (followers, following))))
            .collect()
    }
}

/// Refuses to do anything with an account that is gone, or by one. The users service was asked
/// before, or is not asked at all; its answer may be older than what is known here.
pub(crate) async fn require_active(
    transaction: &mut Transaction,
    verb: &'static str,
    relation: &Relation,
) -> Result<(), Error> {
    let gone: Vec<(i64,)> =
        query("SELECT user_id FROM account WHERE (deleted OR hidden) AND user_id IN ($1, $2)")
            .bind(relation.user_id)
            .bind(relation.target_user_id)
            .fetch_all(transaction)
            .await?;
    if gone.contains(&(relation.user_id.as_i64(),)) {
        return Err(Problem::account_gone(relation.user_id).into());
    }
    if gone.is_empty() {
        return Ok(());
    }
    Err(Error::NotActive { verb, target: relation.target_user_id })
}

/// Refuses a caller whose account is gone.
pub(crate) async fn require_caller(
    transaction: &mut Transaction,
    user_id: UserId,
) -> Result<(), Error> {
    let account = account(transaction, user_id).await?;
    if account.is_some_and(Account::is_gone) {
        return Err(Problem::account_gone(user_id).into());
    }
    Ok(())
}

/// An account, if its service has told of it.
pub(crate) async fn account<'c>(
    on: impl Into<On<'c>>,
    user_id: UserId,
) -> Result<Option<Account>, DatabaseError> {
    query("SELECT deleted, hidden FROM account WHERE user_id = $1")
        .bind(user_id)
        .fetch_optional(on)
        .await
}

/// What is between the two accounts, seen from the first.
pub(crate) async fn between<'c>(
    on: impl Into<On<'c>>,
    user_id: UserId,
    other_id: UserId,
) -> Result<Between, DatabaseError> {
    let rows: Vec<(i64, String, i64)> = query(
        "SELECT source_id, kind, position FROM relation WHERE source_id = $1 AND target_id = $2
         UNION ALL
         SELECT source_id, kind, position FROM relation WHERE source_id = $2 AND target_id = $1",
    )
    .bind(user_id)
    .bind(other_id)
    .fetch_all(on)
    .await?;
    let mut between = Between::default();
    for (source, kind, position) in rows {
        let side = if source == user_id.as_i64() { &mut between.ours } else { &mut between.theirs };
        side.push((Kind::from_column(&kind)?, position));
    }
    Ok(between)
}

fn user(column: i64) -> Result<UserId, DatabaseError> {
    UserId::from_i64(column)
        .ok_or_else(|| DatabaseError::Corrupt(format!("the id {column} of a user")))
}
