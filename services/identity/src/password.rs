//! Hashes and checks passwords: slow on purpose, so never on the threads that serve requests and
//! never more at once than the machine can bear.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{self, PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use pillion_chassis::random::RandomError;
use pillion_chassis::{Problem, Random};
use tokio::sync::{Semaphore, TryAcquireError, oneshot};

use crate::secret::Secret;

/// The memory of one hash: what OWASP recommends with [`PASSES`].
const MEMORY_KIB: u32 = 19_456;
/// How often a hash goes over its memory.
const PASSES: u32 = 2;
/// How many lanes a hash has.
const LANES: u32 = 1;
/// RFC 9106's recommendation.
const SALT_BYTES: usize = 16;

/// Whom a hash is for. Registrations take turns with each other, so that however many there are,
/// log-ins have at least half of the threads and a queue of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    LogIn,
    Registration,
}

/// Hashes at once: each takes a core for some 30 ms, and the rest of the process needs one too.
const RUNNING_MAX: usize = 2;
/// Hashes that wait: at 15 ms a place the last one waits half a second, which a person who logs
/// in bears. More would only wait for nothing.
const WAITING_MAX: usize = 32;
/// Registrations that wait: nobody minds when that takes a moment longer.
const REGISTRATIONS_WAITING_MAX: usize = 16;
/// A full queue has emptied after about this long.
const RETRY_AFTER_S: u32 = 1;

/// The shortest password, in characters (NIST SP 800-63B).
const PASSWORD_CHARS_MIN: usize = 8;
/// The longest password, in characters: room for any phrase, bounded work for us.
const PASSWORD_CHARS_MAX: usize = 128;

/// Hashes and checks passwords.
#[derive(Debug)]
pub(crate) struct Passwords {
    random: Arc<dyn Random>,
    queue: Arc<Semaphore>,
    registrations: Arc<Semaphore>,
    /// Held by the one registration whose turn it is.
    registration: Arc<Semaphore>,
    running: Arc<Semaphore>,
    threads: Threads,
    /// The hash of a password that nobody knows: checked against when there is no account, so
    /// that the answer takes as long.
    decoy: String,
}

/// Why a password was neither hashed nor checked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PasswordError {
    #[error("too many passwords are being checked")]
    Busy,
    #[error(transparent)]
    Random(#[from] RandomError),
    #[error("a password hash cannot be made or read: {0}")]
    Hash(password_hash::Error),
    #[error("the threads that hash passwords cannot be started")]
    Threads(#[from] std::io::Error),
    #[error("a thread that hashes passwords panicked")]
    Lost(#[from] oneshot::error::RecvError),
}

impl From<PasswordError> for Problem {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Self::unavailable(
                "Too many logins and registrations are under way; try again.",
                RETRY_AFTER_S,
            ),
            other => Self::internal(&other),
        }
    }
}

impl Passwords {
    /// Makes the decoy, which takes as long as a hash does.
    pub(crate) async fn start(random: Arc<dyn Random>) -> Result<Self, PasswordError> {
        let mut passwords = Self {
            queue: Arc::new(Semaphore::new(RUNNING_MAX + WAITING_MAX)),
            registrations: Arc::new(Semaphore::new(1 + REGISTRATIONS_WAITING_MAX)),
            registration: Arc::new(Semaphore::new(1)),
            running: Arc::new(Semaphore::new(RUNNING_MAX)),
            threads: Threads::start()?,
            decoy: String::new(),
            random,
        };
        let unknown = Secret::generate(&*passwords.random)?;
        passwords.decoy = passwords.hash(unknown).await?;
        Ok(passwords)
    }

    /// The PHC string of a password, for a registration.
    pub(crate) async fn hash(&self, password: Secret) -> Result<String, PasswordError> {
        let mut salt = [0; SALT_BYTES];
        self.random.fill(&mut salt)?;
        self.run(Lane::Registration, move || {
            let params =
                Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(password_hash::Error::from)?;
            let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            let hash = argon2.hash_password_with_salt(password.reveal().as_bytes(), &salt)?;
            Ok(hash.to_string())
        })
        .await
    }

    /// Whether the password is the one with this hash; takes as long and is never so if there is
    /// no hash.
    pub(crate) async fn verify(
        &self,
        password: Secret,
        hash: Option<String>,
        lane: Lane,
    ) -> Result<bool, PasswordError> {
        let exists = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.decoy.clone());
        self.run(lane, move || {
            let hash = PasswordHash::new(&hash)?;
            // The parameters are those of the stored hash, which may be older than ours.
            match Argon2::default().verify_password(password.reveal().as_bytes(), &hash) {
                Ok(()) => Ok(exists),
                Err(password_hash::Error::PasswordInvalid) => Ok(false),
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// Takes every place of the queue of registrations until the result is dropped.
    #[cfg(test)]
    pub(crate) fn take_every_registration(&self) -> tokio::sync::OwnedSemaphorePermit {
        let places = 1 + REGISTRATIONS_WAITING_MAX;
        let places = u32::try_from(places).unwrap();
        self.registrations.clone().try_acquire_many_owned(places).unwrap()
    }

    async fn run<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce() -> password_hash::Result<T> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let queue = match lane {
            Lane::LogIn => &self.queue,
            Lane::Registration => &self.registrations,
        };
        let place = match queue.clone().try_acquire_owned() {
            Ok(place) => place,
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => {
                return Err(PasswordError::Busy);
            }
        };
        let registration = match lane {
            Lane::LogIn => None,
            Lane::Registration => {
                let turn = self.registration.clone().acquire_owned().await;
                Some(turn.map_err(|_| PasswordError::Busy)?)
            }
        };
        let turn = self.running.clone().acquire_owned().await.map_err(|_| PasswordError::Busy)?;
        let (tell, done) = oneshot::channel();
        self.threads.run(move || {
            // Held until the work is done, even when the one who asked has gone; and no longer, so
            // that who has an answer finds the place free.
            let done = work();
            drop((place, registration, turn));
            // Nobody may listen any more.
            let _ = tell.send(done);
        });
        done.await?.map_err(PasswordError::Hash)
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// The threads that do nothing else, [`RUNNING_MAX`] of them. The runtime's own threads for slow
/// work come and go, and each would keep the memory of its last hash.
#[derive(Debug)]
struct Threads(mpsc::Sender<Job>);

impl Threads {
    /// They end when this is dropped.
    fn start() -> Result<Self, std::io::Error> {
        let (sender, jobs) = mpsc::channel::<Job>();
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..RUNNING_MAX {
            let jobs = Arc::clone(&jobs);
            std::thread::Builder::new().name("passwords".to_owned()).spawn(move || {
                loop {
                    let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(job) = job else { return };
                    // The panic hook has told it; the other jobs need this thread.
                    let _ = catch_unwind(AssertUnwindSafe(job));
                }
            })?;
        }
        Ok(Self(sender))
    }

    fn run(&self, job: impl FnOnce() + Send + 'static) {
        // The threads outlive the sender, and a job that is lost drops what it would answer by.
        let _ = self.0.send(Box::new(job));
    }
}

/// Refuses passwords that are too short or too long.
pub(crate) fn check_length(password: &Secret) -> Result<(), Problem> {
    let chars = password.reveal().chars().count();
    if (PASSWORD_CHARS_MIN..=PASSWORD_CHARS_MAX).contains(&chars) {
        return Ok(());
    }
    // The password itself is not sent back: answers end up in logs.
    Err(Problem::invalid(
        "password",
        None,
        format!(
            "`password` has {chars} characters; it must have {PASSWORD_CHARS_MIN} to \
             {PASSWORD_CHARS_MAX}"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use pillion_chassis::SystemRandom;

    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::presented(text.to_owned())
    }

    async fn passwords() -> Arc<Passwords> {
        Arc::new(Passwords::start(Arc::new(SystemRandom)).await.unwrap())
    }

    #[tokio::test]
    async fn a_hash_tells_its_parameters_and_only_fits_its_password() {
        let passwords = passwords().await;
        let hash = passwords.hash(secret("correct horse")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, passwords.hash(secret("correct horse")).await.unwrap());
        assert!(
            passwords
                .verify(secret("correct horse"), Some(hash.clone()), Lane::LogIn)
                .await
                .unwrap()
        );
        assert!(!passwords.verify(secret("correct hors"), Some(hash), Lane::LogIn).await.unwrap());
    }

    #[tokio::test]
    async fn no_account_takes_as_long_as_a_wrong_password() {
        let passwords = passwords().await;
        let hash = passwords.hash(secret("correct horse")).await.unwrap();
        let mut times = Vec::new();
        for hash in [Some(hash), None] {
            let started = Instant::now();
            assert!(!passwords.verify(secret("wrong"), hash, Lane::LogIn).await.unwrap());
            times.push(started.elapsed().as_secs_f64());
        }
        // The same work; ten times leaves room for a busy machine, none would be a thousand.
        assert!(times[1] * 10.0 > times[0], "{times:?}");
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_then_recovers() {
        let passwords = passwords().await;
        let all: Vec<_> = (0..RUNNING_MAX + WAITING_MAX + 5)
            .map(|_| {
                let passwords = passwords.clone();
                tokio::spawn(async move { passwords.verify(secret("x"), None, Lane::LogIn).await })
            })
            .collect();
        let mut busy = 0;
        for task in all {
            if let Err(error) = task.await.unwrap() {
                assert!(matches!(error, PasswordError::Busy), "{error}");
                busy += 1;
            }
        }
        assert_eq!(busy, 5);
        assert!(!passwords.verify(secret("x"), None, Lane::LogIn).await.unwrap());
    }

    #[tokio::test]
    async fn i06_registrations_do_not_starve_log_ins() {
        let passwords = passwords().await;
        let registrations: Vec<_> = (0..100)
            .map(|_| {
                let passwords = passwords.clone();
                tokio::spawn(async move { passwords.hash(secret("another one")).await })
            })
            .collect();
        while passwords.registrations.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        for _ in 0..4 {
            assert!(!passwords.verify(secret("x"), None, Lane::LogIn).await.unwrap());
            // Each log-in takes its turn before most of the registrations that were there first.
            let waiting = REGISTRATIONS_WAITING_MAX - passwords.registrations.available_permits();
            assert!(waiting > 4, "{waiting} registrations wait");
        }
        let mut busy = 0;
        for registration in registrations {
            busy += usize::from(registration.await.unwrap().is_err());
        }
        assert_eq!(busy, 100 - 1 - REGISTRATIONS_WAITING_MAX);
    }

    #[test]
    fn lengths_count_characters() {
        assert!(check_length(&secret("ü234567")).is_err());
        assert!(check_length(&secret("ü2345678")).is_ok());
        assert!(check_length(&secret(&"語".repeat(128))).is_ok());
        let problem = check_length(&secret(&"a".repeat(129))).unwrap_err();
        assert!(!serde_json::to_string(problem.document()).unwrap().contains("aaa"));
    }
}
