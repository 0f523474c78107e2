//! The sealed form of an event: AES-256-GCM over its personal fields, bound to the event's place.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pillion_events::{Personal, UserId};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::event_log::Recorded;
use crate::random::{Random, RandomError};

/// The member that stands for the fields that were sealed.
const MEMBER: &str = "sealed";
/// The same as it is written. Within a text the quotes would be escaped.
const MARK: &str = r#""sealed":"#;
/// AES-256.
const KEY_BYTES: usize = 32;

/// A user's key in one log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key([u8; KEY_BYTES]);

/// What stands for the sealed fields.
#[derive(Debug, Serialize, Deserialize)]
struct Sealed {
    /// The fields, a JSON object: nonce, ciphertext, tag.
    #[serde(rename = "box")]
    contents: String,
    /// Whose key it takes.
    subject: UserId,
}

/// Why an event's personal data was not sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// It is not what an event is.
    #[error("its wire form is not a JSON object")]
    Form(#[from] serde_json::Error),
    /// There is no randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The cipher refused; it takes all that is shorter than 64 GiB.
    #[error("the cipher failed")]
    Cipher,
}

/// Why a sealed event cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    /// What stands for the sealed fields is not what it must be.
    #[error("its sealed part is damaged")]
    Form(#[source] serde_json::Error),
    /// It was sealed with another key, at another place in the log, or it was changed since.
    #[error("its sealed part does not open with the key of the user {0}")]
    Refused(UserId),
    /// Nobody gave the key and nobody said that it is gone.
    #[error("there is no key for the sealed part, which is of the user {0}")]
    NoKey(UserId),
}

impl Key {
    pub(crate) fn new(random: &dyn Random) -> Result<Self, RandomError> {
        let mut bytes = [0; KEY_BYTES];
        random.fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// `None` for what is no key.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn cipher(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&AES_256_GCM, &self.0).ok().map(LessSafeKey::new)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

/// What a box is bound to, so that it opens at its own place only.
fn place(event: &Recorded) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&(&event.source, &event.stream_id, event.version, &event.name))
}

/// The sealed form of an event in its plain form.
pub(crate) fn seal(
    event: &Recorded,
    personal: &Personal,
    key: &Key,
    random: &dyn Random,
) -> Result<Recorded, SealError> {
    let mut data: Map<String, Value> = serde_json::from_str(&event.data)?;
    let mut fields = Map::new();
    for field in personal.fields {
        if let Some(value) = data.remove(*field) {
            fields.insert((*field).to_owned(), value);
        }
    }
    // By chance: numbers in a row would come again when a backup is restored, and two texts under
    // the same number give each other away.
    let mut nonce = [0; NONCE_LEN];
    random.fill(&mut nonce)?;
    let mut contents = serde_json::to_vec(&fields)?;
    key.cipher()
        .ok_or(SealError::Cipher)?
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(place(event)?),
            &mut contents,
        )
        .map_err(|_| SealError::Cipher)?;
    let contents = STANDARD.encode([nonce.as_slice(), &contents].concat());
    let sealed = Sealed { contents, subject: personal.subject };
    data.insert(MEMBER.to_owned(), serde_json::to_value(sealed)?);
    Ok(Recorded { data: serde_json::to_string(&data)?, ..event.clone() })
}

/// Whose key an event takes; `None` for one in its plain form.
pub(crate) fn subject_of(event: &Recorded) -> Option<UserId> {
    #[derive(Deserialize)]
    struct Head {
        sealed: Option<Subject>,
    }
    #[derive(Deserialize)]
    struct Subject {
        subject: UserId,
    }
    if !event.data.contains(MARK) {
        return None;
    }
    serde_json::from_str::<Head>(&event.data).ok()?.sealed.map(|sealed| sealed.subject)
}

/// The plain form of an event. `key_of` gives a user's key: `Err` when it is not known, `None` when
/// it is gone, and the fields with it.
pub(crate) fn open(
    event: &Recorded,
    key_of: impl FnOnce(UserId) -> Result<Option<Key>, Unreadable>,
) -> Result<Recorded, Unreadable> {
    if !event.data.contains(MARK) {
        return Ok(event.clone());
    }
    let mut data: Map<String, Value> =
        serde_json::from_str(&event.data).map_err(Unreadable::Form)?;
    let Some(sealed) = data.remove(MEMBER) else {
        return Ok(event.clone());
    };
    let Sealed { contents, subject } = serde_json::from_value(sealed).map_err(Unreadable::Form)?;
    if let Some(key) = key_of(subject)? {
        let refused = || Unreadable::Refused(subject);
        let mut bytes = STANDARD.decode(contents).map_err(|_| refused())?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN).ok_or_else(refused)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| refused())?;
        let place = Aad::from(place(event).map_err(Unreadable::Form)?);
        let cipher = key.cipher().ok_or_else(refused)?;
        let fields = cipher.open_in_place(nonce, place, sealed).map_err(|_| refused())?;
        let fields: Map<String, Value> =
            serde_json::from_slice(fields).map_err(Unreadable::Form)?;
        data.extend(fields);
    }
    let data = serde_json::to_string(&data).map_err(Unreadable::Form)?;
    Ok(Recorded { data, ..event.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    /// The bytes 0, 1, 2, …
    #[derive(Debug)]
    struct Counting;

    impl Random for Counting {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
            for (byte, number) in bytes.iter_mut().zip(0..) {
                *byte = number;
            }
            Ok(())
        }
    }

    const KEY: Key = Key([7; KEY_BYTES]);

    fn event(data: &str) -> Recorded {
        Recorded {
            source: "tweets".to_owned(),
            position: 3,
            stream_id: "tweet/20".to_owned(),
            version: 1,
            name: "tweet.posted".to_owned(),
            wire_version: 2,
            data: data.to_owned(),
            recorded_at: 1,
        }
    }

    fn personal() -> Personal {
        Personal { subject: UserId::new(12).unwrap(), fields: &["text", "url"] }
    }

    fn value(event: &Recorded) -> Value {
        serde_json::from_str(&event.data).unwrap()
    }

    /// The box was made by another implementation of AES-GCM.
    #[test]
    fn the_sealed_form_stays_as_it_is() {
        let sealed = concat!(
            r#"{"author_id":"12","sealed":{"#,
            r#""box":"AAECAwQFBgcICQoLY6OdFWV9+3NV2oy+nxfx7foMoWhOo9opOy2uJ8o=","#,
            r#""subject":"12"}}"#
        );
        let plain = event(r#"{"author_id":"12","text":"hi"}"#);
        let made = seal(&plain, &personal(), &KEY, &Counting).unwrap();
        assert_eq!(made.data, sealed);
        assert_eq!(made, Recorded { data: made.data.clone(), ..plain.clone() });
        assert_eq!(subject_of(&made), Some(personal().subject));
        assert_eq!(value(&open(&made, |_| Ok(Some(KEY))).unwrap()), value(&plain));
    }

    #[test]
    fn no_two_boxes_are_alike() {
        let plain = event(r#"{"text":"hi"}"#);
        let made = || seal(&plain, &personal(), &KEY, &SystemRandom).unwrap().data;
        assert_ne!(made(), made());
    }

    #[test]
    fn without_a_key_the_fields_are_missing() {
        let plain = event(r#"{"author_id":"12","text":"a \"sealed\":{} text","url":null}"#);
        assert_eq!(subject_of(&plain), None);
        assert_eq!(open(&plain, |_| panic!("a plain event takes no key")).unwrap(), plain);
        let sealed = seal(&plain, &personal(), &KEY, &SystemRandom).unwrap();
        let opened = open(&sealed, |_| Ok(None)).unwrap();
        assert_eq!(opened.data, r#"{"author_id":"12"}"#);
        assert_eq!(value(&open(&sealed, |_| Ok(Some(KEY))).unwrap()), value(&plain));
        let error = open(&sealed, |user_id| Err(Unreadable::NoKey(user_id))).unwrap_err();
        assert!(matches!(error, Unreadable::NoKey(user_id) if user_id == personal().subject));
    }

    #[test]
    fn a_box_opens_at_its_own_place_with_its_own_key_only() {
        let plain = event(r#"{"author_id":"12","text":"hi"}"#);
        let sealed = seal(&plain, &personal(), &KEY, &SystemRandom).unwrap();
        let refused = |event: &Recorded, key: Key| {
            let opened = open(event, |_| Ok(Some(key)));
            assert!(matches!(opened, Err(Unreadable::Refused(_))), "{opened:?}");
        };
        refused(&sealed, Key([8; KEY_BYTES]));
        for elsewhere in [
            Recorded { source: "users".to_owned(), ..sealed.clone() },
            Recorded { stream_id: "tweet/21".to_owned(), ..sealed.clone() },
            Recorded { version: 2, ..sealed.clone() },
            Recorded { name: "tweet.deleted".to_owned(), ..sealed.clone() },
        ] {
            refused(&elsewhere, KEY);
        }
        for contents in
            ["", "AAAA", "?", "AAECAwQFBgcICQoLY6OdFWV9+3NV2oy+nxfx7foMoWhOo9opOy2uJ8o="]
        {
            let sealed = serde_json::json!({ "sealed": { "box": contents, "subject": "12" } });
            refused(&Recorded { version: 9, ..event(&sealed.to_string()) }, KEY);
        }
        for damaged in [r#"{"sealed":{"box":"AA"}}"#, r#"{"sealed":7}"#, r#"{"sealed":{}"#] {
            let opened = open(&event(damaged), |_| Ok(Some(KEY)));
            assert!(matches!(opened, Err(Unreadable::Form(_))), "{opened:?}");
        }
    }
}
