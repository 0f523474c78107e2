//! What a build before the sagas left half done when it was replaced: registrations and deletions,
//! for which sagas are begun at the first start.

use std::sync::Arc;
use std::time::Duration;

use pillion_chassis::{Problem, Shutdown, Worker};

use crate::register_account::{self, Profile, Registration};
use crate::sagas::REGISTER_ACCOUNT;
use crate::state::Identity;
use crate::store::accounts::Left;
use crate::store::{AccountState, accounts};

/// How soon it is tried again when the database fails.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Begins sagas for all that was left half done, and rests.
pub(crate) fn worker(identity: Arc<Identity>) -> Worker {
    Worker::new("identity-left", move |mut shutdown: Shutdown| {
        let identity = Arc::clone(&identity);
        async move {
            loop {
                match identity.take_over_next().await {
                    Ok(true) => {}
                    // Nothing is left; a worker that ends by itself is taken for one that failed.
                    Ok(false) => return shutdown.requested().await,
                    Err(problem) => {
                        tracing::error!(%problem, "what an older build left cannot be taken over");
                        tokio::select! {
                            () = shutdown.requested() => return,
                            () = tokio::time::sleep(RETRY_INTERVAL) => {}
                        }
                    }
                }
            }
        }
    })
}

impl Identity {
    /// Begins a saga for the next account that was left half done; whether there was one.
    async fn take_over_next(&self) -> Result<bool, Problem> {
        let mut transaction = self.store.write().await?;
        let Some(Left { account, profile }) = accounts::take_left(&mut transaction).await? else {
            return Ok(false);
        };
        let user_id = account.id;
        match account.state {
            AccountState::Active => {}
            AccountState::Pending => {
                let profile: Profile =
                    serde_json::from_str(&profile).map_err(|error| Problem::internal(&error))?;
                let registration = Registration { user_id, profile };
                let data = serde_json::to_value(registration)
                    .map_err(|error| Problem::internal(&error))?;
                let key = register_account::key(&account.username, user_id);
                self.sagas.start(&mut transaction, &REGISTER_ACCOUNT, &key, data).await?;
            }
            // Its owner was told that it is gone for good.
            AccountState::Deactivated => {
                let now = self.clock.now();
                self.begin_deactivation(&mut transaction, user_id, now).await?;
            }
        }
        transaction.commit().await?;
        Ok(true)
    }
}
