//! When a call is repeated, and after what pause.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::Response;
use tower::retry::budget::TpsBudget;
use tower::util::rng::Rng;

use crate::peers::PeerError;
use crate::random::Random;

/// Attempts at one call, the first one included. What fails three times in a few hundred
/// milliseconds will not work the fourth time.
pub(super) const ATTEMPTS_MAX: usize = 3;

/// The part of the calls that may be repeated, as in Finagle and Linkerd: enough for what goes
/// wrong now and then, too little to keep a service down that has too much to do.
const REPEATED_SHARE_MAX: f32 = 0.2;
/// How long a call counts for that share.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);
/// Repeats a second beside that share, for services that are called seldom.
const SPARE_REPEATS_PER_SECOND: u32 = 1;

/// The first pause; it doubles with each attempt, and up to as much again is added at random, so
/// that callers that failed together do not come back together.
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// A budget for the repeats of one service.
pub(super) fn budget() -> TpsBudget {
    TpsBudget::new(BUDGET_WINDOW, SPARE_REPEATS_PER_SECOND, REPEATED_SHARE_MAX)
}

/// Why an attempt brought no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// There is no connection, so nothing was sent.
    NotSent(Box<dyn Error + Send + Sync>),
    /// The connection broke; the peer may have done what was asked.
    Broken(Box<dyn Error + Send + Sync>),
    /// No answer in time; the peer may yet do what was asked.
    TimedOut,
    /// An answer that says to try again later.
    Busy(Response<Body>),
}

impl Failure {
    /// Whether doing it again cannot do it twice.
    pub(super) fn is_harmless(&self, idempotent: bool) -> bool {
        matches!(self, Self::NotSent(_)) || idempotent
    }

    /// What the caller gets if this was the last attempt.
    pub(super) fn conclude(self, service: &str) -> Result<Response<Body>, PeerError> {
        match self {
            Self::NotSent(source) | Self::Broken(source) => {
                Err(PeerError::Unreachable { service: service.to_owned(), source })
            }
            Self::TimedOut => Err(PeerError::TimedOut(service.to_owned())),
            // Its own words say more than ours would.
            Self::Busy(response) => Ok(response),
        }
    }
}

/// The pauses between the attempts at one call.
#[derive(Debug)]
pub(super) struct Pauses<'a> {
    random: &'a Arc<dyn Random>,
    base: Duration,
}

impl<'a> Pauses<'a> {
    pub(super) fn new(random: &'a Arc<dyn Random>) -> Self {
        Self { random, base: PAUSE_MIN }
    }

    /// The next one.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = jittered(self.base, &**self.random);
        self.base *= 2;
        pause
    }
}

/// A time between `base` and twice that.
pub(super) fn jittered(base: Duration, random: &dyn Random) -> Duration {
    base + base.mul_f64(Draw(random).next_f64())
}

/// Randomness as tower's numbers.
struct Draw<'a>(&'a dyn Random);

impl Rng for Draw<'_> {
    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        // Without randomness pauses are merely equal.
        let _ = self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use tower::retry::budget::Budget;

    use super::*;
    use crate::random::RandomError;

    #[derive(Debug)]
    struct Always(u8);

    impl Random for Always {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
            bytes.fill(self.0);
            Ok(())
        }
    }

    #[test]
    fn pauses_double_and_spread() {
        for (byte, least_ms, most_ms) in [(0, 20, 20), (0x80, 30, 31), (0xff, 39, 40)] {
            let random: Arc<dyn Random> = Arc::new(Always(byte));
            let mut pauses = Pauses::new(&random);
            for factor in [1, 2, 4] {
                let pause_ms = pauses.pause().as_millis();
                assert!((least_ms * factor..=most_ms * factor).contains(&pause_ms), "{pause_ms}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_fifth_of_the_calls_and_a_few_are_repeated() {
        let budget = budget();
        for _ in 0..500 {
            budget.deposit();
        }
        let repeats = (0..500).filter(|_| budget.withdraw()).count();
        assert_eq!(repeats, 100 + 10);
        tokio::time::advance(BUDGET_WINDOW * 2).await;
        assert_eq!((0..500).filter(|_| budget.withdraw()).count(), 10);
    }
}
