//! How the databases find what a request asks for: the statements that it ran, and `SQLite`'s
//! plan for each.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use pillion_chassis::Database;
use pillion_chassis::sql::query;
use serde_json::Value;

/// What makes the program log its statements.
pub(crate) const FILTER: &str = "info,pillion_chassis::sql=trace";

/// The module that logs them.
const TARGET: &str = "pillion_chassis::sql";

/// Services with databases of their own that requests get to.
const SERVICES: [&str; 7] =
    ["users", "graph", "tweets", "engagements", "timelines", "search", "notifications"];

/// A statement and its plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The service whose tables it reads.
    pub(crate) service: &'static str,
    /// How often it ran.
    pub(crate) times: u64,
    /// On one line.
    pub(crate) sql: String,
    /// What the database does, a step each; none for a statement that only inserts.
    pub(crate) steps: Vec<String>,
}

impl Plan {
    /// Whether a step goes through a whole table or index, or sorts what it has found: what may
    /// cost more as tables grow. Lists that come with the request are short, and so are views of
    /// rows that were found before.
    pub(crate) fn may_grow(&self) -> bool {
        let grows = |step: &String| {
            let scans = step.contains("SCAN")
                && !step.contains("VIRTUAL TABLE")
                && !step.contains("SCAN CONSTANT ROW")
                && !step.contains("SCAN (");
            scans || step.contains("USE TEMP B-TREE")
        };
        self.steps.iter().any(grows)
    }
}

/// The statements in a log of JSON lines, and how often each ran.
pub(crate) fn statements(log: &str) -> BTreeMap<String, u64> {
    let mut statements = BTreeMap::new();
    for line in log.lines() {
        let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
        let sql = line.pointer("/fields/sql").and_then(Value::as_str);
        if let Some(sql) = sql
            && line.get("target").and_then(Value::as_str) == Some(TARGET)
        {
            let one_line = sql.split_whitespace().collect::<Vec<_>>().join(" ");
            *statements.entry(one_line).or_default() += 1;
        }
    }
    statements
}

/// Asks every service's database for its plans; nothing else may be at them.
pub(crate) async fn plans(data: &Path, statements: &BTreeMap<String, u64>) -> Result<Vec<Plan>> {
    let mut plans = Vec::new();
    for service in SERVICES {
        let database = Database::open(data.join(format!("{service}.sqlite"))).await?;
        for (sql, times) in statements {
            let asked = query(format!("EXPLAIN QUERY PLAN {sql}"));
            // One that fails is of another service's tables, or sets a transaction's bounds.
            let Ok(rows) = asked.fetch_all::<(i64, i64, i64, String)>(&database).await else {
                continue;
            };
            let steps: Vec<String> = rows.into_iter().map(|(.., step)| step).collect();
            if !steps.is_empty() {
                plans.push(Plan { service, times: *times, sql: sql.clone(), steps });
            }
        }
        database.close().await;
    }
    Ok(plans)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::services::{Services, Store};

    #[test]
    fn statements_are_found_in_a_log() {
        let log = concat!(
            r#"{"level":"TRACE","fields":{"message":"statement","sql":"SELECT 1\n  FROM a"},"#,
            r#""target":"pillion_chassis::sql"}"#,
            "\nnot JSON\n",
            r#"{"level":"INFO","fields":{"message":"x","sql":"SELECT 2"},"target":"other"}"#,
            "\n",
            r#"{"fields":{"sql":"SELECT 1 FROM a"},"target":"pillion_chassis::sql"}"#,
        );
        let expected = BTreeMap::from([("SELECT 1 FROM a".to_owned(), 2)]);
        assert_eq!(statements(log), expected);
    }

    #[tokio::test]
    async fn databases_tell_their_plans() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::Files(folder.path().to_owned());
        Services::open(&store).await.unwrap().close().await.unwrap();
        let by_key = "SELECT data FROM event_log WHERE position > $1 ORDER BY position LIMIT $2";
        let scan = "SELECT count(*) FROM profile WHERE name = $1";
        let foreign = "SELECT 1 FROM no_table_of_ours";
        let ran = [by_key, scan, foreign, "COMMIT"].map(|sql| (sql.to_owned(), 3));
        let plans = plans(folder.path(), &BTreeMap::from(ran)).await.unwrap();
        assert_eq!(plans.len(), SERVICES.len() + 1, "{plans:#?}");
        let grow: Vec<&Plan> = plans.iter().filter(|plan| plan.may_grow()).collect();
        assert_eq!(grow.len(), 1, "{plans:#?}");
        assert_eq!((grow[0].service, grow[0].sql.as_str()), ("users", scan));
    }

    #[test]
    fn plans_that_may_grow_are_told_from_those_that_do_not() {
        for (step, grows) in [
            ("SEARCH tweet USING INTEGER PRIMARY KEY (rowid=?)", false),
            ("SCAN json_each VIRTUAL TABLE INDEX 1:", false),
            ("SCAN tweet", true),
            ("SCAN tweet USING COVERING INDEX tweet_by_author", true),
            ("USE TEMP B-TREE FOR ORDER BY", true),
        ] {
            let (sql, steps) = (String::new(), vec![step.to_owned()]);
            let plan = Plan { service: "tweets", times: 1, sql, steps };
            assert_eq!(plan.may_grow(), grows, "{step}");
        }
    }
}
