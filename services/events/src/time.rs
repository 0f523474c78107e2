//! Moments: microseconds since 1970 inside, RFC 3339 with milliseconds outside.

use std::fmt;
use std::str::FromStr;

use ::time::OffsetDateTime;
use ::time::format_description::well_known::Rfc3339;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The last moment that four digits of a year can tell, 9999-12-31T23:59:59.999999Z.
const MICROS_MAX: i64 = 253_402_300_799_999_999;

/// A moment in microseconds since 1970-01-01T00:00:00Z, up to the end of the year 9999.
///
/// Shown, and written in JSON, as RFC 3339 in UTC with three digits of a second
/// (`2026-07-01T10:00:01.000Z`): some clients cannot read a time without milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A text is not a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a time is RFC 3339 from 1970 to 9999, such as 2026-07-01T10:00:01.000Z")]
pub struct TimeError;

impl Timestamp {
    /// The moment so many microseconds after 1970; brought into 1970 to 9999.
    pub const fn from_micros(micros: i64) -> Self {
        if micros < 0 {
            Self(0)
        } else if micros > MICROS_MAX {
            Self(MICROS_MAX)
        } else {
            Self(micros)
        }
    }

    /// The same moment without what is finer than a millisecond, as JSON holds it.
    #[must_use]
    pub const fn floor_to_millis(self) -> Self {
        Self(self.0 - self.0 % 1_000)
    }

    /// Microseconds since 1970; never negative.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Milliseconds since 1970, rounded down.
    pub const fn as_millis(self) -> u64 {
        self.0.cast_unsigned() / 1_000
    }

    /// Seconds since 1970, rounded down.
    pub const fn as_secs(self) -> u64 {
        self.0.cast_unsigned() / 1_000_000
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000)
            .map_err(|_| fmt::Error)?;
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            moment.year(),
            u8::from(moment.month()),
            moment.day(),
            moment.hour(),
            moment.minute(),
            moment.second(),
            moment.millisecond()
        )
    }
}

impl FromStr for Timestamp {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| TimeError)?;
        match i64::try_from(moment.unix_timestamp_nanos() / 1_000) {
            Ok(micros @ 0..=MICROS_MAX) => Ok(Self(micros)),
            _ => Err(TimeError),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_always_written() {
        assert_eq!(Timestamp::from_micros(0).to_string(), "1970-01-01T00:00:00.000Z");
        let text = "2021-01-06T18:40:40.000Z";
        let moment: Timestamp = text.parse().unwrap();
        assert_eq!(moment.as_micros(), 1_609_958_440_000_000);
        assert_eq!(moment.to_string(), text);
        assert_eq!(Timestamp::from_micros(i64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn offsets_and_fractions_are_understood() {
        let moment: Timestamp = "2024-02-29T01:00:00.1234567+01:00".parse().unwrap();
        assert_eq!(moment.to_string(), "2024-02-29T00:00:00.123Z");
        assert_eq!(moment.as_micros() % 1_000_000, 123_456);
        assert_eq!(moment.floor_to_millis().as_micros() % 1_000_000, 123_000);
    }

    #[test]
    fn what_is_not_a_moment_is_refused() {
        for text in ["", "2021-01-06", "2021-02-30T00:00:00Z", "1969-12-31T23:59:59Z", "now"] {
            assert_eq!(text.parse::<Timestamp>(), Err(TimeError), "{text}");
        }
    }
}
