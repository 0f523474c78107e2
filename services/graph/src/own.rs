//! What the routes about the caller's own relations have in common: a path, a body, and how a
//! relation begins and ends.

use pillion_chassis::{Onward, Transaction, UserCaller, UserId};
use pillion_events::{GraphEvent, Relation};
use serde::Deserialize;

use crate::Graph;
use crate::accounts;
use crate::error::Error;
use crate::store::{self, Between, Kind};

/// The body of the routes that begin something with another user.
#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) target_user_id: UserId,
}

/// The path of the routes that end it.
#[derive(Debug, Deserialize)]
pub(crate) struct Pair {
    pub(crate) id: UserId,
    pub(crate) target_user_id: UserId,
}

/// A change under way between the caller and another user, with what is between them. Nobody else
/// changes anything meanwhile.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) transaction: Transaction,
    pub(crate) relation: Relation,
    pub(crate) between: Between,
}

/// Opens a change by which something begins, in the path of the user `id`; both accounts must be
/// there. Whether the target is protected comes along. `verb` says what is to be done.
pub(crate) async fn begin(
    graph: &Graph,
    onward: &Onward,
    caller: &UserCaller,
    id: UserId,
    Target { target_user_id }: Target,
    verb: &'static str,
) -> Result<(Change, accounts::Account), Error> {
    caller.require_own("id", id)?;
    let peers = &*graph.peers;
    let target = accounts::find_target(peers, onward, verb, caller.user_id, target_user_id).await?;
    let change = change(graph, caller, target_user_id, true, verb).await?;
    Ok((change, target))
}

/// Opens a change by which something ends. `verb` says what. The target may be deactivated or
/// deleted: a user must be able to end what they began.
pub(crate) async fn open(
    graph: &Graph,
    caller: &UserCaller,
    Pair { id, target_user_id }: Pair,
    verb: &'static str,
) -> Result<Change, Error> {
    caller.require_own("source_user_id", id)?;
    change(graph, caller, target_user_id, false, verb).await
}

/// Ends a relation of this kind from the caller to another user. If there is none, nothing
/// changes, but the target must be an account; `verb` says what was to be done.
pub(crate) async fn end(
    graph: &Graph,
    onward: &Onward,
    caller: &UserCaller,
    pair: Pair,
    verb: &'static str,
    (kind, event): (Kind, fn(Relation) -> GraphEvent),
) -> Result<(), Error> {
    let mut change = open(graph, caller, pair, verb).await?;
    if !change.between.ours(kind) {
        return change.nothing_to_end(graph, onward, verb).await;
    }
    graph.store.record(&mut change.transaction, event(change.relation)).await?;
    Ok(change.transaction.commit().await?)
}

async fn change(
    graph: &Graph,
    caller: &UserCaller,
    target_user_id: UserId,
    begins: bool,
    verb: &'static str,
) -> Result<Change, Error> {
    let at = graph.clock.now().floor_to_millis();
    let relation = Relation { user_id: caller.user_id, target_user_id, at };
    let mut transaction = graph.store.write().await?;
    if begins {
        store::require_active(&mut transaction, verb, &relation).await?;
    } else {
        store::require_caller(&mut transaction, relation.user_id).await?;
    }
    let between = store::between(&mut transaction, caller.user_id, target_user_id).await?;
    Ok(Change { transaction, relation, between })
}

impl Change {
    /// What was to end is not there: fine, if there is or was such an account.
    pub(crate) async fn nothing_to_end(
        self,
        graph: &Graph,
        onward: &Onward,
        verb: &'static str,
    ) -> Result<(), Error> {
        let Self { mut transaction, relation: Relation { user_id, target_user_id, .. }, .. } = self;
        let known = store::account(&mut transaction, target_user_id).await?;
        // The users service is not asked while others wait for their turn.
        drop(transaction);
        if known.is_some_and(store::Account::is_gone) {
            return Ok(());
        }
        accounts::find_target(&*graph.peers, onward, verb, user_id, target_user_id).await?;
        Ok(())
    }
}
