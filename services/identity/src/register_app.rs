//! `POST /pillion/v1/apps`: registers an app of the caller's.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, HeaderValue};
use http::{StatusCode, Uri};
use pillion_chassis::{Json, Problem, UserCaller};
use serde::Deserialize;
use serde_json::json;

use crate::secret::Secret;
use crate::state::{Identity, need_account_scope};
use crate::store::App;

/// The longest name, in characters: it stands in one line of the consent page.
const NAME_CHARS_MAX: usize = 50;
/// Addresses that a consent may return to: one per place where an app runs.
const REDIRECT_URIS_MAX: usize = 10;
/// The longest of them, in bytes.
const REDIRECT_URI_BYTES_MAX: usize = 512;
/// Apps of one account; more would only be there to get around limits per app.
const APPS_MAX: u32 = 20;

/// The body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Registration {
    name: String,
    #[serde(default)]
    redirect_uris: Vec<String>,
    #[serde(default)]
    client_type: ClientType,
}

/// Whether an app can keep a secret (RFC 6749, 2.1).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ClientType {
    #[default]
    Confidential,
    Public,
}

pub(crate) async fn register_app(
    State(identity): State<Arc<Identity>>,
    caller: UserCaller,
    Json(registration): Json<Registration>,
) -> Result<Response, Problem> {
    need_account_scope(&caller.scopes)?;
    let Registration { name, redirect_uris, client_type } = registration;
    check(&name, &redirect_uris)?;
    let generate =
        || Secret::generate(&*identity.random).map_err(|error| Problem::internal(&error));
    let secret = match client_type {
        ClientType::Confidential => Some(generate()?),
        ClientType::Public => None,
    };
    let app = App {
        // The prefix tells it from a user's id, also for those who read logs.
        client_id: format!("app-{}", identity.ids.next()?),
        owner_id: caller.user_id,
        name,
        secret_hash: secret.as_ref().map(Secret::hash),
        redirect_uris,
        created_at: identity.clock.now(),
    };
    if identity.store.active_account(caller.user_id).await?.is_none() {
        return Err(Problem::account_gone(caller.user_id));
    }
    if !identity.store.insert_app(&app, APPS_MAX).await? {
        return Err(Problem::forbidden(format!(
            "This account has {APPS_MAX} apps already, which is the most."
        )));
    }
    let mut data = json!({
        "client_id": app.client_id,
        "name": app.name,
        "redirect_uris": app.redirect_uris,
        "client_type": if secret.is_some() { "confidential" } else { "public" },
        "created_at": app.created_at,
    });
    if let (Some(secret), Some(data)) = (secret, data.as_object_mut()) {
        data.insert("client_secret".to_owned(), secret.reveal().into());
    }
    let mut response = (StatusCode::CREATED, Json(json!({ "data": data }))).into_response();
    // The secret is shown this once.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn check(name: &str, redirect_uris: &[String]) -> Result<(), Problem> {
    let chars = name.chars().count();
    if !(1..=NAME_CHARS_MAX).contains(&chars) || name.chars().any(char::is_control) {
        return Err(Problem::invalid(
            "name",
            Some(name),
            format!("`name` must have 1 to {NAME_CHARS_MAX} characters, none of them control"),
        ));
    }
    if redirect_uris.len() > REDIRECT_URIS_MAX {
        return Err(Problem::invalid(
            "redirect_uris",
            None,
            format!(
                "`redirect_uris` has {} addresses; it may have {REDIRECT_URIS_MAX}",
                redirect_uris.len()
            ),
        ));
    }
    match redirect_uris.iter().find(|uri| !is_redirect_uri(uri)) {
        None => Ok(()),
        Some(uri) => Err(Problem::invalid(
            "redirect_uris",
            Some(uri),
            format!(
                "`redirect_uris` holds [{uri}]; an address must be absolute, such as \
                 https://app.example/back, without a fragment, in at most \
                 {REDIRECT_URI_BYTES_MAX} bytes"
            ),
        )),
    }
}

fn is_redirect_uri(text: &str) -> bool {
    let parsed = text.parse::<Uri>().ok();
    let absolute = parsed.is_some_and(|uri| uri.scheme().is_some() && uri.authority().is_some());
    absolute
        && text.len() <= REDIRECT_URI_BYTES_MAX
        && !text.contains('#')
        && !text.to_ascii_lowercase().starts_with("javascript:")
}
