//! What the key encryption key protects: private keys at rest, and secrets that are derived so
//! that they need not be stored.
//!
//! All processes of the service share the key. From it come, by HKDF, one key for each purpose.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use pillion_chassis::Random;
use pillion_chassis::random::RandomError;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::{hkdf, hmac};

/// The length of the key encryption key.
const KEY_BYTES: usize = 32;

/// A key in base64 with a line feed; more is the wrong file.
const FILE_BYTES_MAX: u64 = 256;

/// The key encryption key.
#[derive(Clone)]
pub struct KeyEncryptionKey([u8; KEY_BYTES]);

/// Why there is no key encryption key. The message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyEncryptionKeyError {
    /// The text is not a key.
    #[error(
        "{place}: expected {KEY_BYTES} random bytes in base64: `head -c {KEY_BYTES} /dev/urandom | \
         base64` makes some"
    )]
    NotAKey {
        /// The variable or the file.
        place: String,
    },
    /// The file cannot be read or made.
    #[error("cannot read the key encryption key {}: {source}", .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is no randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl KeyEncryptionKey {
    /// The key in base64, with or without padding; `place` is where it came from, for messages.
    pub fn parse(text: &str, place: &str) -> Result<Self, KeyEncryptionKeyError> {
        let text = text.trim();
        let bytes = STANDARD.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text)).ok();
        let key = bytes.and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes).ok());
        key.map(Self).ok_or_else(|| KeyEncryptionKeyError::NotAKey { place: place.to_owned() })
    }

    /// Reads the key of a file.
    pub fn open(path: &Path) -> Result<Self, KeyEncryptionKeyError> {
        let failed = |source| KeyEncryptionKeyError::File { path: path.to_owned(), source };
        let place = || path.display().to_string();
        if fs::metadata(path).map_err(failed)?.len() > FILE_BYTES_MAX {
            return Err(KeyEncryptionKeyError::NotAKey { place: place() });
        }
        Self::parse(&fs::read_to_string(path).map_err(failed)?, &place())
    }

    /// A new key, as text for a file.
    pub fn generate(random: &dyn Random) -> Result<String, RandomError> {
        let mut bytes = [0; KEY_BYTES];
        random.fill(&mut bytes)?;
        Ok(STANDARD.encode(bytes) + "\n")
    }

    /// Reads the key of a file, or makes the file with `write`, which must fail with
    /// `AlreadyExists` when another process was faster.
    pub fn open_or_make(
        path: &Path,
        random: &dyn Random,
        write: impl FnOnce(&Path, &str) -> std::io::Result<()>,
    ) -> Result<Self, KeyEncryptionKeyError> {
        match Self::open(path) {
            Err(KeyEncryptionKeyError::File { source, .. })
                if source.kind() == ErrorKind::NotFound =>
            {
                match write(path, &Self::generate(random)?) {
                    Err(source) if source.kind() != ErrorKind::AlreadyExists => {
                        Err(KeyEncryptionKeyError::File { path: path.to_owned(), source })
                    }
                    _ => Self::open(path),
                }
            }
            opened => opened,
        }
    }
}

/// Without the key.
impl std::fmt::Debug for KeyEncryptionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyEncryptionKey(..)")
    }
}

/// What the key encryption key is used for.
pub(crate) struct Vault {
    seeds: LessSafeKey,
    successors: hmac::Key,
    tickets: hmac::Key,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault(..)")
    }
}

/// Why something was not encrypted, decrypted or derived.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VaultError {
    #[error(
        "a signing key in the database was encrypted with another key encryption key: all \
         processes of identity need the one that the first of them used (PILLION_KEY_ENCRYPTION_KEY \
         or tokens.key_encryption_key)"
    )]
    OtherKey,
    #[error("the cipher failed")]
    Cipher,
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl Vault {
    pub(crate) fn new(key: &KeyEncryptionKey) -> Result<Self, VaultError> {
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, b"pillion-identity").extract(&key.0);
        let expand = |purpose: &[u8]| {
            let mut bytes = [0; KEY_BYTES];
            extracted
                .expand(&[purpose], hkdf::HKDF_SHA256)
                .and_then(|expanded| expanded.fill(&mut bytes))
                .map_err(|_| VaultError::Cipher)?;
            Ok::<_, VaultError>(bytes)
        };
        let seeds = UnboundKey::new(&AES_256_GCM, &expand(b"signing-key-seeds")?)
            .map_err(|_| VaultError::Cipher)?;
        Ok(Self {
            seeds: LessSafeKey::new(seeds),
            successors: hmac::Key::new(hmac::HMAC_SHA256, &expand(b"refresh-token-successors")?),
            tickets: hmac::Key::new(hmac::HMAC_SHA256, &expand(b"page-tickets")?),
        })
    }

    /// Encrypts the seed of a signing key, bound to its `kid`: nonce, ciphertext, tag.
    pub(crate) fn seal(
        &self,
        kid: &str,
        seed: &[u8],
        random: &dyn Random,
    ) -> Result<Vec<u8>, VaultError> {
        let mut nonce = [0; NONCE_LEN];
        random.fill(&mut nonce)?;
        let mut sealed = seed.to_vec();
        self.seeds
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(kid.as_bytes()),
                &mut sealed,
            )
            .map_err(|_| VaultError::Cipher)?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Decrypts a seed.
    pub(crate) fn open(&self, kid: &str, sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
        let (nonce, sealed) =
            sealed.split_first_chunk::<NONCE_LEN>().ok_or(VaultError::OtherKey)?;
        let mut seed = sealed.to_vec();
        let aad = Aad::from(kid.as_bytes());
        let opened = self
            .seeds
            .open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut seed)
            .map_err(|_| VaultError::OtherKey)?;
        Ok(opened.to_vec())
    }

    /// What follows from a refresh token, and from nothing but that token and the key: the same in
    /// every process and however often it is asked for. `purpose` tells its uses apart.
    pub(crate) fn successor(&self, purpose: &str, token: &str) -> [u8; 32] {
        tag(&self.successors, &[purpose, "\n", token])
    }

    /// The authenticator of what a page carries from one form to the next.
    pub(crate) fn ticket(&self, contents: &str) -> [u8; 32] {
        tag(&self.tickets, &[contents])
    }
}

fn tag(key: &hmac::Key, parts: &[&str]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(part.as_bytes());
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.sign().as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use pillion_chassis::SystemRandom;

    use super::*;

    fn vault(byte: u8) -> Vault {
        Vault::new(&KeyEncryptionKey([byte; KEY_BYTES])).unwrap()
    }

    #[test]
    fn i09_a_seed_opens_with_its_own_key_and_name_only() {
        let sealed = vault(1).seal("kid", &[7; 32], &SystemRandom).unwrap();
        assert!(!sealed.windows(32).any(|window| window == [7; 32]));
        assert_eq!(vault(1).open("kid", &sealed).unwrap(), [7; 32]);
        for wrong in [
            vault(2).open("kid", &sealed),
            vault(1).open("other", &sealed),
            vault(1).open("kid", &sealed[1..]),
            vault(1).open("kid", &[7; 32]),
        ] {
            assert!(matches!(wrong, Err(VaultError::OtherKey)), "{wrong:?}");
        }
    }

    #[test]
    fn i09_a_key_is_read_from_text_and_made_once() {
        let text = KeyEncryptionKey::generate(&SystemRandom).unwrap();
        assert!(KeyEncryptionKey::parse(&text, "here").is_ok());
        for wrong in ["", "short", &format!("{}A", text.trim())] {
            let error = KeyEncryptionKey::parse(wrong, "HERE").unwrap_err().to_string();
            assert!(error.starts_with("HERE: expected 32 random bytes"), "{error}");
        }
        let path = std::env::temp_dir().join(format!("pillion-kek-{}", std::process::id()));
        let write = |path: &Path, text: &str| {
            use std::io::Write as _;
            fs::OpenOptions::new()
                .create_new(true)
                .write(true)
                .open(path)?
                .write_all(text.as_bytes())
        };
        let made = KeyEncryptionKey::open_or_make(&path, &SystemRandom, write).unwrap();
        let again = KeyEncryptionKey::open_or_make(&path, &SystemRandom, |_, _| panic!()).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(made.0, again.0);
    }

    #[test]
    fn successors_differ_by_token_purpose_and_key() {
        let of = |key, purpose, token| vault(key).successor(purpose, token);
        let first = of(1, "a", "t");
        assert_eq!(first, of(1, "a", "t"));
        for other in [of(2, "a", "t"), of(1, "b", "t"), of(1, "a", "u")] {
            assert_ne!(first, other);
        }
    }
}
