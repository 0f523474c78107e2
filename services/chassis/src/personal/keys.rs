//! The table of keys: those of the service's own log, which it makes, and those of others' logs,
//! which it was given.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use pillion_events::{Personal, UserId};

use super::sealing::{Key, Unreadable, open, seal, subject_of};
use crate::database::{DatabaseError, Transaction};
use crate::event_log::{self, AppendError, Recorded};
use crate::random::SystemRandom;
use crate::sql::{On, list, query};

/// The source under which stands that a user was erased.
const ERASED: &str = "";

/// What stands for a key that is gone.
const GONE: [u8; 32] = [0; 32];

/// Users whose keys are at hand without asking the database, twice as many at most.
const CACHED_USERS_MAX: usize = 4_096;

/// Erases a user's personal data in all events: overwrites the keys that the service made and those
/// that it was given, for good, once the transaction has been committed. Twice is as good as once.
pub async fn shred(transaction: &mut Transaction, user_id: UserId) -> Result<(), DatabaseError> {
    // As long as before, so that SQLite writes it to the same place.
    query("UPDATE personal_key SET key = $2 WHERE user_id = $1")
        .bind(user_id)
        .bind(GONE.as_slice())
        .execute(&mut *transaction)
        .await?;
    query(
        "INSERT INTO personal_key (user_id, source, key) VALUES ($1, $2, $3)
         ON CONFLICT DO NOTHING",
    )
    .bind(user_id)
    .bind(ERASED)
    .bind(GONE.as_slice())
    .execute(&mut *transaction)
    .await?;
    transaction.sweep_after_commit();
    Ok(())
}

/// Keys of the service's own log that were used of late, so that to record an event takes no
/// further statement. One that another process has erased since is noticed as the event is written.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<Generations>);

/// When the young ones are many they become the old ones, which are then forgotten.
#[derive(Debug, Default)]
struct Generations {
    young: HashMap<UserId, Key>,
    old: HashMap<UserId, Key>,
}

impl Cache {
    fn get(&self, user_id: UserId) -> Option<Key> {
        let mut it = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = it.young.get(&user_id) {
            return Some(*key);
        }
        let key = it.old.get(&user_id).copied()?;
        it.put(user_id, key);
        Some(key)
    }

    fn put(&self, user_id: UserId, key: Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(user_id, key);
    }

    fn forget(&self, user_id: UserId) {
        let mut it = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        it.young.remove(&user_id);
        it.old.remove(&user_id);
    }
}

impl Generations {
    fn put(&mut self, user_id: UserId, key: Key) {
        if self.young.len() >= CACHED_USERS_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(user_id, key);
    }
}

/// Appends an event of the service's own log in its sealed form.
pub(crate) async fn append(
    transaction: &mut Transaction,
    cache: &Arc<Cache>,
    event: &Recorded,
    personal: &Personal,
) -> Result<(), AppendError> {
    let subject = personal.subject;
    if let Some(key) = cache.get(subject) {
        let sealed = seal(event, personal, &key, &SystemRandom)?;
        if event_log::insert(transaction, &sealed, Some((subject, &key))).await? {
            return Ok(());
        }
        // The stream has gone on, or the key is gone: the database knows.
        cache.forget(subject);
    }
    let key = own(transaction, &event.source, subject).await?;
    let key = key.ok_or(AppendError::Erased(subject))?;
    let sealed = seal(event, personal, &key, &SystemRandom)?;
    if !event_log::insert(transaction, &sealed, None).await? {
        return Err(AppendError::conflict(event));
    }
    // A key that is undone with its transaction must not be used again.
    let cache = cache.clone();
    transaction.after_commit(move || cache.put(subject, key));
    Ok(())
}

/// A user's key in the service's own log, made if need be; `None` when the user was erased.
async fn own(
    transaction: &mut Transaction,
    source: &str,
    subject: UserId,
) -> Result<Option<Key>, AppendError> {
    let keys = Keys::of_users(&mut *transaction, &[subject]).await?;
    if let Some(known) = keys.get(source, subject) {
        return Ok(known);
    }
    // Not a parameter: a key that somebody can foretell is none.
    let key = Key::new(&SystemRandom).map_err(super::SealError::from)?;
    query("INSERT INTO personal_key (user_id, source, key) VALUES ($1, $2, $3)")
        .bind(subject)
        .bind(source)
        .bind(key.bytes())
        .execute(transaction)
        .await?;
    Ok(Some(key))
}

/// Keeps what another service told of keys in its log; what is known already stays.
pub(crate) async fn keep(
    transaction: &mut Transaction,
    source: &str,
    told: &[(UserId, Option<Key>)],
) -> Result<(), DatabaseError> {
    for (user_id, key) in told {
        query(
            "INSERT INTO personal_key (user_id, source, key) VALUES ($1, $2, $3)
             ON CONFLICT DO NOTHING",
        )
        .bind(*user_id)
        .bind(source)
        .bind(key.as_ref().map_or(GONE.as_slice(), Key::bytes))
        .execute(&mut *transaction)
        .await?;
    }
    Ok(())
}

/// All that a database knows of the keys of some users.
#[derive(Debug, Default)]
pub(crate) struct Keys(HashMap<UserId, Vec<(String, Option<Key>)>>);

impl Keys {
    /// For the users whose keys these events take. Without sealed events nothing is read.
    pub(crate) async fn of<'c>(
        on: impl Into<On<'c>>,
        events: &[&Recorded],
    ) -> Result<Self, DatabaseError> {
        let mut users: Vec<UserId> = events.iter().filter_map(|it| subject_of(it)).collect();
        users.sort_unstable();
        users.dedup();
        Self::of_users(on, &users).await
    }

    /// For these users.
    pub(crate) async fn of_users<'c>(
        on: impl Into<On<'c>>,
        users: &[UserId],
    ) -> Result<Self, DatabaseError> {
        let mut keys = Self::default();
        if users.is_empty() {
            return Ok(keys);
        }
        let rows: Vec<(i64, String, Vec<u8>)> = query(
            "SELECT user_id, source, key FROM personal_key
             WHERE user_id IN (SELECT CAST(value AS BIGINT) FROM json_each($1))",
        )
        .bind(list(users))
        .fetch_all(on)
        .await?;
        for (user_id, source, key) in rows {
            let corrupt = || DatabaseError::Corrupt(format!("the key of the user {user_id}"));
            let user = UserId::from_i64(user_id).ok_or_else(corrupt)?;
            let is_there = key != GONE;
            let key = is_there.then(|| Key::of(&key).ok_or_else(corrupt)).transpose()?;
            keys.0.entry(user).or_default().push((source, key));
        }
        Ok(keys)
    }

    /// A user's key in a log: `None` when it is not known, `Some(None)` when it is gone.
    #[expect(clippy::option_option, reason = "not known and gone are different things")]
    pub(crate) fn get(&self, source: &str, user_id: UserId) -> Option<Option<Key>> {
        let known = self.0.get(&user_id)?;
        let of = |name: &str| known.iter().find(|(source, _)| source == name);
        // Who was erased here is so in all logs.
        of(ERASED).or_else(|| of(source)).map(|(_, key)| *key)
    }

    /// The users whose keys these events of one log take and that are not known, each once.
    pub(crate) fn missing(&self, events: &[&Recorded]) -> Vec<UserId> {
        let unknown = |event: &&Recorded| {
            subject_of(event).filter(|user_id| self.get(&event.source, *user_id).is_none())
        };
        let mut users: Vec<UserId> = events.iter().filter_map(unknown).collect();
        users.sort_unstable();
        users.dedup();
        users
    }

    /// The plain form of an event.
    pub(crate) fn open(&self, event: &Recorded) -> Result<Recorded, Unreadable> {
        open(event, |user_id| self.get(&event.source, user_id).ok_or(Unreadable::NoKey(user_id)))
    }
}
