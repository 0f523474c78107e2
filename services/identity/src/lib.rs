//! The identity service: who may log in, which apps exist, and the tokens that prove it.
//!
//! It owns accounts and passwords; profiles belong to the users service. An account begins and ends
//! in sagas over all services that keep something of it, which this one conducts.

mod applications;
mod authorizations;
mod authorize;
mod cleaner;
mod client;
mod consent;
mod deactivate_account;
mod error;
mod grant;
mod html;
mod left;
mod login;
mod password;
mod redirect_uri;
mod refresh_keys;
mod register_account;
mod register_app;
mod revocations;
mod revoke;
mod routes;
mod sagas;
mod scope;
mod secret;
mod show_password;
mod signer;
mod state;
mod steps;
mod store;
mod throttle;
mod token;
mod token_status;
mod vault;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use pillion_chassis::saga::participate;
use pillion_chassis::{DatabaseError, Deps, Scopes, Service, StartError, UserId};
use tokio::sync::watch;

pub use error::RotateError;
pub use revocations::{Revocation, RevocationPage};
pub use scope::{APP_SCOPES, USER_SCOPES};
pub use signer::{Jwk, JwkSet, PUBLISHED_KEYS_MAX};
pub use throttle::ThrottleMetrics;
pub use vault::{KeyEncryptionKey, KeyEncryptionKeyError};

use state::Identity;
use steps::Steps;

/// The name of the service among its peers.
pub const NAME: &str = "identity";

/// What the operator decides about tokens.
#[derive(Debug, Clone)]
pub struct Config {
    /// The claim `iss` of every access token.
    pub issuer: String,
    /// The claim `aud` of every access token.
    pub audience: String,
    /// The client id of tokens that come from `POST /pillion/v1/login`: our own clients, which
    /// keep no secret.
    pub first_party_client_id: String,
    /// The name of the service on the consent page.
    pub service_name: String,
    /// How long an account can be brought back by a log-in after it was deactivated.
    pub deactivation_grace: Duration,
    /// How long access tokens of users work.
    pub user_token_ttl: Duration,
    /// How long access tokens of apps themselves work.
    pub app_token_ttl: Duration,
    /// How long refresh tokens work.
    pub refresh_token_ttl: Duration,
    /// How long a refresh token that was used answers with the same successor.
    pub refresh_grace: Duration,
    /// How long a key signs before another one takes its place.
    pub key_rotation: Duration,
    /// Whether the PKCE method `plain` is accepted (RFC 7636, 4.2).
    pub plain_pkce: bool,
    /// What encrypts private keys at rest.
    pub key_encryption_key: KeyEncryptionKey,
}

impl Config {
    /// The defaults, with this key.
    pub fn new(key_encryption_key: KeyEncryptionKey) -> Self {
        Self {
            issuer: "pillion".to_owned(),
            audience: "pillion-api".to_owned(),
            first_party_client_id: "pillion".to_owned(),
            service_name: "Pillion".to_owned(),
            deactivation_grace: Duration::from_hours(30 * 24),
            user_token_ttl: Duration::from_hours(2),
            app_token_ttl: Duration::from_hours(365 * 24),
            refresh_token_ttl: Duration::from_hours(30 * 24),
            refresh_grace: Duration::from_secs(30),
            key_rotation: Duration::from_hours(30 * 24),
            plain_pkce: false,
            key_encryption_key,
        }
    }
}

/// What the process that runs the service may ask of it without HTTP. Clones are the same.
#[derive(Debug, Clone)]
pub struct Handle(Arc<Identity>);

impl Handle {
    /// The public keys that verify access tokens now.
    pub fn jwks(&self) -> JwkSet {
        self.0.signer.jwks().borrow().clone()
    }

    /// Follows the public keys: the present set is there at once, later ones as they change. A
    /// new key is in the set for five minutes before it signs.
    pub fn jwks_changes(&self) -> watch::Receiver<JwkSet> {
        self.0.signer.jwks().clone()
    }

    /// Makes a new signing key, which takes over in five minutes. Keys that can have signed
    /// nothing that is still valid are forgotten. Returns the id of the new key.
    pub async fn rotate_keys(&self) -> Result<String, RotateError> {
        self.0.signer.rotate(&self.0.store, &*self.0.random).await
    }

    /// The revocations after the position `since`, oldest first, at most 10,000 of them.
    pub async fn revocations_after(&self, since: i64) -> Result<RevocationPage, DatabaseError> {
        self.0.store.revocations_after(since, self.0.clock.now()).await
    }

    /// Waits until this process revokes something.
    pub async fn revoked(&self) {
        self.0.revoked.notified().await;
    }

    /// Counters of wrong passwords and throttled log-ins of this process.
    pub fn throttle_metrics(&self) -> ThrottleMetrics {
        self.0.throttle.metrics()
    }

    /// An access token for a user, which is not checked to exist: for demonstrations and
    /// operators. It works for `ttl` from now, to the second, and is revoked only by itself.
    pub fn issue_user_token(
        &self,
        user_id: UserId,
        client_id: &str,
        scopes: &Scopes,
        ttl: Duration,
    ) -> String {
        let subject = user_id.to_string();
        let claims = signer::Claims::new(&subject, client_id, scopes, ttl);
        self.0.signer.sign(&claims)
    }
}

/// Makes the service: brings its database up to date and reads or makes its signing keys.
pub async fn service(deps: Deps, config: Config) -> Result<(Service, Handle), StartError> {
    check_config(&config)?;
    let (database, clock) = (deps.database.clone(), deps.clock.clone());
    let identity = Arc::new(Identity::start(deps, config).await?);
    let all = participate(routes::routes(), database, clock, Arc::new(Steps));
    let (router, table) = all.finish(identity.clone());
    let sagas = identity.sagas.clone();
    let workers = vec![
        sagas.worker(),
        left::worker(identity.clone()),
        refresh_keys::worker(identity.clone()),
        cleaner::cleaner(identity.clone()),
    ];
    let service =
        Service { name: NAME, router, routes: table, workers, journal: None, sagas: Some(sagas) };
    Ok((service, Handle(identity)))
}

fn check_config(config: &Config) -> Result<(), StartError> {
    let Config { issuer, audience, first_party_client_id, .. } = config;
    for (key, value) in [("issuer", issuer), ("audience", audience)] {
        if value.is_empty() {
            return Err(StartError::Configuration(format!(
                "identity: {key} is empty; it names who issues tokens and for whom"
            )));
        }
    }
    let is_number = first_party_client_id.bytes().all(|byte| byte.is_ascii_digit());
    if is_number || first_party_client_id.contains(':') {
        return Err(StartError::Configuration(format!(
            "identity: first_party_client_id is [{first_party_client_id}]; it must not be empty or \
             a number, for that is what user ids look like, nor contain a colon"
        )));
    }
    Ok(())
}
