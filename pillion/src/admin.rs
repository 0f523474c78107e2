//! The operator's API on its own loopback port: plugins, generations, events, sagas, metrics.
//! Everything under `/admin` wants the token.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::StatusCode;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use pillion_chassis::random::{Random as _, RandomError, SystemRandom};
use pillion_chassis::{Json, Problem};
use pillion_host::{ActivateError, Digest, Host, RollbackRequest, SwapRequest};
use ring::hmac;
use serde::{Deserialize, Serialize};

use crate::certificates::Certificates;
use crate::events::Events;
use crate::fleet_plugins::FollowerMetrics;
use crate::reload::Reloader;
use crate::revocations::RevocationStatus;
use crate::saga::AllSagas;
use crate::serve::{ProcessMetrics, RequestMetrics};
use crate::vitals::Vitals;
use crate::workers::WorkerBoard;

/// What the admin API is about.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) host: Host,
    pub(crate) token: Token,
    pub(crate) vitals: Vitals,
    pub(crate) process: Arc<ProcessMetrics>,
    pub(crate) services: Vec<Arc<RequestMetrics>>,
    pub(crate) events: Events,
    pub(crate) sagas: AllSagas,
    pub(crate) certificates: Certificates,
    /// Where the plugins are those of a fleet.
    pub(crate) fleet_plugins: Option<FollowerMetrics>,
    pub(crate) workers: WorkerBoard,
    pub(crate) reloader: Reloader,
    /// When identity runs in this process.
    pub(crate) identity: Option<pillion_identity::Handle>,
    pub(crate) revocations: RevocationStatus,
}

/// `DATA/admin.json`: how to reach a running process. The file is its owner's alone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AdminFile {
    /// `http://127.0.0.1:8081`.
    pub(crate) url: String,
    /// For `Authorization: Bearer`.
    pub(crate) token: String,
    /// The process, for people.
    pub(crate) pid: u32,
}

/// The file of `pillion up`, or of a service that `pillion serve` runs.
pub(crate) fn file_name(service: Option<&str>) -> String {
    match service {
        None => "admin.json".to_owned(),
        Some(service) => format!("admin-{service}.json"),
    }
}

/// What `POST …/swap` takes.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SwapBody {
    /// A path on the machine of the process; absolute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) component: Option<PathBuf>,
    /// The plugin's whole new configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) config: Option<serde_json::Value>,
    /// The component is refused when it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<Digest>,
    /// Who makes the change, for the audit log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<String>,
}

/// What `POST …/rollback` takes; a request without a body means the set before.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RollbackBody {
    /// The generation to go back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<u64>,
    /// Who makes the change, for the audit log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<String>,
}

/// The routes, all of them.
pub(crate) fn router(admin: Arc<Admin>) -> Router {
    let guarded = Router::new()
        .route("/admin/v1/plugins", get(list))
        .route("/admin/v1/plugins/{name}/swap", post(swap))
        .route("/admin/v1/workers", get(workers))
        .route("/admin/v1/reload", post(reload))
        .route("/admin/v1/generations", get(history))
        .route("/admin/v1/keys/rotate", post(rotate_keys))
        .route("/admin/v1/generations/rollback", post(rollback))
        .route("/admin/v1/generations/attempts", get(attempts))
        .with_state(Arc::clone(&admin))
        .merge(admin.events.clone().router())
        .merge(admin.sagas.clone().router())
        .fallback(pillion_chassis::problem::no_such_route)
        .layer(from_fn_with_state(Arc::clone(&admin), authenticate));
    probes(admin).merge(guarded)
}

/// What may be asked from other machines: numbers only, and a scraper has no token.
pub(crate) fn probes(admin: Arc<Admin>) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(admin)
}

async fn list(State(admin): State<Arc<Admin>>) -> Response {
    Json(serde_json::json!({ "data": admin.host.list() })).into_response()
}

async fn rotate_keys(State(admin): State<Arc<Admin>>) -> Result<Response, Problem> {
    Ok(Json(crate::keys::rotate(admin.identity.as_ref()).await?).into_response())
}

async fn history(State(admin): State<Arc<Admin>>) -> Response {
    Json(serde_json::json!({ "data": admin.host.history() })).into_response()
}

async fn workers(State(admin): State<Arc<Admin>>) -> Response {
    let is_ready = admin.vitals.is_ready();
    let workers = admin.workers.statuses();
    Json(serde_json::json!({ "ready": is_ready, "data": workers })).into_response()
}

async fn reload(State(admin): State<Arc<Admin>>) -> Result<Response, Problem> {
    match admin.reloader.reload().await {
        Ok(reloaded) => Ok(Json(serde_json::json!({ "data": reloaded })).into_response()),
        // The operator gets the whole chain of causes: it is their machine.
        Err(error) => Err(Problem::plain(StatusCode::UNPROCESSABLE_ENTITY, format!("{error:#}"))),
    }
}

async fn attempts(State(admin): State<Arc<Admin>>) -> Response {
    Json(serde_json::json!({ "data": admin.host.attempts() })).into_response()
}

async fn swap(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    Json(body): Json<SwapBody>,
) -> Result<Response, Problem> {
    if let Some(path) = body.component.as_ref().filter(|path| !path.is_absolute()) {
        let message = "a path begins with `/`: this process may run in another folder than you";
        return Err(Problem::invalid("component", path.to_str(), message));
    }
    if body.component.is_none() && body.config.is_none() {
        let message = "name a new component, a new config, or both";
        return Err(Problem::invalid("component", None, message));
    }
    not_of_a_fleet(&admin)?;
    let SwapBody { component, config, digest, by } = body;
    let change = SwapRequest { component, config, digest, by };
    activate(move || admin.host.swap(&name, change)).await
}

async fn rollback(State(admin): State<Arc<Admin>>, body: Bytes) -> Result<Response, Problem> {
    let RollbackBody { to, by } = if body.is_empty() {
        RollbackBody::default()
    } else {
        serde_json::from_slice(&body)
            .map_err(|error| Problem::invalid("body", None, error.to_string()))?
    };
    not_of_a_fleet(&admin)?;
    activate(move || admin.host.roll_back(&RollbackRequest { to, by })).await
}

/// A host that follows a document would undo at its next change what was done to it alone.
fn not_of_a_fleet(admin: &Admin) -> Result<(), Problem> {
    if admin.fleet_plugins.is_none() {
        return Ok(());
    }
    let detail = "This host runs the fleet's plugins; change them for all hosts: add --fleet to \
                  the command.";
    Err(Problem::plain(StatusCode::CONFLICT, detail))
}

/// Compiling takes long, so it happens on a thread of its own.
async fn activate<T: Serialize + Send + 'static>(
    change: impl FnOnce() -> Result<T, ActivateError> + Send + 'static,
) -> Result<Response, Problem> {
    match tokio::task::spawn_blocking(change).await {
        Ok(Ok(generation)) => Ok(Json(serde_json::json!({ "data": generation })).into_response()),
        Ok(Err(error)) => Err(refused(&error)),
        Err(error) => Err(Problem::internal(&error)),
    }
}

/// The operator gets the whole chain of causes: it is their machine.
fn refused(error: &ActivateError) -> Problem {
    let status = match error {
        ActivateError::NotLoaded(_) | ActivateError::NoSuchGeneration(_) => StatusCode::NOT_FOUND,
        ActivateError::NothingToRollBackTo => StatusCode::CONFLICT,
        ActivateError::Record { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    Problem::plain(status, error.to_string())
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    let page = admin.vitals.metrics()
        + &admin.workers.metrics()
        + &admin.process.page(&admin.services)
        + &admin.certificates.metrics()
        + &admin.host.metrics()
        + &admin.revocations.metrics()
        + &admin.identity.as_ref().map(password_metrics).unwrap_or_default()
        + &admin.fleet_plugins.as_ref().map(FollowerMetrics::text).unwrap_or_default()
        + &admin.events.metrics().await
        + &admin.sagas.metrics().await;
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page).into_response()
}

/// Wrong passwords, in Prometheus' text form.
fn password_metrics(identity: &pillion_identity::Handle) -> String {
    let metrics = identity.throttle_metrics();
    format!(
        "# HELP pillion_passwords_wrong_total Wrong passwords.\n\
         # TYPE pillion_passwords_wrong_total counter\n\
         pillion_passwords_wrong_total {}\n\
         # HELP pillion_logins_throttled_total Log-ins refused after wrong passwords.\n\
         # TYPE pillion_logins_throttled_total counter\n\
         pillion_logins_throttled_total{{by=\"network\"}} {}\n\
         pillion_logins_throttled_total{{by=\"account\"}} {}\n",
        metrics.wrong_passwords, metrics.refused_by_network, metrics.refused_by_account
    )
}

async fn authenticate(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let token = (request.headers().get(AUTHORIZATION))
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim_start_matches(' '));
    match token {
        Some(token) if admin.token.is(token) => next.run(request).await,
        Some(_) => Problem::unauthorized(
            "That is not this process's token; it makes a new one at every start, in admin.json \
             in its data folder.",
        )
        .into_response(),
        None => Problem::unauthorized(
            "Send `Authorization: Bearer TOKEN`; the token is in admin.json in the data folder.",
        )
        .into_response(),
    }
}

/// A secret made at start.
pub(crate) struct Token {
    text: String,
    key: hmac::Key,
    tag: hmac::Tag,
}

impl Token {
    pub(crate) fn new() -> Result<Self, RandomError> {
        let (mut bytes, mut secret) = ([0; 32], [0; 32]);
        SystemRandom.fill(&mut bytes)?;
        SystemRandom.fill(&mut secret)?;
        let text = URL_SAFE_NO_PAD.encode(bytes);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let tag = hmac::sign(&key, text.as_bytes());
        Ok(Self { text, key, tag })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Takes the same time however much of a guess is right: what is compared are two MACs
    /// under a key that nobody knows.
    fn is(&self, guess: &str) -> bool {
        hmac::verify(&self.key, guess.as_bytes(), self.tag.as_ref()).is_ok()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_is_accepted() {
        let token = Token::new().unwrap();
        assert!(token.is(token.as_str()));
        let mut shorter = token.as_str().to_owned();
        shorter.pop();
        for guess in ["", "x", &shorter, Token::new().unwrap().as_str()] {
            assert!(!token.is(guess));
        }
        assert_eq!(token.as_str().len(), 43);
    }
}
