//! Places at which a test can end the process, as a power cut would: `PILLION_CRASH_AT=PLACE:N`
//! aborts when the N-th caller comes by that place. A place is a name, and words that tell of what
//! it was passed for: `saga.send.before change_handle users.swap PUT`. `PILLION_CRASH_TRACE` names
//! a file to which each place is added that somebody comes by. And
//! `PILLION_REFUSE="SAGA STEP MEMBER TEXT"` has the participant refuse that step of the sagas
//! whose data's member begins with that text; several are separated by commas.
//! `PILLION_PANIC=FOLDER` has each worker whose name is the name of a file there remove that file
//! and panic. Only in builds with the feature `crash-points`, which no release has.

/// A place at which a test can end the process: its name, and words that tell it from others of
/// the name. With a transaction, the place is behind its commit.
macro_rules! crash_point {
    (after $transaction:expr, $name:literal $(, $word:expr)*) => {
        #[cfg(feature = "crash-points")]
        {
            let place = $crate::crash::place(&[$name $(, $word)*]);
            $transaction.after_commit(move || {
                if let Some(place) = place {
                    $crate::crash::pass(&place);
                }
            });
        }
    };
    ($name:literal $(, $word:expr)*) => {
        #[cfg(feature = "crash-points")]
        if let Some(place) = $crate::crash::place(&[$name $(, $word)*]) {
            $crate::crash::pass(&place);
        }
    };
}
pub(crate) use crash_point;

#[cfg(feature = "crash-points")]
pub(crate) use armed::{panicking_on_demand, pass, place, refusal};

#[cfg(feature = "crash-points")]
mod armed {
    use std::fs::File;
    use std::io::Write as _;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::sync::{LazyLock, Mutex, PoisonError};
    use std::time::Duration;

    use serde_json::Value;

    /// Where the process ends, and how many may come by until then.
    static AT: LazyLock<Option<(String, AtomicI64)>> = LazyLock::new(|| {
        let at = std::env::var("PILLION_CRASH_AT").ok()?;
        let (place, count) = at.rsplit_once(':')?;
        Some((place.to_owned(), AtomicI64::new(count.parse().ok()?)))
    });

    /// Where the places are written down that somebody comes by.
    static TRACE: LazyLock<Option<Mutex<File>>> = LazyLock::new(|| {
        let path = std::env::var_os("PILLION_CRASH_TRACE")?;
        let file = File::options().create(true).append(true).open(path).ok()?;
        Some(Mutex::new(file))
    });

    /// What is refused: a saga, its step, a member of its data and how that begins.
    static REFUSED: LazyLock<Vec<[String; 4]>> = LazyLock::new(|| {
        let refused = std::env::var("PILLION_REFUSE").unwrap_or_default();
        let refused = refused.split(',').filter_map(|entry| {
            let words: Vec<String> = entry.split_whitespace().map(str::to_owned).collect();
            words.try_into().ok()
        });
        refused.collect()
    });

    /// A place in one text, unless no test wants to know.
    pub(crate) fn place(words: &[&str]) -> Option<String> {
        (AT.is_some() || TRACE.is_some()).then(|| words.join(" "))
    }

    /// Comes by a place.
    pub(crate) fn pass(place: &str) {
        if let Some(trace) = &*TRACE {
            let mut file = trace.lock().unwrap_or_else(PoisonError::into_inner);
            if writeln!(file, "{place}").is_err() {
                // A test that goes by half a trace would miss what it is about.
                std::process::abort();
            }
        }
        if let Some((at, left)) = &*AT
            && at == place
            && left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            std::process::abort();
        }
    }

    /// Where the names of workers are looked for that are to panic.
    static PANICS: LazyLock<Option<PathBuf>> =
        LazyLock::new(|| std::env::var_os("PILLION_PANIC").map(PathBuf::from));

    /// How soon a worker panics after a test asked for it.
    const PANIC_LOOK_INTERVAL: Duration = Duration::from_millis(20);

    /// Runs a worker until it ends, or panics because a test asked for it.
    pub(crate) async fn panicking_on_demand(worker: String, run: impl Future<Output = ()>) {
        let Some(folder) = &*PANICS else {
            return run.await;
        };
        let asked = async {
            while std::fs::remove_file(folder.join(&worker)).is_err() {
                tokio::time::sleep(PANIC_LOOK_INTERVAL).await;
            }
        };
        tokio::select! {
            () = run => {}
            () = asked => panic!("a test had the worker {worker} panic"),
        }
    }

    /// Whether a test has this step refused.
    pub(crate) fn refusal(saga: &str, step: &str, data: &Value) -> bool {
        REFUSED.iter().any(|[of_saga, of_step, member, text]| {
            let value = data.get(member);
            let value = value.map(|value| value.as_str().map_or(value.to_string(), str::to_owned));
            of_saga == saga && of_step == step && value.is_some_and(|value| value.starts_with(text))
        })
    }
}
