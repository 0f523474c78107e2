//! The keys that sign.

use pillion_chassis::sql::query;
use pillion_chassis::{DatabaseError, Timestamp};

use super::rows::KeyRow;
use super::{Store, StoredKey};

impl Store {
    /// All signing keys, oldest first.
    pub(crate) async fn signing_keys(&self) -> Result<Vec<StoredKey>, DatabaseError> {
        let rows: Vec<KeyRow> =
            query("SELECT kid, seed, signs_from FROM signing_key ORDER BY signs_from, kid")
                .fetch_all(&self.0)
                .await?;
        Ok(rows
            .into_iter()
            .map(|KeyRow { kid, seed, signs_from }| StoredKey {
                kid,
                seed,
                signs_from: Timestamp::from_micros(signs_from),
            })
            .collect())
    }

    /// Stores the very first signing key, unless another process has stored one.
    pub(crate) async fn insert_first_signing_key(
        &self,
        key: &StoredKey,
    ) -> Result<(), DatabaseError> {
        let mut transaction = self.0.write().await?;
        query(
            "INSERT INTO signing_key (kid, seed, signs_from)
             SELECT $1, $2, $3 WHERE NOT EXISTS (SELECT 1 FROM signing_key)",
        )
        .bind(&key.kid)
        .bind(key.seed.as_slice())
        .bind(key.signs_from)
        .execute(&mut transaction)
        .await?;
        transaction.commit().await
    }

    /// Stores a signing key.
    pub(crate) async fn insert_signing_key(&self, key: &StoredKey) -> Result<(), DatabaseError> {
        let mut transaction = self.0.write().await?;
        query("INSERT INTO signing_key (kid, seed, signs_from) VALUES ($1, $2, $3)")
            .bind(&key.kid)
            .bind(key.seed.as_slice())
            .bind(key.signs_from)
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
