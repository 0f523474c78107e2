//! Which time a search is about: within the last seven days, by ids or by times.

use pillion_chassis::ids::{first_id_at, time_of};
use pillion_chassis::{Parameters, Timestamp, TweetId};

/// How far back a recent search goes.
const DAYS_MAX: i64 = 7;
const DAY_MICROS: i64 = 24 * 3_600 * 1_000_000;
/// How old the last tweet of a search that names its end must at least be, as on X.
const END_AGE_MIN_MICROS: i64 = 10 * 1_000_000;

/// The tweets between two ids, neither included, and the times that these tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) above_id: i64,
    pub(crate) below_id: i64,
    /// The first moment in it.
    pub(crate) start: Timestamp,
    /// The moment after it.
    pub(crate) end: Timestamp,
}

/// What the caller said of the window; page tokens are bound to it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bounds {
    since_id: Option<TweetId>,
    until_id: Option<TweetId>,
    start_time: Option<Timestamp>,
    end_time: Option<Timestamp>,
}

/// What is on from 1970 until the ids' time begins, in milliseconds.
pub(crate) fn id_epoch_ms() -> u64 {
    time_of(0).as_millis()
}

impl Bounds {
    /// Reads `since_id`, `until_id`, `start_time` and `end_time`, and refuses what cannot be.
    pub(crate) fn read(query: &mut Parameters, now: Timestamp) -> Self {
        let bounds = Self {
            since_id: query.value("since_id"),
            until_id: query.value("until_id"),
            start_time: query.value("start_time"),
            end_time: query.value("end_time"),
        };
        let oldest = oldest(now);
        for (name, id) in [("since_id", bounds.since_id), ("until_id", bounds.until_id)] {
            if let Some(id) = id
                && id.as_i64() < first_id_at(oldest)
            {
                let message = format!(
                    "The `{name}` query parameter value [{id}] must be the id of a tweet created \
                     after [{oldest}], so larger than {}",
                    first_id_at(oldest)
                );
                query.refuse(name, vec![id.to_string()], message);
            }
        }
        for (name, time) in [("start_time", bounds.start_time), ("end_time", bounds.end_time)] {
            if let Some(time) = time
                && time < oldest
            {
                let message = format!(
                    "The `{name}` query parameter value [{time}] must be on or after [{oldest}]: \
                     recent search goes back {DAYS_MAX} days"
                );
                query.refuse(name, vec![time.to_string()], message);
            }
        }
        let latest = Timestamp::from_micros(now.as_micros() - END_AGE_MIN_MICROS);
        for (name, time) in [("start_time", bounds.start_time), ("end_time", bounds.end_time)] {
            if let Some(time) = time
                && time > latest
            {
                let message = format!(
                    "The `{name}` query parameter value [{time}] must be a minimum of 10 seconds \
                     prior to the request time, so at most [{latest}]"
                );
                query.refuse(name, vec![time.to_string()], message);
            }
        }
        for (id_name, id, time_name, time) in [
            ("since_id", bounds.since_id, "start_time", bounds.start_time),
            ("until_id", bounds.until_id, "end_time", bounds.end_time),
        ] {
            if let (Some(id), Some(_)) = (id, time) {
                let message = format!(
                    "The `{id_name}` and `{time_name}` query parameters exclude each other: send \
                     one of them"
                );
                query.refuse(id_name, vec![id.to_string()], message);
            }
        }
        if let (Some(start), Some(end)) = (bounds.start_time, bounds.end_time)
            && start >= end
        {
            let message =
                format!("The `start_time` [{start}] must be before the `end_time` [{end}]");
            query.refuse("start_time", vec![start.to_string()], message);
        }
        bounds
    }

    /// The window at this moment.
    pub(crate) fn window(&self, now: Timestamp) -> Window {
        let (above_id, start) = if let Some(id) = self.since_id {
            (id.as_i64(), time_of(id.get()))
        } else {
            let start = self.start_time.unwrap_or_else(|| oldest(now));
            (first_id_at(start) - 1, start)
        };
        let (below_id, end) = match (self.until_id, self.end_time) {
            (Some(id), _) => (id.as_i64(), time_of(id.get())),
            (None, Some(end)) => (first_id_at(end), end),
            (None, None) => (i64::MAX, now),
        };
        Window { above_id, below_id, start, end }
    }
}

fn oldest(now: Timestamp) -> Timestamp {
    Timestamp::from_micros(now.as_micros() - DAYS_MAX * DAY_MICROS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn nothing_is_older_than_a_week() {
        let now = at("2026-07-08T00:00:00Z");
        let window = Bounds::default().window(now);
        assert_eq!(window.start.to_string(), "2026-07-01T00:00:00.000Z");
        assert_eq!((window.end, window.below_id), (now, i64::MAX));
        let start = first_id_at(at("2026-07-03T00:00:00Z"));
        let mut query = Parameters::parse(&format!("since_id={start}"));
        let window = Bounds::read(&mut query, now).window(now);
        query.finish().unwrap();
        assert_eq!(window.above_id, start);
        assert_eq!(window.start.to_string(), "2026-07-03T00:00:00.000Z");
    }

    #[test]
    fn a12_what_cannot_be_is_refused() {
        let now = at("2026-07-08T00:00:00Z");
        let id = first_id_at(at("2026-07-03T00:00:00Z"));
        let both = format!("since_id={id}&start_time=2026-07-02T00:00:00Z");
        let both_ends = format!("until_id={id}&end_time=2026-07-04T00:00:00Z");
        for (sent, says) in [
            (&*both, "`since_id` and `start_time` query parameters exclude each other"),
            (&*both_ends, "`until_id` and `end_time` query parameters exclude each other"),
            ("start_time=2026-07-08T00:00:01Z", "10 seconds prior to the request time"),
            ("since_id=20", "created after [2026-07-01T00:00:00.000Z]"),
            ("start_time=2026-06-30T23:59:59Z", "must be on or after [2026-07-01T00:00:00.000Z]"),
            ("end_time=2026-07-07T23:59:55Z", "10 seconds prior to the request time"),
            (
                "start_time=2026-07-03T00:00:00Z&end_time=2026-07-03T00:00:00Z",
                "must be before the `end_time`",
            ),
            ("start_time=yesterday", "is not valid"),
        ] {
            let mut query = Parameters::parse(sent);
            Bounds::read(&mut query, now);
            let problem = query.finish().unwrap_err();
            let message = problem.document()["errors"][0]["message"].as_str().unwrap();
            assert!(message.contains(says), "{sent}: {message}");
        }
    }
}
