//! The lists that only the user themself sees, newest first: blocks, mutes, requests to follow.

use axum::extract::State;
use pillion_chassis::page::{Listed, PageQuery};
use pillion_chassis::{Parameters, Path, Problem, UserCaller, UserId};

use crate::Graph;
use crate::error::Error;
use crate::store::{List, PAGE_USERS, PAGE_USERS_DEFAULT};

/// `GET /2/users/{id}/blocking`
pub(crate) async fn blocking(
    State(graph): State<Graph>,
    caller: UserCaller,
    Path(id): Path<UserId>,
    query: Parameters,
) -> Result<Listed<UserId>, Error> {
    caller.require_own("id", id)?;
    list(&graph, List::Blocking, &caller, query).await
}

/// `GET /2/users/{id}/muting`
pub(crate) async fn muting(
    State(graph): State<Graph>,
    caller: UserCaller,
    Path(id): Path<UserId>,
    query: Parameters,
) -> Result<Listed<UserId>, Error> {
    caller.require_own("id", id)?;
    list(&graph, List::Muting, &caller, query).await
}

/// `GET /pillion/v1/follow-requests`: who asks the caller to be let in as a follower.
pub(crate) async fn follow_requests(
    State(graph): State<Graph>,
    caller: UserCaller,
    query: Parameters,
) -> Result<Listed<UserId>, Error> {
    list(&graph, List::Requests, &caller, query).await
}

async fn list(
    graph: &Graph,
    list: List,
    caller: &UserCaller,
    mut query: Parameters,
) -> Result<Listed<UserId>, Error> {
    let page = PageQuery::take(&mut query, PAGE_USERS, PAGE_USERS_DEFAULT);
    query.finish()?;
    let owner = caller.user_id;
    let page = page.open(&graph.pages, caller, &format!("{list:?} of {owner}"))?;
    // A token may outlive its account, and requests end a moment after it.
    if graph.store.account(owner).await?.is_some_and(|account| account.deleted) {
        return Err(Problem::account_gone(owner).into());
    }
    let rows = graph.store.list(list, owner, &page.window()).await?;
    Ok(page.list(rows))
}
