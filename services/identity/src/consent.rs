//! The page on which a user sees which app asks for what, and decides.

use std::fmt::Write as _;

use axum::response::Response;
use http::StatusCode;

use crate::authorize::Ask;
use crate::client::TokenRequest;
use crate::html::{escaped, name, page};
use crate::secret::Secret;

/// What of the request the form sends again.
const KEPT: [&str; 7] = [
    "client_id",
    "code_challenge",
    "code_challenge_method",
    "redirect_uri",
    "response_type",
    "scope",
    "state",
];

/// Shows what an app asks for; `message` says what went wrong with the last attempt.
pub(crate) fn consent_page(
    ask: &Ask,
    service: &str,
    request: &TokenRequest,
    message: Option<&str>,
    status: StatusCode,
) -> Response {
    let mut html = String::new();
    // Writing to a String cannot fail.
    let _ = render(&mut html, ask, service, request, message);
    page(status, &format!("Allow {} to use your {service} account?", ask.app.name), &html)
}

fn render(
    html: &mut String,
    ask: &Ask,
    service: &str,
    request: &TokenRequest,
    message: Option<&str>,
) -> std::fmt::Result {
    let (app, service) = (name(&ask.app.name), name(service));
    write!(
        html,
        "<h1>Allow {app} to use your {service} account?</h1>\
         <p class=\"by\">{app} is an app by {} and not by {service}. It wants to:</p><ul>",
        name(&format!("@{}", ask.owner))
    )?;
    for scope in ask.scopes.iter() {
        write!(html, "<li>{}</li>", escaped(meaning(scope)))?;
    }
    write!(
        html,
        "</ul><p>It will not see your password. You can take this back at any time under \
         <a href=\"/i/apps\">Apps with access</a>.</p>"
    )?;
    if let Some(message) = message {
        write!(html, "<p class=\"e\" role=\"alert\">{}</p>", escaped(message))?;
    }
    html.push_str("<form method=\"post\" action=\"/i/oauth2/authorize\">");
    for kept in KEPT {
        if let Some(value) = request.optional(kept).map(Secret::reveal) {
            let value = escaped(value);
            write!(html, "<input type=\"hidden\" name=\"{kept}\" value=\"{value}\">")?;
        }
    }
    let username = request.optional("username").map(Secret::reveal).unwrap_or_default();
    log_in_fields(html, &service, username)?;
    write!(
        html,
        "<button class=\"primary\" name=\"decision\" value=\"allow\">Allow</button>\
         <button name=\"decision\" value=\"deny\" formnovalidate>Deny</button></form>\
         <p><small>Afterwards you go back to {}</small></p>",
        name(&ask.redirect_uri)
    )
}

/// The fields for the account that is meant; `service` is HTML.
pub(crate) fn log_in_fields(html: &mut String, service: &str, username: &str) -> std::fmt::Result {
    // After a wrong password only that is to be typed again.
    let (first, second) = if username.is_empty() { (" autofocus", "") } else { ("", " autofocus") };
    write!(
        html,
        "<label>The {service} account: username<input name=\"username\" value=\"{}\" required \
         autocapitalize=\"none\" spellcheck=\"false\" autocomplete=\"username\"{first}></label>\
         <label>Password<input name=\"password\" type=\"password\" required \
         autocomplete=\"current-password\"{second}></label>",
        escaped(username)
    )
}

/// What a scope allows, for the one who is asked.
pub(crate) fn meaning(scope: &str) -> &str {
    match scope {
        "block.read" => "see whom you block",
        "block.write" => "block and unblock people",
        "bookmark.read" => "see your bookmarks",
        "bookmark.write" => "change your bookmarks",
        "follows.read" => "see whom you follow and who follows you",
        "follows.write" => "follow and unfollow people",
        "like.read" => "see what you like",
        "like.write" => "like tweets and take likes back",
        "list.read" => "see your lists",
        "list.write" => "change your lists",
        "mute.read" => "see whom you mute",
        "mute.write" => "mute and unmute people",
        "notifications.read" => "see your notifications",
        "notifications.write" => "mark your notifications as read",
        "offline.access" => "keep this access until you take it back",
        "tweet.moderate.write" => "hide replies to your tweets",
        "tweet.read" => "read the tweets that you can read",
        "tweet.write" => "post and delete tweets in your name",
        "users.read" => "see the profiles that you can see",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scope_that_can_be_asked_for_is_explained() {
        for scope in crate::scope::grantable() {
            assert_ne!(meaning(scope), scope);
        }
    }
}
