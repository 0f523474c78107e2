//! `GET` and `POST /i/oauth2/authorize`: a user allows an app to act for them (RFC 6749, 4.1, with
//! RFC 7636).
//!
//! There is no cookie and no session in the browser: whoever allows something gives handle and
//! password with it, so that no other page can make somebody allow anything.
//!
//! Nobody is redirected before they have logged in: anybody can register an app, so a redirect from
//! our address without a log-in would lend our name to any address (RFC 9700, 4.11.2). What an app
//! asks wrongly is shown on a page, and who denies gets a page with a link back.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderValue, LOCATION};
use pillion_chassis::{ClientAddress, Problem, Scopes};

use crate::client::TokenRequest;
use crate::consent::consent_page;
use crate::error::OAuthError;
use crate::html::{error_page, escaped, name, page, problem_page};
use crate::redirect_uri;
use crate::scope::{grantable, narrow};
use crate::secret::Secret;
use crate::signer::after;
use crate::state::Identity;
use crate::store::{App, Code};
use crate::token::is_verifier;

/// How long a code works: an app turns it into tokens at once; a person who does that by hand
/// needs a little longer.
const CODE_TTL: Duration = Duration::from_mins(5);
/// A SHA-256 in base64url.
const CHALLENGE_BYTES: usize = 43;

/// What an app asks a user for.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) app: App,
    /// The handle of who made it.
    pub(crate) owner: String,
    pub(crate) redirect_uri: String,
    pub(crate) scopes: Scopes,
    /// Given back to the app as it came.
    pub(crate) state: Option<String>,
    challenge: String,
}

/// `GET`: shows who asks for what.
pub(crate) async fn ask(
    State(identity): State<Arc<Identity>>,
    request: Result<TokenRequest, OAuthError>,
) -> Response {
    let asked = async {
        let request = request.map_err(refuse)?;
        let ask = read(&identity, &request).await?;
        let service = &identity.service_name;
        Ok(consent_page(&ask, service, &request, None, StatusCode::OK))
    };
    asked.await.unwrap_or_else(|page| page)
}

/// `POST`: the user's decision.
pub(crate) async fn decide(
    State(identity): State<Arc<Identity>>,
    client: ClientAddress,
    request: Result<TokenRequest, OAuthError>,
) -> Response {
    decided(&identity, client, request).await.unwrap_or_else(|page| page)
}

async fn decided(
    identity: &Identity,
    client: ClientAddress,
    request: Result<TokenRequest, OAuthError>,
) -> Result<Response, Response> {
    let request = request.map_err(refuse)?;
    let ask = read(identity, &request).await?;
    let text = |name| request.optional(name).map(Secret::reveal);
    match text("decision") {
        Some("allow") => {}
        Some("deny") => return Ok(ask.denied()),
        _ => return Err(invalid("decision must be allow or deny")),
    }
    let again = |message: &str, status| {
        consent_page(&ask, &identity.service_name, &request, Some(message), status)
    };
    let password = request.optional("password").cloned();
    let password = password.unwrap_or_else(|| Secret::presented(String::new()));
    let account_id = match identity.who_is(text("username"), password, client).await {
        Ok(Some(account_id)) => account_id,
        Ok(None) => {
            let message = "The username or the password is wrong.";
            return Err(again(message, StatusCode::UNAUTHORIZED));
        }
        Err(problem) => return Err(problem_page(problem)),
    };
    let secret = Secret::generate(&*identity.random)
        .map_err(|error| problem_page(Problem::internal(&error)))?;
    let code = Code {
        hash: secret.hash(),
        client_id: ask.app.client_id.clone(),
        account_id,
        redirect_uri: ask.redirect_uri.clone(),
        scopes: ask.scopes.clone(),
        challenge: ask.challenge.clone(),
        expires_at: after(identity.clock.now(), CODE_TTL),
    };
    let stored = identity.store.insert_code(&code).await;
    stored.map_err(|error| problem_page(error.into()))?;
    Ok(ask.back(&[("code", secret.reveal())]))
}

/// The page for what is wrong with a request.
fn invalid(why: &str) -> Response {
    error_page(StatusCode::BAD_REQUEST, "The app sent a request that does not work", why)
}

fn refuse(error: OAuthError) -> Response {
    match error {
        OAuthError::Failed(problem) => problem_page(problem),
        other => invalid(&other.into_text()),
    }
}

/// Reads what an app asks for.
async fn read(identity: &Identity, request: &TokenRequest) -> Result<Ask, Response> {
    let failed = |error: pillion_chassis::DatabaseError| problem_page(error.into());
    let text = |name| request.optional(name).map(Secret::reveal);
    let client_id = request.required("client_id").map_err(refuse)?.reveal();
    let app = identity.store.app(client_id).await.map_err(failed)?;
    let app =
        app.ok_or_else(|| invalid(&format!("there is no app with the client_id [{client_id}]")))?;
    let redirect_uri = match (text("redirect_uri"), app.redirect_uris.as_slice()) {
        (Some(asked), registered)
            if registered.iter().any(|uri| redirect_uri::fits(uri, asked)) =>
        {
            asked.to_owned()
        }
        (None, [only]) => only.clone(),
        (asked, _) => {
            let asked = asked.unwrap_or_default();
            return Err(invalid(&format!(
                "the redirect_uri [{asked}] is not one that this app was registered with"
            )));
        }
    };
    if text("response_type") != Some("code") {
        return Err(invalid("response_type must be code"));
    }
    let challenge = challenge(identity, request).map_err(|why| invalid(&why))?;
    let scopes =
        narrow(text("scope"), &grantable()).map_err(|why| invalid(&format!("scope: {why}")))?;
    let owner = identity.store.username(app.owner_id).await.map_err(failed)?;
    let state = text("state").map(str::to_owned);
    Ok(Ask { app, owner: owner.unwrap_or_default(), redirect_uri, scopes, state, challenge })
}

/// SHA-256 of the verifier that the app must show, or what is wrong with what it announces.
fn challenge(identity: &Identity, request: &TokenRequest) -> Result<String, String> {
    let Some(challenge) = request.optional("code_challenge") else {
        return Err("code_challenge is missing (RFC 7636)".to_owned());
    };
    let method = request.optional("code_challenge_method").map(Secret::reveal);
    match method {
        Some(method) if method.eq_ignore_ascii_case("s256") => {
            let text = challenge.reveal();
            let base64url = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            if text.len() == CHALLENGE_BYTES && text.bytes().all(base64url) {
                return Ok(text.to_owned());
            }
            Err("code_challenge must be the base64url of a SHA-256, 43 characters".to_owned())
        }
        // The verifier itself: what it will be compared with is its hash.
        None | Some("plain") if identity.plain_pkce => {
            if is_verifier(challenge.reveal()) {
                return Ok(challenge.challenge());
            }
            Err(format!("code_challenge is the verifier: {}", crate::token::VERIFIER))
        }
        _ => Err("code_challenge_method must be S256".to_owned()),
    }
}

impl Ask {
    /// The page for who says no: nothing was allowed, and the app is a link away.
    fn denied(&self) -> Response {
        let parameters = [("error", "access_denied"), ("error_description", "the user said no")];
        let (app, back) = (name(&self.app.name), escaped(&self.location(&parameters)));
        let html = format!(
            "<h1>Nothing was allowed</h1><p>{app} has no access to your account.</p>\
             <p><a rel=\"noreferrer\" href=\"{back}\">Go back to {app}</a> <small>({})</small></p>",
            name(&self.redirect_uri)
        );
        page(StatusCode::OK, "Nothing was allowed", &html)
    }

    /// Sends the browser back to the app, with these parameters and the app's state.
    fn back(&self, parameters: &[(&str, &str)]) -> Response {
        match HeaderValue::try_from(self.location(parameters)) {
            Ok(location) => {
                let no_store = HeaderValue::from_static("no-store");
                let headers = [(LOCATION, location), (CACHE_CONTROL, no_store)];
                (StatusCode::SEE_OTHER, headers).into_response()
            }
            Err(error) => problem_page(Problem::internal(&error)),
        }
    }

    /// The app's address with these parameters and its state.
    fn location(&self, parameters: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(parameters);
        if let Some(state) = &self.state {
            query.append_pair("state", state);
        }
        let joint = if self.redirect_uri.contains('?') { '&' } else { '?' };
        format!("{}{joint}{}", self.redirect_uri, query.finish())
    }
}
