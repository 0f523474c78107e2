//! Times that were measured, and how they are told.

use std::time::Duration;

/// Times of one kind of thing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies {
    times: Vec<Duration>,
    is_sorted: bool,
}

impl Latencies {
    pub(crate) fn add(&mut self, time: Duration) {
        self.times.push(time);
        self.is_sorted = false;
    }

    pub(crate) fn extend(&mut self, others: Self) {
        self.times.extend(others.times);
        self.is_sorted = false;
    }

    pub(crate) fn count(&self) -> usize {
        self.times.len()
    }

    /// The time that `percent` of all did not exceed; `None` when there are none.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts are far below 2^52"
    )]
    pub(crate) fn percentile(&mut self, percent: f64) -> Option<Duration> {
        if !self.is_sorted {
            self.times.sort_unstable();
            self.is_sorted = true;
        }
        let rank = (percent / 100.0 * self.times.len() as f64).ceil() as usize;
        self.times.get(rank.saturating_sub(1)).copied()
    }

    /// In milliseconds.
    pub(crate) fn percentile_ms(&mut self, percent: f64) -> Option<f64> {
        self.percentile(percent).map(|time| time.as_secs_f64() * 1e3)
    }
}

/// A figure of a table; a dash for none.
pub(crate) fn figure(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value.abs() < 9.995 => format!("{value:.2}"),
        Some(value) if value.abs() < 99.95 => format!("{value:.1}"),
        Some(value) => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentile(50.0), None);
        for ms in (1..=100).rev() {
            latencies.add(Duration::from_millis(ms));
        }
        for (percent, ms) in [(0.0, 1), (1.0, 1), (50.0, 50), (99.0, 99), (99.5, 100), (100.0, 100)]
        {
            assert_eq!(latencies.percentile(percent), Some(Duration::from_millis(ms)), "{percent}");
        }
        latencies.add(Duration::from_secs(9));
        assert_eq!(latencies.percentile_ms(100.0), Some(9_000.0));
    }

    #[test]
    fn figures_have_three_digits() {
        for (value, text) in [(0.1234, "0.12"), (9.996, "10.0"), (12.34, "12.3"), (1234.5, "1234")]
        {
            assert_eq!(figure(Some(value)), text);
        }
        assert_eq!(figure(None), "-");
    }
}
