//! What the service's handlers and workers share.

use std::sync::Arc;
use std::time::Duration;

use pillion_chassis::saga::{SagaDeps, Sagas};
use pillion_chassis::{Clock, Deps, Ids, Problem, Random, StartError};
use tokio::sync::Notify;

use crate::password::{PasswordError, Passwords};
use crate::sagas::{DEACTIVATE_ACCOUNT, REGISTER_ACCOUNT};
use crate::signer::{KeyError, Signer, SignerConfig};
use crate::store::Store;
use crate::throttle::Throttle;
use crate::vault::Vault;
use crate::{Config, NAME};

/// The service's parts.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) sagas: Sagas,
    pub(crate) store: Store,
    pub(crate) passwords: Passwords,
    pub(crate) signer: Signer,
    pub(crate) vault: Arc<Vault>,
    pub(crate) throttle: Throttle,
    /// Notified when this process revokes something.
    pub(crate) revoked: Notify,
    pub(crate) first_party_client_id: String,
    pub(crate) service_name: String,
    pub(crate) deactivation_grace: Duration,
    pub(crate) user_token_ttl: Duration,
    pub(crate) app_token_ttl: Duration,
    pub(crate) refresh_token_ttl: Duration,
    pub(crate) refresh_grace: Duration,
    pub(crate) plain_pkce: bool,
}

impl Identity {
    pub(crate) async fn start(deps: Deps, config: Config) -> Result<Self, StartError> {
        let Deps { clock, ids, random, database, peers, service_tokens, .. } = deps;
        let store = Store::open(database.clone()).await?;
        let vault = Vault::new(&config.key_encryption_key)
            .map_err(|error| StartError::Configuration(format!("identity: {error}")))?;
        let vault = Arc::new(vault);
        // The clock may have gone back while the service was down, and ids never come twice.
        if let Some(last) = store.last_id().await? {
            ids.start_after(last);
        }
        let signing = SignerConfig {
            issuer: config.issuer,
            audience: config.audience,
            rotation: config.key_rotation,
            kept: config.user_token_ttl.max(config.app_token_ttl),
        };
        let signer = Signer::load(signing, clock.clone(), vault.clone(), &store, &*random)
            .await
            .map_err(|error| match error {
                KeyError::Random(error) => StartError::Random(error),
                KeyError::Database(error) => StartError::Database(error),
                other => StartError::Configuration(format!("identity: {other}")),
            })?;
        let passwords = Passwords::start(random.clone()).await.map_err(|error| match error {
            PasswordError::Random(error) => StartError::Random(error),
            other => StartError::Configuration(format!("identity: {other}")),
        })?;
        let saga_deps = SagaDeps {
            service: NAME,
            database,
            peers,
            clock: clock.clone(),
            ids: ids.clone(),
            tokens: service_tokens,
        };
        let sagas = Sagas::new(saga_deps, &[&REGISTER_ACCOUNT, &DEACTIVATE_ACCOUNT]);
        Ok(Self {
            clock,
            ids,
            random,
            sagas,
            store,
            passwords,
            signer,
            vault,
            throttle: Throttle::default(),
            revoked: Notify::new(),
            first_party_client_id: config.first_party_client_id,
            service_name: config.service_name,
            deactivation_grace: config.deactivation_grace,
            user_token_ttl: config.user_token_ttl,
            app_token_ttl: config.app_token_ttl,
            refresh_token_ttl: config.refresh_token_ttl,
            refresh_grace: config.refresh_grace,
            plain_pkce: config.plain_pkce,
        })
    }
}

/// 403 unless the token was got with the password: apps may not touch the account itself.
pub(crate) fn need_account_scope(scopes: &pillion_chassis::Scopes) -> Result<(), Problem> {
    if scopes.has(crate::scope::ACCOUNT) {
        return Ok(());
    }
    Err(Problem::forbidden(
        "This needs a token with the scope account.write, which only POST /pillion/v1/login gives.",
    ))
}
