//! What a refused client gets: X's problem documents, and RFC 6750's challenges.

use pillion_plugin::{HttpResponse, Problem};

use crate::{routes::Denial, token::TokenError};

/// 401 where a token is needed and there is none. RFC 6750 wants no error code then.
pub(crate) fn no_token(realm: &str) -> HttpResponse {
    let detail = "This route needs an access token: send the header `Authorization: Bearer TOKEN`.";
    HttpResponse::problem(401, "Unauthorized", detail)
        .header("www-authenticate", challenge(realm, &[]))
}

/// 401 for a token that is not good, 503 where we are to blame.
pub(crate) fn refused(realm: &str, error: &TokenError) -> HttpResponse {
    match error {
        TokenError::NotGranted => {
            HttpResponse::problem(503, "Service Unavailable", &error.to_string())
                .header("retry-after", "30")
        }
        _ => invalid(realm, &error.to_string()),
    }
}

/// 401 for an `authorization` header that is not good.
pub(crate) fn invalid(realm: &str, detail: &str) -> HttpResponse {
    let challenge = challenge(realm, &[("error", "invalid_token"), ("error_description", detail)]);
    HttpResponse::problem(401, "Unauthorized", detail).header("www-authenticate", challenge)
}

/// 403 for a good token that is not enough here; `needed` are the route's scopes.
pub(crate) fn denied(realm: &str, denial: Denial, needed: &str) -> HttpResponse {
    match denial {
        Denial::NeedsUser => Problem {
            title: "Unsupported Authentication",
            detail: "Authenticating with OAuth 2.0 Application-Only is forbidden for this endpoint. \
                     Supported authentication types are [OAuth 1.0a User Context, OAuth 2.0 User Context].",
            kind: "https://api.twitter.com/2/problems/unsupported-authentication",
            status: 403,
        }
        .into(),
        Denial::Scopes(_) => {
            let detail = format!("The access token lacks scopes: this route needs {needed}.");
            let parameters =
                [("error", "insufficient_scope"), ("error_description", &*detail), ("scope", needed)];
            HttpResponse::problem(403, "Forbidden", &detail)
                .header("www-authenticate", challenge(realm, &parameters))
        }
    }
}

/// 403 for a route that exists but that nobody has opened.
pub(crate) fn unlisted(method: &str, template: &str) -> HttpResponse {
    let detail = format!(
        "{method} {template} is closed: it is not in the auth plugin's table of routes. \
         The operator can add it there."
    );
    HttpResponse::problem(403, "Forbidden", &detail)
}

fn challenge(realm: &str, parameters: &[(&str, &str)]) -> String {
    let mut challenge = "Bearer realm=\"".to_owned();
    push_quoted(&mut challenge, realm);
    challenge.push('"');
    for (name, value) in parameters {
        challenge.push_str(", ");
        challenge.push_str(name);
        challenge.push_str("=\"");
        push_quoted(&mut challenge, value);
        challenge.push('"');
    }
    challenge
}

/// Only what RFC 6750 allows within quotes.
fn push_quoted(out: &mut String, text: &str) {
    out.extend(text.chars().map(|char| match char {
        '"' | '\\' => '\'',
        ' '..='~' => char,
        _ => '?',
    }));
}
