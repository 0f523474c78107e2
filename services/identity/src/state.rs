//! What the service's handlers and workers share.

use std::sync::Arc;
use std::time::Duration;

use pillion_chassis::saga::{SagaDeps, Sagas};
use pillion_chassis::{Clock, Deps, Ids, Problem, Random, StartError};

use crate::password::{PasswordError, Passwords};
use crate::sagas::{DEACTIVATE_ACCOUNT, REGISTER_ACCOUNT};
use crate::signer::{KeyError, Signer};
use crate::store::Store;
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
    pub(crate) first_party_client_id: String,
    pub(crate) deactivation_grace: Duration,
}

impl Identity {
    pub(crate) async fn start(deps: Deps, config: Config) -> Result<Self, StartError> {
        let Deps { clock, ids, random, database, peers, service_tokens, .. } = deps;
        let store = Store::open(database.clone()).await?;
        let Config { issuer, audience, first_party_client_id, deactivation_grace } = config;
        // The clock may have gone back while the service was down, and ids never come twice.
        if let Some(last) = store.last_id().await? {
            ids.start_after(last);
        }
        let signer = Signer::load(issuer, audience, clock.clone(), &store, &*random)
            .await
            .map_err(|error| match error {
                KeyError::Random(error) => StartError::Random(error),
                KeyError::Database(error) => StartError::Database(error),
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
            first_party_client_id,
            deactivation_grace,
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
