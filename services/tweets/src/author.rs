//! Asks the users service about accounts.

use pillion_chassis::{Onward, PeerError, Peers, UserId};
use pillion_events::Mention;
use serde::Deserialize;

/// The service that knows accounts.
const USERS: &str = "users";
/// What that service takes for a handle. A longer word after an `@` names nobody.
const USERNAME_CHARS_MAX: usize = 15;
/// Handles that it takes at once. A text of 280 units has room for 93.
const USERNAMES_MAX: usize = 100;

/// What is known of an account that exists.
#[derive(Debug, Deserialize)]
pub(crate) struct Author {
    /// Whose account.
    id: UserId,
    /// The handle, as its owner writes it.
    pub(crate) username: String,
}

/// An account, unless it does not exist or was deleted. The caller's token goes along, so it
/// must have the scope `users.read`.
pub(crate) async fn find(
    peers: &dyn Peers,
    onward: &Onward,
    user_id: UserId,
) -> Result<Option<Author>, PeerError> {
    #[derive(Deserialize)]
    struct Found {
        data: Option<Author>,
    }
    let found: Found = onward.get(peers, USERS, &format!("/2/users/{user_id}")).await?;
    Ok(found.data)
}

/// Those whom the text names, in the order of the text and each once. Nobody is asked about a
/// text without handles.
pub(crate) async fn mentioned(
    peers: &dyn Peers,
    onward: &Onward,
    text: &str,
) -> Result<Vec<Mention>, PeerError> {
    #[derive(Deserialize)]
    struct Found {
        #[serde(default)]
        data: Vec<Author>,
    }
    let mut usernames: Vec<String> = Vec::new();
    for mention in pillion_text::entities(text).mentions {
        let username = mention.username.to_ascii_lowercase();
        if username.len() <= USERNAME_CHARS_MAX && !usernames.contains(&username) {
            usernames.push(username);
        }
    }
    usernames.truncate(USERNAMES_MAX);
    if usernames.is_empty() {
        return Ok(Vec::new());
    }
    let path = format!("/2/users/by?usernames={}", usernames.join(","));
    let Found { data } = onward.get(peers, USERS, &path).await?;
    let of = |username: &String| {
        let found = data.iter().find(|user| user.username.eq_ignore_ascii_case(username))?;
        Some(Mention { user_id: found.id, username: found.username.clone() })
    };
    Ok(usernames.iter().filter_map(of).collect())
}
