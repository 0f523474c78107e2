//! `/pillion/v1/apps`: registers, shows and removes the caller's apps.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderValue};
use pillion_chassis::{Json, Path, Problem, UserCaller};
use pillion_text::unsafe_display_char;
use serde::Deserialize;
use serde_json::json;

use crate::redirect_uri::{self, RULE};
use crate::secret::Secret;
use crate::state::{Identity, need_account_scope};
use crate::store::App;

/// The longest name, in characters: it stands in one line of the consent page.
const NAME_CHARS_MAX: usize = 50;
/// Addresses that a consent may return to: one per place where an app runs.
const REDIRECT_URIS_MAX: usize = 10;
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
        token_generation: 0,
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

/// `GET /pillion/v1/apps`: the caller's apps, without their secrets.
pub(crate) async fn list_apps(
    State(identity): State<Arc<Identity>>,
    caller: UserCaller,
) -> Result<Response, Problem> {
    need_account_scope(&caller.scopes)?;
    let apps = identity.store.apps_of(caller.user_id).await?;
    let data: Vec<_> = apps
        .iter()
        .map(|app| {
            json!({
                "client_id": app.client_id,
                "name": app.name,
                "redirect_uris": app.redirect_uris,
                "client_type":
                    if app.secret_hash.is_some() { "confidential" } else { "public" },
                "created_at": app.created_at,
            })
        })
        .collect();
    Ok(Json(json!({ "data": data, "meta": { "result_count": data.len() } })).into_response())
}

/// `DELETE /pillion/v1/apps/{client_id}`: removes an app of the caller's. Its tokens are revoked,
/// those of its users too.
pub(crate) async fn remove_app(
    State(identity): State<Arc<Identity>>,
    caller: UserCaller,
    Path(client_id): Path<String>,
) -> Result<Response, Problem> {
    need_account_scope(&caller.scopes)?;
    let now = identity.clock.now();
    if !identity.store.remove_app(&client_id, caller.user_id, now).await? {
        return Err(Problem::not_found("This account has no app with this client_id."));
    }
    identity.revoked.notify_waiters();
    Ok(Json(json!({ "data": { "deleted": true } })).into_response())
}

fn check(name: &str, redirect_uris: &[String]) -> Result<(), Problem> {
    let chars = name.chars().count();
    if !(1..=NAME_CHARS_MAX).contains(&chars)
        || unsafe_display_char(name).is_some()
        || name.trim() != name
    {
        return Err(Problem::invalid(
            "name",
            Some(name),
            format!(
                "`name` must have 1 to {NAME_CHARS_MAX} characters, none of them invisible, a \
                     control or one that turns the direction of text, and none a space at either \
                     end"
            ),
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
    match redirect_uris.iter().find(|uri| !redirect_uri::is_valid(uri)) {
        None => Ok(()),
        Some(uri) => Err(Problem::invalid(
            "redirect_uris",
            Some(uri),
            format!("`redirect_uris` holds [{uri}]; {RULE}"),
        )),
    }
}
