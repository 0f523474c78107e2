//! Whom a user follows, and who follows a user, newest first.

use axum::extract::State;
use pillion_chassis::page::{Listed, PageQuery};
use pillion_chassis::problem::{not_authorized_error, not_found_error};
use pillion_chassis::{Answer, Caller, Onward, Parameters, Path, UserId};

use crate::Graph;
use crate::accounts;
use crate::error::Error;
use crate::store::{Account, List, PAGE_USERS, PAGE_USERS_DEFAULT};

/// `GET /2/users/{id}/following`
pub(crate) async fn following(
    State(graph): State<Graph>,
    Path(id): Path<UserId>,
    caller: Caller,
    onward: Onward,
    query: Parameters,
) -> Result<Listed<UserId>, Error> {
    list(&graph, List::Following, id, &caller, &onward, query).await
}

/// `GET /2/users/{id}/followers`
pub(crate) async fn followers(
    State(graph): State<Graph>,
    Path(id): Path<UserId>,
    caller: Caller,
    onward: Onward,
    query: Parameters,
) -> Result<Listed<UserId>, Error> {
    list(&graph, List::Followers, id, &caller, &onward, query).await
}

async fn list(
    graph: &Graph,
    list: List,
    id: UserId,
    caller: &Caller,
    onward: &Onward,
    mut query: Parameters,
) -> Result<Listed<UserId>, Error> {
    let page = PageQuery::take(&mut query, PAGE_USERS, PAGE_USERS_DEFAULT);
    query.finish()?;
    let page = page.open(&graph.pages, caller, &format!("{list:?} of {id}"))?;
    let account = graph.store.account(id).await?;
    let missing = || Answer::missing(not_found_error("user", "id", &id.to_string()));
    if account.is_some_and(Account::is_gone) {
        return Ok(missing());
    }
    if graph.store.hides_from(id, caller.user_id).await? {
        return Ok(Answer::missing(not_authorized_error("data", "user", "id", &id.to_string())));
    }
    let rows = graph.store.list(list, id, &page.window()).await?;
    // Whom nobody has told of yet may exist all the same: the users service knows.
    if rows.is_empty()
        && page.is_first()
        && account.is_none()
        && !accounts::exists(&*graph.peers, onward, id).await?
    {
        return Ok(missing());
    }
    Ok(page.list(rows))
}
