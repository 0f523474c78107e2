//! How a service gets the keys of personal data in another's events: it asks, as itself.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CACHE_CONTROL};
use http::{HeaderMap, HeaderValue, Method};
use pillion_events::UserId;
use serde::{Deserialize, Serialize};

use super::keys::Keys;
use super::sealing::Key;
use crate::answer::Answer;
use crate::caller::Caller;
use crate::database::Database;
use crate::parameters::Parameters;
use crate::peers::{Onward, PeerError, Peers};
use crate::problem::{Problem, no_such_method};
use crate::routes::RouteId;
use crate::service::Service;
use crate::service_token::{SCOPE, ServiceTokens};

const PATH: &str = "/internal/personal-keys";
/// Users in one question: more than a consumer takes up at once.
const USERS_MAX: usize = 100;

/// Gives a service with a journal the route by which others ask for the keys of its log, and lets
/// it ask them. `tokens` are the service's own.
#[must_use]
pub fn exchange(
    mut service: Service,
    peers: Arc<dyn Peers>,
    tokens: Arc<ServiceTokens>,
) -> Service {
    let Some(journal) = service.journal.take() else {
        return service;
    };
    let own = Own { name: journal.name(), database: journal.database().clone() };
    let router = Router::new()
        .route(PATH, get(personal_keys))
        .method_not_allowed_fallback(no_such_method)
        .with_state(own);
    service.router = service.router.merge(router);
    service.routes.push(RouteId { method: Method::GET, template: PATH.to_owned() });
    service.journal = Some(journal.with_key_peers(KeyPeers { peers, tokens }));
    service
}

#[derive(Debug, Clone)]
struct Own {
    name: &'static str,
    database: Database,
}

/// A user's key in a log.
#[derive(Serialize, Deserialize)]
struct Told {
    user_id: UserId,
    /// In base64; null when it is gone for good.
    key: Option<String>,
}

/// `GET /internal/personal-keys?user_ids=…`: what is known of the keys of these users in the
/// service's own log; those without a key are left out.
async fn personal_keys(
    State(own): State<Own>,
    caller: Caller,
    mut query: Parameters,
) -> Result<Response, Problem> {
    caller.require(SCOPE)?;
    let users: Vec<UserId> = query.list("user_ids", USERS_MAX);
    query.finish()?;
    let keys = Keys::of_users(&own.database, &users).await?;
    let told = users.into_iter().filter_map(|user_id| {
        let key = keys.get(own.name, user_id)?;
        Some(Told { user_id, key: key.map(|key| STANDARD.encode(key.bytes())) })
    });
    let answer: Answer<_> = Answer::list(told.collect(), Vec::new());
    let mut response = answer.into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Whom a journal asks for keys.
#[derive(Debug, Clone)]
pub(crate) struct KeyPeers {
    peers: Arc<dyn Peers>,
    tokens: Arc<ServiceTokens>,
}

/// Why a service did not get the keys of personal data in another's events. It waits, and asks
/// again.
#[derive(Debug, thiserror::Error)]
pub enum PersonalKeysError {
    /// The other service does not answer.
    #[error("the service {source_name} does not tell its keys for personal data")]
    Peer {
        /// Whose log.
        source_name: String,
        /// Why.
        #[source]
        source: PeerError,
    },
    /// The other service has never had that key.
    #[error(
        "the service {source_name} has no key for the personal data of the user {user_id}, of whom \
         the broker has an event of it: was its database restored from a backup? Delete the \
         broker's data of {source_name}, and it is filled from the log"
    )]
    NoKey {
        /// Whose log.
        source_name: String,
        /// Whose key.
        user_id: UserId,
    },
    /// What it told is no key.
    #[error("what the service {source_name} told is not the key of the user {user_id}")]
    NotAKey {
        /// Whose log.
        source_name: String,
        /// Whose key.
        user_id: UserId,
    },
    /// The journal was not told whom to ask.
    #[error("there is nobody to ask for the keys of {source_name}")]
    Nobody {
        /// Whose log.
        source_name: String,
    },
}

impl KeyPeers {
    /// The keys of these users in the log of `source`, all of them; `None` is one that is gone.
    pub(crate) async fn ask(
        &self,
        source: &str,
        users: &[UserId],
    ) -> Result<Vec<(UserId, Option<Key>)>, PersonalKeysError> {
        #[derive(Deserialize)]
        struct Envelope {
            #[serde(default)]
            data: Vec<Told>,
        }
        let mut keys = Vec::with_capacity(users.len());
        for asked in users.chunks(USERS_MAX) {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, self.tokens.bearer());
            let ids: Vec<String> = asked.iter().map(ToString::to_string).collect();
            let path = format!("{PATH}?user_ids={}", ids.join(","));
            let answer: Envelope =
                Onward::of(&headers).get(&*self.peers, source, &path).await.map_err(|error| {
                    PersonalKeysError::Peer { source_name: source.to_owned(), source: error }
                })?;
            for user_id in asked.iter().copied() {
                let source_name = || source.to_owned();
                let told = answer.data.iter().find(|told| told.user_id == user_id);
                let told = told.ok_or_else(|| PersonalKeysError::NoKey {
                    source_name: source_name(),
                    user_id,
                })?;
                let key = told.key.as_ref().map(|text| {
                    let bytes = STANDARD.decode(text).ok();
                    bytes.and_then(|bytes| Key::of(&bytes)).ok_or_else(|| {
                        PersonalKeysError::NotAKey { source_name: source_name(), user_id }
                    })
                });
                keys.push((user_id, key.transpose()?));
            }
        }
        Ok(keys)
    }
}
