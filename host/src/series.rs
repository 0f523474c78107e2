//! The metrics that a plugin makes itself, bounded in number.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

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
        if !is_name(name, NAME_BYTES_MAX) || labels.len() > LABELS_MAX {
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
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(rendered, ",{label}=\"{value}\"");
        }
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let full = values.len() >= series_max;
        let key = (name.to_owned(), rendered);
        if full && !values.contains_key(&key) {
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
            (Value::Counter(total), Sample::Add(by)) => *total = total.wrapping_add(by),
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
                *sum += seen;
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
