//! `GET` and `POST /i/oauth2/authorize`: a user allows an app to act for them (RFC 6749, 4.1, with
//! RFC 7636).
//!
//! There is no cookie and no session in the browser: whoever allows something gives handle and
//! password with it, so that no other page can make somebody allow anything.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderValue, LOCATION};
use pillion_chassis::{Problem, Scopes, Timestamp};

use crate::client::TokenRequest;
use crate::consent::page;
use crate::error::OAuthError;
use crate::scope::{grantable, narrow};
use crate::secret::Secret;
use crate::state::Identity;
use crate::store::{App, Code};

/// How long a code works: an app turns it into tokens at once; a person who does that by hand
/// needs a little longer.
const CODE_TTL: Duration = Duration::from_mins(5);

/// What an app asks a user for.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) app: App,
    pub(crate) redirect_uri: String,
    pub(crate) scopes: Scopes,
    /// Given back to the app as it came.
    pub(crate) state: Option<String>,
    challenge: String,
}

/// `GET`: shows who asks for what.
pub(crate) async fn ask(
    State(identity): State<Arc<Identity>>,
    request: TokenRequest,
) -> Result<Response, Response> {
    let ask = read(&identity, &request).await?;
    Ok(page(&ask, &request, None, StatusCode::OK))
}

/// `POST`: the user's decision.
pub(crate) async fn decide(
    State(identity): State<Arc<Identity>>,
    request: TokenRequest,
) -> Result<Response, Response> {
    let ask = read(&identity, &request).await?;
    let text = |name| request.optional(name).map(Secret::reveal);
    match text("decision") {
        Some("allow") => {}
        Some("deny") => return Err(ask.refuse("access_denied", "the user said no")),
        _ => {
            let problem =
                Problem::invalid("decision", text("decision"), "`decision` must be allow or deny");
            return Err(problem.into_response());
        }
    }
    let password = request.optional("password").cloned();
    let password = password.unwrap_or_else(|| Secret::presented(String::new()));
    let who = identity.who_is(text("username"), password).await;
    let Some(account_id) = who.map_err(IntoResponse::into_response)? else {
        let message = "The username or the password is wrong.";
        return Ok(page(&ask, &request, Some(message), StatusCode::UNAUTHORIZED));
    };
    let secret = Secret::generate(&*identity.random)
        .map_err(|error| Problem::internal(&error).into_response())?;
    let ttl = i64::try_from(CODE_TTL.as_micros()).unwrap_or(i64::MAX);
    let code = Code {
        hash: secret.hash(),
        client_id: ask.app.client_id.clone(),
        account_id,
        redirect_uri: ask.redirect_uri.clone(),
        scopes: ask.scopes.clone(),
        challenge: ask.challenge.clone(),
        expires_at: Timestamp::from_micros(identity.clock.now().as_micros().saturating_add(ttl)),
    };
    let stored = identity.store.insert_code(&code).await;
    stored.map_err(|error| Problem::from(error).into_response())?;
    Ok(ask.back(&[("code", secret.reveal())]))
}

/// Reads what an app asks for. Until it is known that the address to return to is the app's own,
/// errors are for the user; after that they are the app's.
async fn read(identity: &Identity, request: &TokenRequest) -> Result<Ask, Response> {
    let text = |name| request.optional(name).map(Secret::reveal);
    let client_id = request.required("client_id").map_err(IntoResponse::into_response)?;
    let client_id = client_id.reveal();
    let app = identity.store.app(client_id).await;
    let app = app.map_err(|error| Problem::from(error).into_response())?.ok_or_else(|| {
        OAuthError::InvalidRequest(format!("there is no app with the client_id [{client_id}]"))
            .into_response()
    })?;
    let redirect_uri = match (text("redirect_uri"), app.redirect_uris.as_slice()) {
        (Some(asked), registered) if registered.iter().any(|uri| uri == asked) => asked.to_owned(),
        (None, [only]) => only.clone(),
        (asked, _) => {
            let asked = asked.unwrap_or_default();
            return Err(OAuthError::InvalidRequest(format!(
                "the redirect_uri [{asked}] is not one that this app was registered with"
            ))
            .into_response());
        }
    };
    let mut ask = Ask {
        app,
        redirect_uri,
        scopes: Scopes::default(),
        state: text("state").map(str::to_owned),
        challenge: String::new(),
    };
    if text("response_type") != Some("code") {
        return Err(ask.refuse("unsupported_response_type", "response_type must be code"));
    }
    let Some(challenge) = request.optional("code_challenge") else {
        return Err(ask.refuse("invalid_request", "code_challenge is missing (RFC 7636)"));
    };
    ask.challenge = match text("code_challenge_method") {
        Some(method) if method.eq_ignore_ascii_case("s256") => challenge.reveal().to_owned(),
        // The verifier itself: what it will be compared with is its hash.
        None | Some("plain") => challenge.challenge(),
        Some(_) => {
            let why = "code_challenge_method must be S256 or plain";
            return Err(ask.refuse("invalid_request", why));
        }
    };
    ask.scopes = narrow(text("scope"), &grantable())
        .map_err(|why| ask.refuse("invalid_scope", &format!("scope: {why}")))?;
    Ok(ask)
}

impl Ask {
    fn refuse(&self, error: &str, description: &str) -> Response {
        self.back(&[("error", error), ("error_description", description)])
    }

    /// Sends the browser back to the app, with these parameters and the app's state.
    fn back(&self, parameters: &[(&str, &str)]) -> Response {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(parameters);
        if let Some(state) = &self.state {
            query.append_pair("state", state);
        }
        let joint = if self.redirect_uri.contains('?') { '&' } else { '?' };
        let location = format!("{}{joint}{}", self.redirect_uri, query.finish());
        match HeaderValue::try_from(location) {
            Ok(location) => {
                let no_store = HeaderValue::from_static("no-store");
                let headers = [(LOCATION, location), (CACHE_CONTROL, no_store)];
                (StatusCode::SEE_OTHER, headers).into_response()
            }
            Err(error) => Problem::internal(&error).into_response(),
        }
    }
}
