//! What the tables hold: a fold over the service's own events.

use std::collections::BTreeSet;

use async_trait::async_trait;
use pillion_chassis::DatabaseError;
use pillion_chassis::database::Transaction;
use pillion_chassis::event_log::Recorded;
use pillion_chassis::journal::{ApplyError, Projection};
use pillion_chassis::sql::{list, query};
use pillion_events::{
    UserDeactivated, UserDeleted, UserEvent, UserProfileChanged, UserReactivated, UserRegistered,
    UserRenamed,
};

use crate::NAME;

/// Profiles and the words by which they are found.
#[derive(Debug)]
pub(crate) struct UserProjection;

#[async_trait]
impl Projection for UserProjection {
    fn follows(&self) -> &'static [&'static str] {
        &[]
    }

    fn tables(&self) -> &'static [&'static str] {
        &["profile_word", "profile"]
    }

    async fn apply(
        &self,
        transaction: &mut Transaction,
        event: &Recorded,
    ) -> Result<(), ApplyError> {
        if !event.is_of(NAME) {
            return Ok(());
        }
        match event.decode::<UserEvent>()? {
            UserEvent::Registered(event) => registered(transaction, event).await?,
            UserEvent::ProfileChanged(event) => changed(transaction, event).await?,
            UserEvent::Renamed(event) => renamed(transaction, event).await?,
            UserEvent::Deactivated(event) => deactivated(transaction, event).await?,
            UserEvent::Reactivated(event) => reactivated(transaction, event).await?,
            UserEvent::Deleted(event) => deleted(transaction, event).await?,
        }
        Ok(())
    }
}

async fn registered(
    transaction: &mut Transaction,
    event: UserRegistered,
) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO profile
             (user_id, username, username_key, name, description, location, url, protected,
              created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, FALSE, $8)",
    )
    .bind(event.user_id)
    .bind(&event.username)
    .bind(event.username.to_ascii_lowercase())
    .bind(&event.name)
    .bind(event.description)
    .bind(event.location)
    .bind(event.url)
    .bind(event.created_at)
    .execute(&mut *transaction)
    .await?;
    index(transaction, event.user_id.as_i64(), &event.username, &event.name).await
}

async fn changed(
    transaction: &mut Transaction,
    event: UserProfileChanged,
) -> Result<(), DatabaseError> {
    let changed = query(
        "UPDATE profile
         SET name = $2, description = $3, location = $4, url = $5, protected = $6
         WHERE user_id = $1
         RETURNING username",
    )
    .bind(event.user_id)
    .bind(&event.name)
    .bind(event.description)
    .bind(event.location)
    .bind(event.url)
    .bind(event.protected)
    .fetch_optional::<(String,)>(&mut *transaction)
    .await?;
    let Some((username,)) = changed else {
        return Ok(());
    };
    forget_words(transaction, event.user_id.as_i64()).await?;
    index(transaction, event.user_id.as_i64(), &username, &event.name).await
}

async fn renamed(transaction: &mut Transaction, event: UserRenamed) -> Result<(), DatabaseError> {
    let renamed = query(
        "UPDATE profile SET username = $2, username_key = $3 WHERE user_id = $1
         RETURNING name, deactivated_at IS NULL AND deleted_at IS NULL",
    )
    .bind(event.user_id)
    .bind(&event.username)
    .bind(event.username.to_ascii_lowercase())
    .fetch_optional::<(String, bool)>(&mut *transaction)
    .await?;
    // One that nobody can see is found by nothing; it is indexed when it comes back.
    let Some((name, true)) = renamed else {
        return Ok(());
    };
    forget_words(transaction, event.user_id.as_i64()).await?;
    index(transaction, event.user_id.as_i64(), &event.username, &name).await
}

async fn deactivated(
    transaction: &mut Transaction,
    event: UserDeactivated,
) -> Result<(), DatabaseError> {
    query("UPDATE profile SET deactivated_at = $2 WHERE user_id = $1")
        .bind(event.user_id)
        .bind(event.at)
        .execute(&mut *transaction)
        .await?;
    forget_words(transaction, event.user_id.as_i64()).await
}

async fn reactivated(
    transaction: &mut Transaction,
    event: UserReactivated,
) -> Result<(), DatabaseError> {
    let back = query(
        "UPDATE profile SET deactivated_at = NULL WHERE user_id = $1 RETURNING username, name",
    )
    .bind(event.user_id)
    .fetch_optional::<(String, String)>(&mut *transaction)
    .await?;
    let Some((username, name)) = back else {
        return Ok(());
    };
    index(transaction, event.user_id.as_i64(), &username, &name).await
}

async fn deleted(transaction: &mut Transaction, event: UserDeleted) -> Result<(), DatabaseError> {
    query(
        "UPDATE profile
         SET name = '', description = NULL, location = NULL, url = NULL, protected = FALSE,
             deactivated_at = NULL, deleted_at = $2
         WHERE user_id = $1",
    )
    .bind(event.user_id)
    .bind(event.deleted_at)
    .execute(&mut *transaction)
    .await?;
    forget_words(transaction, event.user_id.as_i64()).await
}

async fn forget_words(transaction: &mut Transaction, user_id: i64) -> Result<(), DatabaseError> {
    query("DELETE FROM profile_word WHERE user_id = $1").bind(user_id).execute(transaction).await?;
    Ok(())
}

/// Makes an account findable by its handle and its name.
pub(crate) async fn index(
    transaction: &mut Transaction,
    user_id: i64,
    username: &str,
    name: &str,
) -> Result<(), DatabaseError> {
    query("INSERT INTO profile_word (word, user_id) SELECT value, $1 FROM json_each($2)")
        .bind(user_id)
        .bind(list(words_of(username, name)))
        .execute(transaction)
        .await?;
    Ok(())
}

/// The handle, its parts and the words of the name, in lower case.
fn words_of(username: &str, name: &str) -> BTreeSet<String> {
    let parts = username.split('_').filter(|part| !part.is_empty()).map(str::to_lowercase);
    std::iter::once(username.to_lowercase()).chain(parts).chain(words(name)).collect()
}

/// The words of a text without case; what is not a letter, a digit or an underscore is between
/// them.
pub(crate) fn words(text: &str) -> impl Iterator<Item = String> {
    let words: Vec<String> = pillion_text::fold(text)
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    words.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_handle_and_by_the_words_of_its_name() {
        let words = words_of("Ann_Lee", "Ann-Marie Ödön, Dr.");
        let expected = ["ann", "ann_lee", "dr", "lee", "marie", "ödön"];
        assert_eq!(words.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn d07_names_are_found_in_any_case() {
        let found: Vec<String> = words("İLHAN Weiß").collect();
        assert_eq!(found, ["ilhan", "weiss"]);
        assert_eq!(words("ilhan WEISS").collect::<Vec<_>>(), found);
    }
}
