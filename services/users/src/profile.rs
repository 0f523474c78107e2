//! A profile and the rules for what is in it.

use std::fmt;
use std::str::FromStr;

use pillion_chassis::{Timestamp, UserId};
use serde::{Deserialize, Deserializer, Serialize, de};

/// The service keeps this of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) user_id: UserId,
    pub(crate) username: Username,
    pub(crate) about: About,
    pub(crate) created_at: Timestamp,
}

/// What an owner says about themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct About {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) location: Option<String>,
    pub(crate) url: Option<String>,
}

/// A handle: 1 to 15 of `A-Z a-z 0-9 _`. Two that differ in case only are the same one.
#[derive(Debug, Clone, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Username(String);

/// A text is not a handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a username is 1 to 15 letters A to Z, digits and underscores")]
pub(crate) struct UsernameError;

const USERNAME_CHARS_MAX: usize = 15;

impl Username {
    /// As its owner writes it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// What all ways to write it have in common.
    pub(crate) fn key(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl PartialEq for Username {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Username {
    type Err = UsernameError;

    fn from_str(text: &str) -> Result<Self, UsernameError> {
        let fits = (1..=USERNAME_CHARS_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if fits { Ok(Self(text.to_owned())) } else { Err(UsernameError) }
    }
}

impl<'de> Deserialize<'de> for Username {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_one_whatever_their_case() {
        let jack: Username = "Jack_1".parse().unwrap();
        assert_eq!(jack, "jACK_1".parse().unwrap());
        assert_eq!((jack.as_str(), jack.key().as_str()), ("Jack_1", "jack_1"));
    }

    #[test]
    fn what_is_not_a_handle_is_refused() {
        for text in ["", "jäck", "a b", "a-b", "@jack", "sixteen_letters_"] {
            assert_eq!(text.parse::<Username>(), Err(UsernameError), "{text}");
        }
        assert!("fifteen_letters".parse::<Username>().is_ok());
    }
}
