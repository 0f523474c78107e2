//! Asks the users service about an account.

use pillion_chassis::{Onward, PeerError, Peers, UserId};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The service that knows accounts.
pub(crate) const USERS: &str = "users";

/// Whether there is such an account.
pub(crate) async fn exists(
    peers: &dyn Peers,
    onward: &Onward,
    user_id: UserId,
) -> Result<bool, PeerError> {
    #[derive(Deserialize)]
    struct Found {
        data: Option<IgnoredAny>,
    }
    let found: Found = onward.get(peers, USERS, &format!("/2/users/{user_id}")).await?;
    Ok(found.data.is_some())
}
