//! Page tokens: opaque, bound to what they were issued for, and impossible to make up.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use crate::database::{Database, DatabaseError};
use crate::problem::Problem;
use crate::random::Random;
use crate::service::StartError;
use crate::sql::query;

/// The key's length is that of SHA-256's output, as RFC 2104 recommends.
const KEY_BYTES: usize = 32;
/// The direction and the id.
const CURSOR_BYTES: usize = 1 + 8;
const SECRET_NAME: &str = "page-tokens";

/// Where the next page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Which way to go from `id`.
    pub direction: Direction,
    /// The id at the border of the page that the token came with; not on the page asked for.
    pub id: u64,
}

/// Which way a page lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// On to smaller ids.
    Next,
    /// Back to larger ids.
    Previous,
}

/// Makes and checks page tokens with a key that the service keeps in its database, so that they
/// outlive restarts and are good in every process on that database.
#[derive(Debug)]
pub struct PageTokens(hmac::Key);

impl PageTokens {
    /// Reads the key, or makes it the first time. The database must be migrated.
    pub async fn load(database: &Database, random: &dyn Random) -> Result<Self, StartError> {
        let mut fresh = [0; KEY_BYTES];
        random.fill(&mut fresh)?;
        let key = keep_secret(database, &fresh).await?;
        Ok(Self::new(&key))
    }

    /// Tokens under this key.
    pub fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// A token that [`PageTokens::open`] takes with the same `scope` only. The scope says what
    /// list the page is of: the route and all parameters that decide which items are on it.
    pub fn issue(&self, scope: &str, cursor: Cursor) -> String {
        let direction = match cursor.direction {
            Direction::Next => 0,
            Direction::Previous => 1,
        };
        let mut token = Vec::from([direction]);
        token.extend(cursor.id.to_be_bytes());
        let code = hmac::sign(&self.0, &authenticated(scope, &token));
        token.extend(code.as_ref());
        URL_SAFE_NO_PAD.encode(token)
    }

    /// What a token says; 400 naming `parameter` when it was not issued for this scope.
    pub fn open(&self, scope: &str, parameter: &str, token: &str) -> Result<Cursor, Problem> {
        self.check(scope, token).ok_or_else(|| {
            Problem::invalid(
                parameter,
                Some(token),
                format!(
                    "The `{parameter}` query parameter value [{token}] is not valid: send a token \
                     from `meta` of an earlier answer to the same query, unchanged"
                ),
            )
        })
    }

    fn check(&self, scope: &str, token: &str) -> Option<Cursor> {
        let token = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (cursor, code) = token.split_at_checked(CURSOR_BYTES)?;
        hmac::verify(&self.0, &authenticated(scope, cursor), code).ok()?;
        let (direction, id) = cursor.split_first()?;
        let direction = match direction {
            0 => Direction::Next,
            1 => Direction::Previous,
            _ => return None,
        };
        Some(Cursor { direction, id: u64::from_be_bytes(id.try_into().ok()?) })
    }
}

/// The cursor has a fixed length and comes first, so that no other pair of cursor and scope
/// makes the same bytes.
fn authenticated(scope: &str, cursor: &[u8]) -> Vec<u8> {
    [cursor, scope.as_bytes()].concat()
}

/// Stores `fresh` as the secret unless there is one; the one that is stored.
async fn keep_secret(database: &Database, fresh: &[u8]) -> Result<Vec<u8>, DatabaseError> {
    let mut transaction = database.write().await?;
    query("INSERT INTO secret (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(SECRET_NAME)
        .bind(fresh)
        .execute(&mut transaction)
        .await?;
    let (value,) = query("SELECT value FROM secret WHERE name = $1")
        .bind(SECRET_NAME)
        .fetch_one::<(Vec<u8>,)>(&mut transaction)
        .await?;
    transaction.commit().await?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::tests::migrations;
    use crate::random::SystemRandom;

    const CURSOR: Cursor = Cursor { direction: Direction::Previous, id: 1_460_323_737_035_677_698 };

    #[test]
    fn a_token_opens_only_where_it_was_issued() {
        let tokens = PageTokens::new(b"key");
        let token = tokens.issue("user 1", CURSOR);
        assert_eq!(tokens.open("user 1", "pagination_token", &token).unwrap(), CURSOR);
        assert!(tokens.open("user 2", "pagination_token", &token).is_err());
        assert!(PageTokens::new(b"other").open("user 1", "pagination_token", &token).is_err());
    }

    #[test]
    fn no_change_to_a_token_goes_unnoticed() {
        let tokens = PageTokens::new(b"key");
        let token = URL_SAFE_NO_PAD.decode(tokens.issue("s", CURSOR)).unwrap();
        for bit in 0..token.len() * 8 {
            let mut forged = token.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(tokens.open("s", "p", &URL_SAFE_NO_PAD.encode(forged)).is_err(), "bit {bit}");
        }
        for text in ["", "a", "!", "AAAA", &"A".repeat(100)] {
            let problem = tokens.open("s", "p", text).unwrap_err();
            assert_eq!(problem.status(), 400);
            assert_eq!(problem.document()["errors"][0]["parameters"]["p"][0], text);
        }
    }

    #[tokio::test]
    async fn the_key_outlives_a_restart() {
        for backend in crate::testing::BACKENDS {
            let test = crate::testing::migrated(backend, &migrations(&[])).await;
            let first = PageTokens::load(&test.database, &SystemRandom).await.unwrap();
            let again = PageTokens::load(&test.database, &SystemRandom).await.unwrap();
            let token = first.issue("s", CURSOR);
            assert_eq!(again.open("s", "p", &token).unwrap(), CURSOR);
        }
    }
}
