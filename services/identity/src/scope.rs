//! Which scopes there are and who can get them.

use pillion_chassis::Scopes;

/// What a user can allow a client. `account.write` covers the account itself (its deletion, its
/// apps) and is only for clients that log in with the password.
pub const USER_SCOPES: [&str; 20] = [
    "account.write",
    "block.read",
    "block.write",
    "bookmark.read",
    "bookmark.write",
    "follows.read",
    "follows.write",
    "like.read",
    "like.write",
    "list.read",
    "list.write",
    "mute.read",
    "mute.write",
    "notifications.read",
    "notifications.write",
    "offline.access",
    "tweet.moderate.write",
    "tweet.read",
    "tweet.write",
    "users.read",
];

/// What an app can do on its own: read what is public.
pub const APP_SCOPES: [&str; 5] =
    ["follows.read", "like.read", "list.read", "tweet.read", "users.read"];

/// What a user can allow an app: everything but the account itself.
pub(crate) fn grantable() -> Vec<&'static str> {
    USER_SCOPES.into_iter().filter(|scope| *scope != ACCOUNT).collect()
}

/// With this scope a token comes with a refresh token.
pub(crate) const OFFLINE: &str = "offline.access";

/// The scope over the account itself.
pub(crate) const ACCOUNT: &str = "account.write";

/// The scopes of a request, all allowed ones if it names none; the first that is not allowed
/// otherwise.
pub(crate) fn narrow(requested: Option<&str>, allowed: &[&str]) -> Result<Scopes, String> {
    let Some(requested) = requested.filter(|scope| !scope.trim().is_empty()) else {
        return Ok(Scopes::parse(&allowed.join(" ")));
    };
    let scopes = Scopes::parse(requested);
    if let Some(unknown) = scopes.iter().find(|scope| !allowed.contains(scope)) {
        return Err(format!("[{unknown}] is not one of [{}]", allowed.join(" ")));
    }
    Ok(scopes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_gets_what_it_names_or_everything() {
        assert_eq!(narrow(None, &APP_SCOPES).unwrap().iter().count(), 5);
        assert_eq!(narrow(Some(" "), &APP_SCOPES).unwrap().iter().count(), 5);
        let named = narrow(Some("users.read tweet.read"), &APP_SCOPES).unwrap();
        assert_eq!(named.to_string(), "tweet.read users.read");
        let refused = narrow(Some("tweet.read tweet.write"), &APP_SCOPES).unwrap_err();
        assert!(refused.starts_with("[tweet.write] is not one of"), "{refused}");
    }
}
