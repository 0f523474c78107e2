//! Asks the users service about accounts.

use pillion_chassis::{Onward, PeerError, Peers, Problem, UserId};
use serde::Deserialize;

use crate::error::Error;

/// The service that knows accounts.
pub(crate) const USERS: &str = "users";

/// What is known of an account that exists.
#[derive(Debug, Deserialize)]
pub(crate) struct Account {
    id: UserId,
    /// Whether its owner approves followers one by one.
    #[serde(default)]
    pub(crate) protected: bool,
}

/// The account with which the caller wants to begin something; both must exist. `verb` says what.
pub(crate) async fn find_target(
    peers: &dyn Peers,
    onward: &Onward,
    verb: &'static str,
    caller: UserId,
    target: UserId,
) -> Result<Account, Error> {
    if caller == target {
        return Err(Error::Oneself { verb, target });
    }
    let found = find(peers, onward, &[caller, target]).await?;
    if !found.iter().any(|account| account.id == caller) {
        return Err(Problem::account_gone(caller).into());
    }
    let target_account = found.into_iter().find(|account| account.id == target);
    target_account.ok_or(Error::NotActive { verb, target })
}

/// Whether there is such an account.
pub(crate) async fn exists(
    peers: &dyn Peers,
    onward: &Onward,
    user_id: UserId,
) -> Result<bool, PeerError> {
    Ok(!find(peers, onward, &[user_id]).await?.is_empty())
}

/// Those of these accounts that exist, in one call. The caller's token goes along, so it must
/// have the scopes that reading users takes.
async fn find(
    peers: &dyn Peers,
    onward: &Onward,
    user_ids: &[UserId],
) -> Result<Vec<Account>, PeerError> {
    #[derive(Deserialize)]
    struct Found {
        #[serde(default)]
        data: Vec<Account>,
    }
    let ids: Vec<String> = user_ids.iter().map(UserId::to_string).collect();
    let path = format!("/2/users?ids={}&user.fields=protected", ids.join(","));
    let Found { data } = onward.get(peers, USERS, &path).await?;
    Ok(data)
}
