//! Places at which a test can end the process, as a power cut would: `PILLION_CRASH_AT=NAME:N`
//! aborts when the N-th caller comes by the place of that name. Only in builds with the feature
//! `crash-points`, which no release has.

/// A place at which a test can end the process.
macro_rules! crash_point {
    ($name:literal) => {
        #[cfg(feature = "crash-points")]
        $crate::crash::pass($name);
    };
}
pub(crate) use crash_point;

/// Comes by a place.
#[cfg(feature = "crash-points")]
pub(crate) fn pass(name: &str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicI64, Ordering};

    static AT: LazyLock<Option<(String, AtomicI64)>> = LazyLock::new(|| {
        let at = std::env::var("PILLION_CRASH_AT").ok()?;
        let (name, count) = at.rsplit_once(':')?;
        Some((name.to_owned(), AtomicI64::new(count.parse().ok()?)))
    });
    if let Some((at, left)) = &*AT
        && at == name
        && left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        std::process::abort();
    }
}
