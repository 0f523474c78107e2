//! Patience at a process's start. Servers may start later than the process that needs them, and a
//! machine on which everything starts at once is slow. Once the process runs, its callers are not
//! kept waiting: then the short bounds hold.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long a start waits for a server, all tries together.
pub const START_TIME_MAX: Duration = Duration::from_secs(30);

/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// Tries again while `passes` says of the error that the same may go well a little later, for
/// `time_max` (zero: once). Each try in vain is a line in the log; what the last one said is the
/// error, which must name the server and what to do.
pub async fn patiently<T, E: Display>(
    time_max: Duration,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
    passes: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let end = Instant::now() + time_max;
    loop {
        match attempt().await {
            Err(error) if passes(&error) && Instant::now() + PAUSE < end => {
                let left_s = end.duration_since(Instant::now()).as_secs();
                // With its causes, where it knows how to tell them.
                tracing::warn!(
                    error = format!("{error:#}"),
                    left_s,
                    "the start waits for a server"
                );
                sleep(PAUSE).await;
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails so many times; gives the tries and how it ended.
    async fn tried(failures: u32, time_max: Duration, error: &str) -> (u32, Result<(), String>) {
        let mut tries = 0;
        let ended = patiently(
            time_max,
            async || {
                tries += 1;
                if tries > failures { Ok(()) } else { Err(error.to_owned()) }
            },
            |error| error == "not there yet",
        )
        .await;
        (tries, ended)
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_tried_for_a_while_and_what_does_not_once() {
        let began = Instant::now();
        assert_eq!(tried(3, START_TIME_MAX, "not there yet").await, (4, Ok(())));
        assert_eq!(began.elapsed(), 3 * PAUSE);
        let wrong = Err("wrong password".to_owned());
        assert_eq!(tried(3, START_TIME_MAX, "wrong password").await, (1, wrong));
        let never = Err("not there yet".to_owned());
        assert_eq!(tried(3, Duration::ZERO, "not there yet").await, (1, never.clone()));
        let began = Instant::now();
        assert_eq!(tried(u32::MAX, START_TIME_MAX, "not there yet").await, (30, never));
        assert!(began.elapsed() <= START_TIME_MAX);
    }
}
