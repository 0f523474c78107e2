//! Who somebody is that gives a handle and a password. An account that was deactivated comes back.

use std::time::Duration;

use pillion_chassis::saga::{Outcome, Signal, Signalled};
use pillion_chassis::{ClientAddress, Problem, Transaction, UserId};

use crate::password::Lane;
use crate::sagas::DEACTIVATE_ACCOUNT;
use crate::secret::Secret;
use crate::state::Identity;
use crate::store::{AccountState, accounts};

/// What somebody waits for at most whose account comes back.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(4);
/// A registration, or a return, that is under way ends within seconds.
const RETRY_AFTER_S: u32 = 2;

impl Identity {
    /// Whose handle and password these are; nobody's if the one does not exist or the other is
    /// wrong, which take the same time.
    pub(crate) async fn who_is(
        &self,
        username: Option<&str>,
        password: Secret,
        client: ClientAddress,
    ) -> Result<Option<UserId>, Problem> {
        let attempt = self.throttle.attempt(username.unwrap_or_default(), client.0);
        self.throttle.check(attempt, self.clock.now())?;
        let account = match username {
            Some(username) => self.store.account_by_username(username).await?,
            None => None,
        };
        let hash = account.as_ref().map(|account| account.password_hash.clone());
        let right = self.passwords.verify(password, hash, Lane::LogIn).await?;
        let Some(account) = account.filter(|_| right) else {
            self.throttle.failed(attempt, self.clock.now());
            return Ok(None);
        };
        self.throttle.succeeded(attempt, self.clock.now());
        match account.state {
            AccountState::Active => Ok(Some(account.id)),
            AccountState::Pending => Err(Problem::unavailable(
                "The registration of this account is not complete yet; try again.",
                RETRY_AFTER_S,
            )),
            AccountState::Deactivated => self.bring_back(account.id).await,
        }
    }

    /// Takes a deactivation back; nobody, when it is too late for that.
    async fn bring_back(&self, user_id: UserId) -> Result<Option<UserId>, Problem> {
        let (saga, key) = (&DEACTIVATE_ACCOUNT, user_id.to_string());
        let mut transaction = self.store.write().await?;
        let login = Signal::Compensate("login");
        let id = match self.sagas.signal(&mut transaction, saga, &key, login).await? {
            Signalled::Taken(id) | Signalled::Compensating(id) => id,
            Signalled::PastPivot(_) => return Ok(None),
            Signalled::NoSaga => return self.reopen(transaction, user_id).await,
        };
        transaction.commit().await?;
        match self.sagas.outcome(id, ANSWER_TIME_MAX).await? {
            Outcome::Compensated(_) => {}
            Outcome::Completed | Outcome::Pivoted => return Ok(None),
            Outcome::Unfinished => {
                return Err(Problem::unavailable(
                    "The account is coming back but is not all there yet, which goes on by itself; \
                     try again.",
                    RETRY_AFTER_S,
                ));
            }
        }
        self.reopen(self.store.write().await?, user_id).await
    }

    /// Opens an account that no saga keeps closed any more: one that was taken back before its
    /// first step, which would have noted that there is something to take back.
    async fn reopen(
        &self,
        mut transaction: Transaction,
        user_id: UserId,
    ) -> Result<Option<UserId>, Problem> {
        let (saga, key) = (&DEACTIVATE_ACCOUNT, user_id.to_string());
        // The owner may have closed it again meanwhile, from elsewhere.
        if self.sagas.running(&mut transaction, saga, &key).await?.is_none() {
            accounts::reopen(&mut transaction, user_id, self.clock.now()).await?;
        }
        let account = accounts::find(&mut transaction, user_id).await?;
        transaction.commit().await?;
        Ok(account.filter(|account| account.state == AccountState::Active).map(|found| found.id))
    }
}
