//! The ids of the things that events are about: 64-bit snowflakes, decimal strings in JSON.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The largest id: what fits a signed 64-bit column.
pub const ID_MAX: u64 = i64::MAX as u64;

/// Why a text is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Empty, over 19 characters, or something else than ASCII digits.
    #[error("an id is 1 to 19 decimal digits")]
    NotDigits,
    /// More than [`ID_MAX`].
    #[error("an id is at most {ID_MAX}")]
    TooLarge,
}

fn parse(text: &str) -> Result<u64, IdError> {
    if !(1..=19).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(IdError::NotDigits);
    }
    match text.parse() {
        Ok(id) if id <= ID_MAX => Ok(id),
        _ => Err(IdError::TooLarge),
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// The id of this number; `None` over [`ID_MAX`].
            pub const fn new(id: u64) -> Option<Self> {
                if id <= ID_MAX { Some(Self(id)) } else { None }
            }

            /// The id of a number from a generator, which never sets the sign bit; a set one is
            /// cleared.
            pub const fn generated(id: u64) -> Self {
                Self(id & ID_MAX)
            }

            /// The number.
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The number as a database column holds it; never negative.
            pub const fn as_i64(self) -> i64 {
                self.0.cast_signed()
            }

            /// The id in a database column; `None` when it is negative.
            pub const fn from_i64(column: i64) -> Option<Self> {
                if column >= 0 { Some(Self(column.cast_unsigned())) } else { None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                parse(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Text).map(Self)
            }
        }
    };
}

id! {
    /// Whose account.
    UserId
}

id! {
    /// Which tweet. Later tweets have larger ids.
    TweetId
}

id! {
    /// Which notification of its recipient's. Later notifications have larger ids; another
    /// recipient's may have the same.
    NotificationId
}

/// Reads an id from a string. JSON numbers are refused: they lose digits over 2^53 in many
/// clients, so accepting one would hide a wrong id.
struct Text;

impl de::Visitor<'_> for Text {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string of 1 to 19 decimal digits")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
        parse(text).map_err(|error| match error {
            IdError::NotDigits => E::invalid_value(de::Unexpected::Str(text), &self),
            IdError::TooLarge => E::custom(error),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_strings_in_json() {
        let id: UserId = serde_json::from_str("\"1460323737035677698\"").unwrap();
        assert_eq!(id.get(), 1_460_323_737_035_677_698);
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"1460323737035677698\"");
    }

    #[test]
    fn what_is_not_an_id_is_refused_with_the_rule() {
        for text in ["", "-1", "+1", "1.0", "12a", " 1", "12345678901234567890", "١"] {
            assert_eq!(text.parse::<TweetId>(), Err(IdError::NotDigits), "{text}");
        }
        assert_eq!("9223372036854775808".parse::<TweetId>(), Err(IdError::TooLarge));
        assert_eq!("9223372036854775807".parse::<TweetId>().unwrap().as_i64(), i64::MAX);
        let error = serde_json::from_str::<TweetId>("20").unwrap_err().to_string();
        assert!(error.contains("expected a string of 1 to 19 decimal digits"), "{error}");
    }

    #[test]
    fn a_negative_column_is_no_id() {
        assert_eq!(UserId::from_i64(-1), None);
        assert_eq!(UserId::new(u64::MAX), None);
    }
}
