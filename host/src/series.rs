//! The metrics that a plugin makes itself, bounded in number.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::text::printable;

/// Upper bounds of plugins' histograms: powers of ten around what names in seconds need.
const BUCKETS: [f64; 9] = [0.000_1, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 10.0];

const NAME_BYTES_MAX: usize = 64;
const LABEL_NAME_BYTES_MAX: usize = 32;
const LABEL_VALUE_BYTES_MAX: usize = 64;
const LABELS_MAX: usize = 8;

#[derive(Clone, Debug)]
enum Value {
    Counter(u64),
    Gauge(f64),
    Histogram { buckets: [u64; BUCKETS.len()], count: u64, sum: f64 },
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Self::Counter(_) => "counter",
            Self::Gauge(_) => "gauge",
            Self::Histogram { .. } => "histogram",
        }
    }
}

/// What a plugin reports.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sample {
    Add(u64),
    Set(f64),
    Observe(f64),
}

impl Sample {
    /// A sum that has once become NaN or infinite never says anything again.
    fn is_finite(self) -> bool {
        match self {
            Self::Add(_) => true,
            Self::Set(value) | Self::Observe(value) => value.is_finite(),
        }
    }
}

/// One plugin's series, by name and rendered labels.
#[derive(Debug, Default)]
pub(crate) struct Series {
    values: Mutex<BTreeMap<(String, String), Value>>,
    pub(crate) dropped: AtomicU64,
}

impl Series {
    /// Takes a sample; one that breaks a bound or a series' kind is dropped and counted.
    pub(crate) fn record<'a>(
        &self,
        name: &str,
        labels: impl ExactSizeIterator<Item = (&'a str, &'a str)>,
        sample: Sample,
        series_max: usize,
    ) {
        if self.try_record(name, labels, sample, series_max).is_none() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn try_record<'a>(
        &self,
        name: &str,
        labels: impl ExactSizeIterator<Item = (&'a str, &'a str)>,
        sample: Sample,
        series_max: usize,
    ) -> Option<()> {
        if !is_name(name, NAME_BYTES_MAX) || labels.len() > LABELS_MAX || !sample.is_finite() {
            return None;
        }
        let mut rendered = String::new();
        let mut seen = Vec::with_capacity(labels.len());
        for (label, value) in labels {
            // Prometheus refuses a whole page for one repeated or reserved name.
            if seen.contains(&label) || label.starts_with("__") {
                return None;
            }
            seen.push(label);
            if !is_name(label, LABEL_NAME_BYTES_MAX)
                || label == "plugin"
                || label == "le"
                || value.len() > LABEL_VALUE_BYTES_MAX
            {
                return None;
            }
            let value = printable(value, LABEL_VALUE_BYTES_MAX);
            let value = value.replace('\\', "\\\\").replace('"', "\\\"");
            let _ = write!(rendered, ",{label}=\"{value}\"");
        }
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (name.to_owned(), rendered);
        if !values.contains_key(&key)
            && (values.len() >= series_max || clashes(&values, name, sample))
        {
            return None;
        }
        // One name is one kind, or Prometheus refuses the whole page.
        if values
            .range((name.to_owned(), String::new())..)
            .next()
            .is_some_and(|((other, _), value)| other == name && value.kind() != kind(sample))
        {
            return None;
        }
        let value = values.entry(key).or_insert(match sample {
            Sample::Add(_) => Value::Counter(0),
            Sample::Set(_) => Value::Gauge(0.0),
            Sample::Observe(_) => {
                Value::Histogram { buckets: [0; BUCKETS.len()], count: 0, sum: 0.0 }
            }
        });
        match (value, sample) {
            (Value::Counter(total), Sample::Add(by)) => *total = total.saturating_add(by),
            (Value::Gauge(value), Sample::Set(to)) => *value = to,
            (Value::Histogram { buckets, count, sum }, Sample::Observe(seen)) => {
                if let Some(bucket) = BUCKETS
                    .iter()
                    .position(|bound| seen <= *bound)
                    .and_then(|place| buckets.get_mut(place))
                {
                    *bucket += 1;
                }
                *count += 1;
                *sum = (*sum + seen).clamp(f64::MIN, f64::MAX);
            }
            _ => return None,
        }
        Some(())
    }

    /// Families by name, each with its kind and its lines.
    pub(crate) fn render(
        &self,
        plugin: &str,
        families: &mut BTreeMap<String, (&'static str, String)>,
    ) {
        for ((name, labels), value) in
            self.values.lock().unwrap_or_else(PoisonError::into_inner).iter()
        {
            let name = format!("pillion_custom_{name}");
            if is_taken(families, &name, value.kind()) {
                continue;
            }
            let (kind, out) =
                families.entry(name.clone()).or_insert_with(|| (value.kind(), String::new()));
            if *kind != value.kind() {
                continue;
            }
            let labels = format!("plugin=\"{plugin}\"{labels}");
            let _ = match value {
                Value::Counter(total) => writeln!(out, "{name}{{{labels}}} {total}"),
                Value::Gauge(value) => writeln!(out, "{name}{{{labels}}} {value}"),
                Value::Histogram { buckets, count, sum } => {
                    let mut below = 0;
                    for (bound, bucket) in BUCKETS.iter().zip(buckets) {
                        below += bucket;
                        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {below}");
                    }
                    writeln!(
                        out,
                        "{name}_bucket{{{labels},le=\"+Inf\"}} {count}\n{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {count}"
                    )
                }
            };
        }
    }
}

/// What a histogram adds to its name in the exposition.
const HISTOGRAM_SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Whether a histogram's series would have the names of other series: a name in the exposition is
/// one series, or the page is refused or shows the wrong one.
fn clashes(values: &BTreeMap<(String, String), Value>, name: &str, sample: Sample) -> bool {
    let first = |name: String| {
        let from = (name, String::new());
        let found = values.range(from.clone()..).next();
        found.filter(|((other, _), _)| *other == from.0).map(|(_, value)| value.kind())
    };
    let part_of_histogram = HISTOGRAM_SUFFIXES
        .iter()
        .filter_map(|suffix| name.strip_suffix(suffix))
        .any(|base| first(base.to_owned()) == Some("histogram"));
    part_of_histogram
        || (kind(sample) == "histogram"
            && HISTOGRAM_SUFFIXES.iter().any(|suffix| first(format!("{name}{suffix}")).is_some()))
}

/// Whether another plugin's family has a name that this one would show too.
fn is_taken(families: &BTreeMap<String, (&'static str, String)>, name: &str, kind: &str) -> bool {
    let is_histogram =
        |base: &str| families.get(base).is_some_and(|(kind, _)| *kind == "histogram");
    HISTOGRAM_SUFFIXES.iter().any(|suffix| {
        name.strip_suffix(suffix).is_some_and(is_histogram)
            || (kind == "histogram" && families.contains_key(&format!("{name}{suffix}")))
    })
}

fn kind(sample: Sample) -> &'static str {
    match sample {
        Sample::Add(_) => "counter",
        Sample::Set(_) => "gauge",
        Sample::Observe(_) => "histogram",
    }
}

fn is_name(name: &str, bytes_max: usize) -> bool {
    let first = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    name.len() <= bytes_max
        && name.bytes().next().is_some_and(first)
        && name.bytes().all(|byte| first(byte) || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(plugins: &[(&str, &Series)]) -> String {
        let mut families = BTreeMap::new();
        for (plugin, series) in plugins {
            series.render(plugin, &mut families);
        }
        families.into_values().map(|(_, lines)| lines).collect()
    }

    fn record(series: &Series, name: &str, sample: Sample) {
        series.record(name, [].into_iter(), sample, 100);
    }

    #[test]
    fn h10_what_is_not_a_number_is_ignored_and_counters_saturate() {
        let series = Series::default();
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            record(&series, "level", Sample::Set(bad));
            record(&series, "took_seconds", Sample::Observe(bad));
        }
        assert_eq!(page(&[("p", &series)]), "");
        assert_eq!(series.dropped.load(Ordering::Relaxed), 6);
        for _ in 0..2 {
            record(&series, "hits_total", Sample::Add(u64::MAX));
            record(&series, "took_seconds", Sample::Observe(f64::MAX));
        }
        let page = page(&[("p", &series)]);
        assert!(page.contains("hits_total{plugin=\"p\"} 18446744073709551615\n"), "{page}");
        assert!(!page.contains("inf") && !page.contains("NaN"), "{page}");
    }

    #[test]
    fn h21_one_name_in_the_exposition_is_one_series() {
        let series = Series::default();
        record(&series, "x", Sample::Observe(1.0));
        for suffix in ["bucket", "sum", "count"] {
            record(&series, &format!("x_{suffix}"), Sample::Add(1));
            record(&series, &format!("y_{suffix}"), Sample::Add(1));
        }
        record(&series, "y", Sample::Observe(1.0));
        record(&series, "x_counts", Sample::Add(1));
        assert_eq!(series.dropped.load(Ordering::Relaxed), 3 + 1);
        let other = Series::default();
        record(&other, "x_count", Sample::Add(7));
        record(&other, "y", Sample::Observe(1.0));
        let page = page(&[("a", &series), ("b", &other)]);
        let mut names: Vec<&str> =
            page.lines().filter_map(|line| line.rsplit_once(' ').map(|(name, _)| name)).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all, "{page}");
        assert!(!page.contains("x_count{plugin=\"b\"}") && !page.contains("y_sum{plugin=\"b\"}"));
    }

    #[test]
    fn series_are_bounded_and_bad_ones_are_counted() {
        let series = Series::default();
        for tenant in 0..10 {
            let tenant = tenant.to_string();
            series.record(
                "hits_total",
                [("tenant", tenant.as_str())].into_iter(),
                Sample::Add(1),
                4,
            );
        }
        series.record("hits_total", [("tenant", "0")].into_iter(), Sample::Add(1), 4);
        series.record("hits_total", [("tenant", "0")].into_iter(), Sample::Set(1.0), 4);
        series.record("Bad-Name", [].into_iter(), Sample::Add(1), 4);
        series.record("ok", [("a", "1"), ("a", "2")].into_iter(), Sample::Add(1), 9);
        series.record("ok", [("__name__", "1")].into_iter(), Sample::Add(1), 9);
        series.record("ok", [("plugin", "forged")].into_iter(), Sample::Add(1), 9);
        assert_eq!(series.dropped.load(Ordering::Relaxed), 6 + 5);
        let mut families = BTreeMap::new();
        series.render("p", &mut families);
        let (kind, lines) = &families["pillion_custom_hits_total"];
        assert_eq!(*kind, "counter");
        assert_eq!(lines.lines().count(), 4);
        assert!(lines.contains("pillion_custom_hits_total{plugin=\"p\",tenant=\"0\"} 2"));
    }
}
