//! The rules of apps' filtered streams. They are what apps configured, not made of events.

use pillion_chassis::sql::{list, query};
use pillion_chassis::{DatabaseError, Ids};

use super::Store;

/// X's bound for the rules of an app.
pub(crate) const RULES_PER_APP_MAX: usize = 1_000;

/// A rule of an app.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Rule {
    pub(crate) id: i64,
    /// The query.
    pub(crate) value: String,
    /// What the app calls it.
    pub(crate) tag: Option<String>,
}

/// What came of a rule to add.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AddedRule {
    /// It is there, or would be if it had been meant.
    Created(Rule),
    /// The app has it already, as this one.
    Duplicate(i64),
    /// The app has [`RULES_PER_APP_MAX`].
    TooMany,
}

impl Store {
    /// At most so many rules of an app with larger ids than this, the smallest first; of these
    /// ids only, if any are given.
    pub(crate) async fn rules(
        &self,
        client_id: &str,
        ids: Option<&[i64]>,
        above_id: i64,
        count_max: u32,
    ) -> Result<Vec<Rule>, DatabaseError> {
        query(
            "SELECT id, value, tag FROM stream_rule
             WHERE client_id = $1 AND id > $2
               AND ($3 OR id IN (SELECT CAST(value AS BIGINT) FROM json_each($4)))
             ORDER BY id LIMIT $5",
        )
        .bind(client_id)
        .bind(above_id)
        .bind(ids.is_none())
        .bind(list(ids.unwrap_or_default().iter().copied()))
        .bind(count_max)
        .fetch_all(&self.database)
        .await
    }

    /// All rules of an app.
    pub(crate) async fn all_rules(&self, client_id: &str) -> Result<Vec<Rule>, DatabaseError> {
        self.rules(client_id, None, -1, u32::try_from(RULES_PER_APP_MAX).unwrap_or(u32::MAX)).await
    }

    /// How many rules the app has.
    pub(crate) async fn count_rules(&self, client_id: &str) -> Result<usize, DatabaseError> {
        let (count,): (i64,) = query("SELECT COUNT(*) FROM stream_rule WHERE client_id = $1")
            .bind(client_id)
            .fetch_one(&self.database)
            .await?;
        Ok(usize::try_from(count).unwrap_or_default())
    }

    /// Adds rules, values with their tags, each unless the app has one of that value. In the same
    /// order: what came of each. If it is only tried, nothing is changed.
    pub(crate) async fn add_rules(
        &self,
        client_id: &str,
        rules: &[(String, Option<String>)],
        ids: &Ids,
        try_only: bool,
    ) -> Result<Vec<AddedRule>, DatabaseError> {
        let mut transaction = self.database.write().await?;
        let (mut count,): (i64,) = query("SELECT COUNT(*) FROM stream_rule WHERE client_id = $1")
            .bind(client_id)
            .fetch_one(&mut transaction)
            .await?;
        let mut added = Vec::with_capacity(rules.len());
        for (value, tag) in rules {
            let there: Option<(i64,)> =
                query("SELECT id FROM stream_rule WHERE client_id = $1 AND value = $2")
                    .bind(client_id)
                    .bind(value)
                    .fetch_optional(&mut transaction)
                    .await?;
            if let Some((id,)) = there {
                added.push(AddedRule::Duplicate(id));
                continue;
            }
            if usize::try_from(count).unwrap_or_default() >= RULES_PER_APP_MAX {
                added.push(AddedRule::TooMany);
                continue;
            }
            count += 1;
            let rule = Rule { id: ids.tweet()?.as_i64(), value: value.clone(), tag: tag.clone() };
            query("INSERT INTO stream_rule (id, client_id, value, tag) VALUES ($1, $2, $3, $4)")
                .bind(rule.id)
                .bind(client_id)
                .bind(value)
                .bind(tag.clone())
                .execute(&mut transaction)
                .await?;
            added.push(AddedRule::Created(rule));
        }
        if !try_only {
            transaction.commit().await?;
        }
        Ok(added)
    }

    /// Deletes the app's rules of these ids and of these values. If it is only tried, nothing is
    /// changed. Those that were there.
    pub(crate) async fn delete_rules(
        &self,
        client_id: &str,
        ids: &[i64],
        values: &[String],
        try_only: bool,
    ) -> Result<Vec<Rule>, DatabaseError> {
        let mut transaction = self.database.write().await?;
        let there: Vec<Rule> = query(
            "SELECT id, value, tag FROM stream_rule
             WHERE client_id = $1
               AND (id IN (SELECT CAST(value AS BIGINT) FROM json_each($2))
                    OR stream_rule.value IN (SELECT value FROM json_each($3)))
             ORDER BY id",
        )
        .bind(client_id)
        .bind(list(ids.iter().copied()))
        .bind(list(values))
        .fetch_all(&mut transaction)
        .await?;
        query(
            "DELETE FROM stream_rule
             WHERE client_id = $1 AND id IN (SELECT CAST(value AS BIGINT) FROM json_each($2))",
        )
        .bind(client_id)
        .bind(list(there.iter().map(|rule| rule.id)))
        .execute(&mut transaction)
        .await?;
        if !try_only {
            transaction.commit().await?;
        }
        Ok(there)
    }

    /// Deletes all rules of the app; how many there were.
    pub(crate) async fn delete_all_rules(
        &self,
        client_id: &str,
        try_only: bool,
    ) -> Result<u64, DatabaseError> {
        let mut transaction = self.database.write().await?;
        let count = query("DELETE FROM stream_rule WHERE client_id = $1")
            .bind(client_id)
            .execute(&mut transaction)
            .await?;
        if !try_only {
            transaction.commit().await?;
        }
        Ok(count)
    }
}
