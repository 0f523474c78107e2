//! What every event has: a name, a version of its wire form, and that form.

use serde::de::DeserializeOwned;

/// One service's events. An implementation is an enum with a variant per event.
pub trait Event: Sized {
    /// The event's name, `noun.verb` in the past tense: `tweet.posted`.
    fn name(&self) -> &'static str;

    /// The version of the wire form that [`Event::encode`] writes; the first is 1.
    fn version(&self) -> u16;

    /// The wire form, a JSON object.
    fn encode(&self) -> Result<String, serde_json::Error>;

    /// Reads the wire form of any version that was ever released.
    fn decode(name: &str, version: u16, data: &str) -> Result<Self, DecodeError>;
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
    serde_json::from_str(data).map_err(|source| DecodeError::Malformed {
        name: name.to_owned(),
        version,
        source,
    })
}
