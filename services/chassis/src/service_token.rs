//! What services show each other when they act on their own behalf: tokens signed with a key that
//! all processes of a deployment share, apart from identity's, so that a step of a saga needs
//! nobody's leave but the participant's.
//!
//! A token is a JWT as identity's are, but its key id begins with `service-`, its subject and
//! client are `service:NAME`, and its scope is [`SCOPE`] alone: the auth plugin takes a key of
//! that kind for nobody else, so that it can stand for no user and no application.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderName, HeaderValue};
use ring::digest::{SHA256, digest};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::json;

use crate::clock::{Clock, Timestamp};
use crate::random::{Random, RandomError};

/// All that a service's token is good for.
pub const SCOPE: &str = "internal.saga";
/// What ids of service keys begin with; identity's are digests, which are shorter.
pub const KEY_ID_PREFIX: &str = "service-";

/// The header in which a service shows its own token beside that of the caller it acts for.
pub const SERVICE_AUTHORIZATION: HeaderName =
    HeaderName::from_static("pillion-service-authorization");

/// A call takes seconds at most.
const TOKEN_TTL: Duration = Duration::from_mins(1);
/// For how long one token is used: afterwards it has enough time left for the slowest call.
const TOKEN_USED: Duration = Duration::from_secs(30);
/// A deployment has one key, and while it is changed two.
const KEYS_MAX: usize = 8;
/// A PEM section of an Ed25519 key has some 120 bytes; more is the wrong file.
const FILE_BYTES_MAX: u64 = 16 << 10;
/// The length of an Ed25519 seed.
const SEED_BYTES: usize = 32;
/// What stands before the seed of an Ed25519 key in PKCS #8 (RFC 8410, section 7).
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// The keys that all processes of a deployment share. Clones are the same.
#[derive(Debug, Clone)]
pub struct ServiceKeys {
    signing: Arc<ServiceKey>,
    all: Arc<[Arc<ServiceKey>]>,
}

/// One key pair.
#[derive(Debug)]
pub struct ServiceKey {
    id: String,
    pair: Ed25519KeyPair,
}

/// Why there is no key. The message names the file and the way out.
#[derive(Debug, thiserror::Error)]
pub enum ServiceKeyError {
    /// The file is not there, or not ours to read.
    #[error("cannot read the service key {}: {source}; {}", .path.display(), advice(.source))]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file cannot be made.
    #[error("cannot make the service key {}: {source}", .path.display())]
    Make {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file holds something else.
    #[error(
        "the service key {} {reason}; it must hold Ed25519 keys as PEM (PRIVATE KEY), the first of \
         which signs: `pillion certs service-key FILE` makes one", .path.display()
    )]
    NotAKey {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::NotFound => {
            "all processes of a deployment share this file: `pillion certs service-key FILE` makes \
             it once, and each host gets a copy"
        }
        ErrorKind::PermissionDenied => "let the user that runs Pillion read it",
        _ => "it must be a file that the user who runs Pillion can read",
    }
}

impl ServiceKeys {
    /// Reads the keys of a file.
    pub fn open(path: &Path) -> Result<Self, ServiceKeyError> {
        let read = |source| ServiceKeyError::Read { path: path.to_owned(), source };
        let bytes = fs::metadata(path).map_err(read)?.len();
        if bytes > FILE_BYTES_MAX {
            return Err(ServiceKeyError::NotAKey {
                path: path.to_owned(),
                reason: format!("has {bytes} bytes, and at most {FILE_BYTES_MAX} are keys"),
            });
        }
        let text = fs::read(path).map_err(read)?;
        Self::of_pem(&text)
            .map_err(|reason| ServiceKeyError::NotAKey { path: path.to_owned(), reason })
    }

    /// The same, but makes the file if it is not there. Of several processes that begin at the
    /// same time one makes it, and all have its key.
    pub fn open_or_make(path: &Path, random: &dyn Random) -> Result<Self, ServiceKeyError> {
        match Self::open(path) {
            Err(ServiceKeyError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => {
                match Self::make(path, random) {
                    // Another process was faster.
                    Err(ServiceKeyError::Make { source, .. })
                        if source.kind() == ErrorKind::AlreadyExists => {}
                    made => made?,
                }
                Self::open(path)
            }
            opened => opened,
        }
    }

    /// Makes a file with a new key, which must not be there yet: whole or not at all, and its
    /// owner's alone.
    pub fn make(path: &Path, random: &dyn Random) -> Result<(), ServiceKeyError> {
        let mut der = [0; PKCS8_PREFIX.len() + SEED_BYTES];
        let (prefix, seed) = der.split_at_mut(PKCS8_PREFIX.len());
        prefix.copy_from_slice(&PKCS8_PREFIX);
        random.fill(seed)?;
        let mut suffix = [0; 8];
        random.fill(&mut suffix)?;
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(der)
        );
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let aside = folder.join(format!(".service-key.{:016x}.new", u64::from_le_bytes(suffix)));
        let written = || -> io::Result<()> {
            let mut file =
                (OpenOptions::new().create_new(true).write(true).mode(0o600)).open(&aside)?;
            file.write_all(pem.as_bytes())?;
            file.sync_all()?;
            // Unlike a rename, a link takes nobody else's place.
            let linked = fs::hard_link(&aside, path);
            fs::remove_file(&aside)?;
            linked?;
            File::open(folder)?.sync_all()
        };
        written().map_err(|source| ServiceKeyError::Make { path: path.to_owned(), source })
    }

    /// Keys that nobody else has, for as long as the process runs.
    pub fn passing(random: &dyn Random) -> Result<Self, ServiceKeyError> {
        let mut seed = [0; SEED_BYTES];
        random.fill(&mut seed)?;
        // 32 bytes are always a seed.
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| RandomError)?;
        let signing = Arc::new(ServiceKey::of(pair));
        Ok(Self { all: [Arc::clone(&signing)].into(), signing })
    }

    fn of_pem(text: &[u8]) -> Result<Self, String> {
        let mut keys = Vec::new();
        for section in PrivatePkcs8KeyDer::pem_slice_iter(text) {
            let der = section.map_err(|error| format!("is damaged: {error}"))?;
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der())
                .map_err(|error| format!("holds a key that is not of Ed25519 ({error})"))?;
            keys.push(Arc::new(ServiceKey::of(pair)));
        }
        if keys.len() > KEYS_MAX {
            return Err(format!("holds {} keys; at most {KEYS_MAX} are of use", keys.len()));
        }
        let signing = Arc::clone(keys.first().ok_or("holds no key")?);
        Ok(Self { signing, all: keys.into() })
    }

    /// All keys, whose tokens are to be accepted.
    pub fn iter(&self) -> impl Iterator<Item = &ServiceKey> {
        self.all.iter().map(AsRef::as_ref)
    }
}

impl ServiceKey {
    fn of(pair: Ed25519KeyPair) -> Self {
        // Not the thumbprint itself, which would name the same key among identity's.
        let digest = URL_SAFE_NO_PAD.encode(digest(&SHA256, pair.public_key().as_ref()));
        Self { id: format!("{KEY_ID_PREFIX}{digest}"), pair }
    }

    /// Its name in the header of tokens.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The public half, 32 bytes.
    pub fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }
}

/// Makes a service's tokens.
pub struct ServiceTokens {
    /// `service:NAME`.
    subject: String,
    keys: ServiceKeys,
    issuer: String,
    audience: String,
    clock: Arc<dyn Clock>,
    /// Tells tokens of different processes and starts apart.
    process: u64,
    next: AtomicU64,
    current: Mutex<Option<Minted>>,
}

#[derive(Clone)]
struct Minted {
    at: Timestamp,
    bearer: HeaderValue,
}

impl ServiceTokens {
    /// For a service; issuer and audience are those of identity's tokens, which the same plugin
    /// checks.
    pub fn new(
        service: &str,
        keys: ServiceKeys,
        issuer: &str,
        audience: &str,
        clock: Arc<dyn Clock>,
        random: &dyn Random,
    ) -> Result<Self, RandomError> {
        let mut process = [0; 8];
        random.fill(&mut process)?;
        Ok(Self {
            subject: format!("service:{service}"),
            keys,
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            clock,
            process: u64::from_le_bytes(process),
            next: AtomicU64::new(0),
            current: Mutex::new(None),
        })
    }

    /// The value of `authorization` for a call that begins now.
    pub fn bearer(&self) -> HeaderValue {
        let now = self.clock.now();
        // No code that holds the lock can panic.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(minted) = current.as_ref()
            // A clock that was put back would make the token one of the future.
            && (0..micros(TOKEN_USED)).contains(&(now.as_micros() - minted.at.as_micros()))
        {
            return minted.bearer.clone();
        }
        let bearer = self.mint(now);
        *current = Some(Minted { at: now, bearer: bearer.clone() });
        bearer
    }

    fn mint(&self, now: Timestamp) -> HeaderValue {
        let key = &self.keys.signing;
        let issued_at = now.as_secs();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let claims = json!({
            "iss": self.issuer,
            "aud": self.audience,
            "sub": self.subject,
            "client_id": self.subject,
            "scope": SCOPE,
            "iat": issued_at,
            "nbf": issued_at,
            "exp": issued_at.saturating_add(TOKEN_TTL.as_secs()),
            "jti": format!("{:016x}-{number:x}", self.process),
        });
        let header = json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": key.id });
        let mut token = "Bearer ".to_owned();
        let begin = token.len();
        URL_SAFE_NO_PAD.encode_string(header.to_string(), &mut token);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims.to_string(), &mut token);
        let signed = token.get(begin..).unwrap_or_default();
        let signature = key.pair.sign(signed.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        // Letters, digits, `-`, `_` and dots: always the value of a header.
        let mut bearer =
            HeaderValue::try_from(token).unwrap_or(HeaderValue::from_static("Bearer none"));
        bearer.set_sensitive(true);
        bearer
    }
}

/// Without the token: it is worth something for a minute.
impl std::fmt::Debug for ServiceTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceTokens").field("subject", &self.subject).finish_non_exhaustive()
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

mod verify;

pub use verify::ServiceVerifier;

#[cfg(test)]
mod tests;
