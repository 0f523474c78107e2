//! The page on which a user sees which app asks for what, and decides.

use std::fmt::Write as _;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
};

use crate::authorize::Ask;
use crate::client::TokenRequest;
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

const STYLE: &str = "\
body{font:16px/1.5 system-ui,sans-serif;max-width:26rem;margin:3rem auto;padding:0 1rem;\
color:#1b1f24;background:#fff}label{display:block;margin:.8rem 0}input{display:block;width:100%;\
box-sizing:border-box;font:inherit;padding:.4rem}button{font:inherit;padding:.5rem 1.2rem;\
margin:.6rem .6rem 0 0}.e{color:#b42318}small{color:#57606a;overflow-wrap:anywhere}\
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}.e{color:#ff7b72}\
small{color:#8b949e}}";

/// Shows what an app asks for; `message` says what went wrong with the last attempt.
pub(crate) fn page(
    ask: &Ask,
    request: &TokenRequest,
    message: Option<&str>,
    status: StatusCode,
) -> Response {
    let mut html = String::new();
    // Writing to a String cannot fail.
    let _ = render(&mut html, ask, request, message);
    let mut response = (status, html).into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        // Nothing from anywhere, and in no frame: a page around it could trick people.
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
        ),
        (REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn render(
    html: &mut String,
    ask: &Ask,
    request: &TokenRequest,
    message: Option<&str>,
) -> std::fmt::Result {
    let name = escaped(&ask.app.name);
    write!(
        html,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>Allow {name}?</title><style>{STYLE}</style>\
         <h1>Allow {name}?</h1><p>It wants to:</p><ul>"
    )?;
    for scope in ask.scopes.iter() {
        write!(html, "<li>{}", escaped(meaning(scope)))?;
    }
    html.push_str("</ul>");
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
    write!(
        html,
        "<label>Username<input name=\"username\" autocomplete=\"username\"></label>\
         <label>Password<input name=\"password\" type=\"password\" \
         autocomplete=\"current-password\"></label>\
         <button name=\"decision\" value=\"allow\">Allow</button>\
         <button name=\"decision\" value=\"deny\">Deny</button></form>\
         <p><small>You will go back to {}</small></p></html>",
        escaped(&ask.redirect_uri)
    )
}

/// What a scope allows, for the one who is asked.
fn meaning(scope: &str) -> &str {
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

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
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
