//! How many tweets of the last seven days a query matches, by minute, hour or day.

use std::collections::BTreeMap;

use axum::extract::State;
use pillion_chassis::{Answer, Parameters, Timestamp};
use serde::Serialize;

use crate::app_caller::AppCaller;
use crate::error::Error;
use crate::window::{Bounds, Window};
use crate::{Search, read_query};

/// The lengths of time to count by.
const GRANULARITIES: [(&str, u64); 3] =
    [("minute", 60_000), ("hour", 3_600_000), ("day", 86_400_000)];
const HOUR_MS: u64 = 3_600_000;

/// A length of time and its tweets. All of a week's minutes, 10,081 at most, are one answer of
/// less than a mebibyte.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Bucket {
    start: Timestamp,
    end: Timestamp,
    tweet_count: i64,
}

/// About all of them.
#[derive(Debug, Serialize)]
pub(crate) struct Meta {
    total_tweet_count: i64,
}

/// `GET /2/tweets/counts/recent`. It reads whatever matches, so its cost grows with that.
pub(crate) async fn count_recent(
    State(search): State<Search>,
    _: AppCaller,
    mut parameters: Parameters,
) -> Result<Answer<Vec<Bucket>, Meta>, Error> {
    let now = search.clock.now();
    let query = read_query(&mut parameters);
    let bounds = Bounds::read(&mut parameters, now);
    let bucket_ms = read_granularity(&mut parameters);
    parameters.finish()?;
    // Without a query there is an error, so `finish` has not let it through.
    let Some((_, query)) = query else {
        return Ok(Answer::list(Vec::new(), Vec::new()));
    };

    let window = bounds.window(now);
    let pattern = search.store.pattern(&query).await?;
    let counted = search.store.count(&pattern, window, bucket_ms).await?;
    let counts = fill(window, bucket_ms, &counted);
    let total_tweet_count = counted.values().sum();
    Ok(Answer::page(counts, Meta { total_tweet_count }))
}

fn read_granularity(parameters: &mut Parameters) -> u64 {
    let Some(name) = parameters.text("granularity") else {
        return HOUR_MS;
    };
    if let Some((_, millis)) = GRANULARITIES.iter().find(|(known, _)| *known == name) {
        return *millis;
    }
    let message =
        format!("The `granularity` query parameter value [{name}] is not one of [minute,hour,day]");
    parameters.refuse("granularity", vec![name], message);
    HOUR_MS
}

/// Every length of time of the window, also those without tweets; the first and the last are cut
/// where the window begins and ends.
fn fill(window: Window, bucket_ms: u64, counted: &BTreeMap<u64, i64>) -> Vec<Bucket> {
    let at = |millis: u64| {
        let micros = i64::try_from(millis.saturating_mul(1_000)).unwrap_or(i64::MAX);
        Timestamp::from_micros(micros)
    };
    let (start, end) = (window.start.as_millis(), window.end.as_millis());
    // Counted tweets may be later than the end: those that came while we were asking.
    let last = counted.keys().next_back().copied().unwrap_or_default();
    let last = last.max(end.saturating_sub(1) / bucket_ms);
    (start / bucket_ms..=last)
        .map(|bucket| {
            let (from, to) = (bucket * bucket_ms, (bucket + 1) * bucket_ms);
            Bucket {
                start: at(from.max(start)),
                end: at(if from < end { to.min(end) } else { to }),
                tweet_count: counted.get(&bucket).copied().unwrap_or_default(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_length_of_time_is_left_out() {
        let window = Window {
            above_id: 0,
            below_id: 0,
            start: "2026-07-01T10:20:00Z".parse().unwrap(),
            end: "2026-07-01T13:10:00Z".parse().unwrap(),
        };
        let hour = window.start.as_millis() / HOUR_MS;
        let counts = fill(window, HOUR_MS, &BTreeMap::from([(hour + 1, 5)]));
        let counts: Vec<_> = counts
            .into_iter()
            .map(|count| (count.start.to_string(), count.end.to_string(), count.tweet_count))
            .collect();
        let expected = [
            ("2026-07-01T10:20:00.000Z", "2026-07-01T11:00:00.000Z", 0),
            ("2026-07-01T11:00:00.000Z", "2026-07-01T12:00:00.000Z", 5),
            ("2026-07-01T12:00:00.000Z", "2026-07-01T13:00:00.000Z", 0),
            ("2026-07-01T13:00:00.000Z", "2026-07-01T13:10:00.000Z", 0),
        ];
        let expected = expected.map(|(start, end, n)| (start.to_owned(), end.to_owned(), n));
        assert_eq!(counts, expected);
    }
}
