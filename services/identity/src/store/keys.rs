//! The keys that sign.

use pillion_chassis::sql::query;
use pillion_chassis::{DatabaseError, Timestamp};

use super::rows::KeyRow;
use super::{Store, StoredKey};

impl Store {
    /// All published keys, oldest first.
    pub(crate) async fn signing_keys(&self) -> Result<Vec<StoredKey>, DatabaseError> {
        let rows: Vec<KeyRow> = query(
            "SELECT kid, public_key, seed, signs_from FROM signing_key ORDER BY signs_from, kid",
        )
        .fetch_all(&self.0)
        .await?;
        Ok(rows
            .into_iter()
            .map(|KeyRow { kid, public_key, seed, signs_from }| StoredKey {
                kid,
                public: public_key,
                seed,
                signs_from: Timestamp::from_micros(signs_from),
            })
            .collect())
    }

    /// Stores a key, if `previous` is the newest one; `None` stores the very first. Otherwise
    /// another process was faster.
    pub(crate) async fn insert_signing_key(
        &self,
        key: &StoredKey,
        previous: Option<&str>,
    ) -> Result<(), DatabaseError> {
        let mut transaction = self.0.write().await?;
        query(
            "INSERT INTO signing_key (kid, public_key, seed, signs_from)
             SELECT $1, $2, $3, $4
             WHERE $5 = COALESCE(
                 (SELECT kid FROM signing_key ORDER BY signs_from DESC, kid DESC LIMIT 1), '')",
        )
        .bind(&key.kid)
        .bind(key.public.as_slice())
        .bind(key.seed.clone())
        .bind(key.signs_from)
        .bind(previous.unwrap_or_default())
        .execute(&mut transaction)
        .await?;
        transaction.commit().await
    }

    /// Erases the private half of a key.
    pub(crate) async fn erase_seed(&self, kid: &str) -> Result<(), DatabaseError> {
        let mut transaction = self.0.write().await?;
        query("UPDATE signing_key SET seed = NULL WHERE kid = $1")
            .bind(kid)
            .execute(&mut transaction)
            .await?;
        transaction.commit().await
    }

    /// Forgets a signing key.
    pub(crate) async fn forget_signing_key(&self, kid: &str) -> Result<(), DatabaseError> {
        let mut transaction = self.0.write().await?;
        query("DELETE FROM signing_key WHERE kid = $1").bind(kid).execute(&mut transaction).await?;
        transaction.commit().await
    }
}
