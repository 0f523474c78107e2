//! How a back end goes about a statement.

use crate::database::{Backend, Database};
use crate::sql::{Query, query};

/// What makes a server use indexes although a table is nearly empty and soon read whole.
pub const NOT_WHOLE: [&str; 2] = ["enable_seqscan", "enable_bitmapscan"];

/// The plan of a statement with what `bind` binds to it, a line a step. A server plans without the
/// means `forbidden`, such as [`NOT_WHOLE`].
pub async fn plan(
    database: &Database,
    forbidden: &[&str],
    sql: &str,
    bind: impl Fn(Query) -> Query,
) -> String {
    let mut transaction = database.write().await.expect("a transaction");
    let steps: Vec<String> = match database.backend() {
        Backend::Sqlite => {
            let explain = bind(query(format!("EXPLAIN QUERY PLAN {sql}")));
            let steps = explain.fetch_all::<(i64, i64, i64, String)>(&mut transaction).await;
            steps.expect("a plan").into_iter().map(|(.., step)| step).collect()
        }
        Backend::Postgres => {
            for means in forbidden {
                let set = query(format!("SET LOCAL {means} = off"));
                set.execute(&mut transaction).await.expect("a means of the server's");
            }
            let explain = bind(query(format!("EXPLAIN {sql}")));
            let steps = explain.fetch_all::<(String,)>(&mut transaction).await;
            steps.expect("a plan").into_iter().map(|(step,)| step).collect()
        }
    };
    steps.join("\n")
}
