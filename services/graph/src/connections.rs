//! How the caller stands to many users at once: for the gateway, which shows it with them.

use axum::extract::State;
use pillion_chassis::{Answer, Caller, Parameters, Problem, UserId};
use serde::Serialize;

use crate::Graph;

/// As many users as one look-up gives.
const USERS_PER_REQUEST_MAX: usize = 100;

/// How the caller stands to one user, in X's words.
#[derive(Debug, Serialize)]
pub(crate) struct Connections {
    id: UserId,
    connection_status: Vec<&'static str>,
}

/// `GET /internal/connections?users=…`: for each of them; for none, if the caller is an app, which
/// stands to nobody.
pub(crate) async fn connections(
    State(graph): State<Graph>,
    caller: Caller,
    mut query: Parameters,
) -> Result<Answer<Vec<Connections>>, Problem> {
    let users: Vec<UserId> = query.list("users", USERS_PER_REQUEST_MAX);
    query.finish()?;
    let Some(user_id) = caller.user_id else {
        return Ok(Answer::list(Vec::new(), Vec::new()));
    };
    let mut found = graph.store.connections(user_id, &users).await?;
    let connections = users.into_iter().map(|id| {
        let mut connection_status = found.remove(&id).unwrap_or_default();
        connection_status.sort_unstable();
        Connections { id, connection_status }
    });
    Ok(Answer::list(connections.collect(), Vec::new()))
}
