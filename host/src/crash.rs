//! Places at which a test can end the process, as a power cut would: `PILLION_CRASH_AT=PLACE:N`
//! aborts when the N-th caller passes that place. Only in builds with the feature `crash-points`,
//! which no release has.

/// Passes a place.
#[cfg(not(feature = "crash-points"))]
pub(crate) const fn point(_: &str) {}

/// Passes a place.
#[cfg(feature = "crash-points")]
pub(crate) fn point(place: &str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicI64, Ordering};

    static AT: LazyLock<Option<(String, AtomicI64)>> = LazyLock::new(|| {
        let at = std::env::var("PILLION_CRASH_AT").ok()?;
        let (place, count) = at.rsplit_once(':')?;
        Some((place.to_owned(), AtomicI64::new(count.parse().ok()?)))
    });
    if let Some((at, left)) = &*AT
        && at == place
        && left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        std::process::abort();
    }
}
