//! What every event has: a name, a version of its wire form, and that form.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::UserId;

/// One service's events. An implementation is an enum with a variant per event.
pub trait Event: Sized {
    /// The event's name, `noun.verb` in the past tense: `tweet.posted`.
    fn name(&self) -> &'static str;

    /// The version of the wire form that [`Event::encode`] writes; the first is 1.
    fn version(&self) -> u16;

    /// The wire form, a JSON object.
    fn encode(&self) -> Result<String, serde_json::Error>;

    /// Reads the wire form of any version that was ever released. Fields that [`Event::personal`]
    /// names may be missing.
    fn decode(name: &str, version: u16, data: &str) -> Result<Self, DecodeError>;

    /// What in the wire form is for its subject alone to keep or to have erased.
    fn personal(&self) -> Option<Personal> {
        None
    }
}

/// Personal data in the wire form of an event. Logs hold it under a key of its subject's; without
/// the key the fields are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Personal {
    /// Whose words they are.
    pub subject: UserId,
    /// Names of members of the JSON object. Each has a default, for readers without the key.
    pub fields: &'static [&'static str],
}

/// Why the wire form of an event could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// An event, or a version of it, that this build does not know: it was written by a newer
    /// build, or by another service.
    #[error("event {name} version {version} is unknown to this build; run a newer one")]
    Unknown {
        /// The event's name.
        name: String,
        /// The version of its wire form.
        version: u16,
    },
    /// The data is not what that version says.
    #[error("event {name} version {version} does not hold what it must")]
    Malformed {
        /// The event's name.
        name: String,
        /// The version of its wire form.
        version: u16,
        /// What is wrong and where.
        #[source]
        source: serde_json::Error,
    },
}

impl DecodeError {
    pub(crate) fn unknown(name: &str, version: u16) -> Self {
        Self::Unknown { name: name.to_owned(), version }
    }
}

/// Reads `data` into the type that holds it.
pub(crate) fn decode_as<T: DeserializeOwned>(
    name: &str,
    version: u16,
    data: &str,
) -> Result<T, DecodeError> {
    let decoded = if data.contains(NUL) {
        serde_json::from_str(data)
            .and_then(|data| serde_json::from_str(&storable(data).to_string()))
    } else {
        serde_json::from_str(data)
    };
    decoded.map_err(|source| DecodeError::Malformed { name: name.to_owned(), version, source })
}

/// How JSON writes U+0000, which `PostgreSQL` keeps in no text. Early builds let it into events.
const NUL: &str = "\\u0000";

/// The same with U+FFFD for every U+0000.
fn storable(data: Value) -> Value {
    match data {
        Value::String(text) => Value::String(text.replace('\0', "\u{fffd}")),
        Value::Array(items) => items.into_iter().map(storable).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(key, value)| (key, storable(value))).collect()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_of_an_early_build_is_read_as_a_replacement_character() {
        let data = r#"{"a":"x\u0000y","b":["\u0000",1,null],"c":{"d":"\\u0000"}}"#;
        let read: Value = decode_as("a.b", 1, data).unwrap();
        let expected = r#"{"a":"x\ufffdy","b":["\ufffd",1,null],"c":{"d":"\\u0000"}}"#;
        assert_eq!(read, serde_json::from_str::<Value>(expected).unwrap());
        let error = decode_as::<Value>("a.b", 1, r#"{"a":"\u0000""#).unwrap_err();
        assert!(matches!(error, DecodeError::Malformed { .. }), "{error:?}");
    }
}
