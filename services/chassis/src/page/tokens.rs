//! Page tokens: opaque, bound to what they were issued for, impossible to make up, and good for a
//! day.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use crate::clock::{Clock, SystemClock};
use crate::database::{Database, DatabaseError};
use crate::problem::Problem;
use crate::random::Random;
use crate::service::StartError;
use crate::sql::query;

/// The key's length is that of SHA-256's output, as RFC 2104 recommends.
const KEY_BYTES: usize = 32;
/// The direction, the id, and when the token was issued, in seconds since 1970.
const CURSOR_BYTES: usize = 1 + 8 + 4;
/// How long a token is good: nobody reads a list for longer, and what a leaked one tells is old by
/// then.
const AGE_MAX: Duration = Duration::from_hours(24);
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
pub struct PageTokens {
    key: hmac::Key,
    clock: Arc<dyn Clock>,
}

/// Why a token does not lead anywhere.
enum Bad {
    /// It was not issued for this list, or not at all.
    Unknown,
    /// It was, too long ago.
    Expired,
}

impl PageTokens {
    /// Reads the key, or makes it the first time. The database must be migrated.
    pub async fn load(database: &Database, random: &dyn Random) -> Result<Self, StartError> {
        let mut fresh = [0; KEY_BYTES];
        random.fill(&mut fresh)?;
        let key = keep_secret(database, &fresh).await?;
        Ok(Self::new(&key))
    }

    /// Tokens under this key, by the machine's clock.
    pub fn new(key: &[u8]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key), clock: Arc::new(SystemClock) }
    }

    /// The same by another clock.
    #[must_use]
    pub fn by(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
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
        token.extend(self.now_s().to_be_bytes());
        let code = hmac::sign(&self.key, &authenticated(scope, &token));
        token.extend(code.as_ref());
        URL_SAFE_NO_PAD.encode(token)
    }

    /// What a token says; 400 naming `parameter` when it was not issued for this scope, or more
    /// than a day ago.
    pub fn open(&self, scope: &str, parameter: &str, token: &str) -> Result<Cursor, Problem> {
        self.check(scope, token).map_err(|bad| {
            let why = match bad {
                Bad::Unknown => {
                    "is not valid: send a token from `meta` of an earlier answer to the same \
                     query, unchanged"
                }
                Bad::Expired => {
                    "has expired, a day after it was issued: read the list from its beginning"
                }
            };
            let message = format!("The `{parameter}` query parameter value [{token}] {why}");
            Problem::invalid(parameter, Some(token), message)
        })
    }

    fn check(&self, scope: &str, token: &str) -> Result<Cursor, Bad> {
        let (cursor, issued_s) = self.read(scope, token).ok_or(Bad::Unknown)?;
        // One from the future was issued by a process whose clock is ahead.
        if u64::from(self.now_s().saturating_sub(issued_s)) > AGE_MAX.as_secs() {
            return Err(Bad::Expired);
        }
        Ok(cursor)
    }

    fn read(&self, scope: &str, token: &str) -> Option<(Cursor, u32)> {
        let token = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (cursor, code) = token.split_at_checked(CURSOR_BYTES)?;
        hmac::verify(&self.key, &authenticated(scope, cursor), code).ok()?;
        let (direction, rest) = cursor.split_first()?;
        let (id, issued_s) = rest.split_first_chunk()?;
        let direction = match direction {
            0 => Direction::Next,
            1 => Direction::Previous,
            _ => return None,
        };
        let cursor = Cursor { direction, id: u64::from_be_bytes(*id) };
        Some((cursor, u32::from_be_bytes(issued_s.try_into().ok()?)))
    }

    /// Until the year 2106.
    fn now_s(&self) -> u32 {
        u32::try_from(self.clock.now().as_millis() / 1_000).unwrap_or(u32::MAX)
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
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::FakeClock;
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

    #[test]
    fn a_token_is_good_for_a_day() {
        let clock = Arc::new(FakeClock::at("2026-07-01T10:00:01.000Z".parse().unwrap()));
        let tokens = PageTokens::new(b"key").by(clock.clone());
        let token = tokens.issue("s", CURSOR);
        clock.advance(AGE_MAX);
        assert_eq!(tokens.open("s", "p", &token).unwrap(), CURSOR);
        clock.advance(Duration::from_secs(1));
        let problem = tokens.open("s", "p", &token).unwrap_err();
        assert_eq!(problem.status(), 400);
        let message = problem.document()["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains("has expired, a day after"), "{message}");
        // Of another list it does not even tell that.
        let problem = tokens.open("other", "p", &token).unwrap_err();
        let message = problem.document()["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains("is not valid"), "{message}");
        // Whose clock is behind takes it all the same.
        let behind = FakeClock::at("2026-07-01T09:00:01.000Z".parse().unwrap());
        let behind = PageTokens::new(b"key").by(Arc::new(behind));
        assert_eq!(behind.open("s", "p", &token).unwrap(), CURSOR);
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
