//! The part of a list of tweets between two ids, as clients bound it by ids or by times.

use pillion_events::TweetId;

use crate::clock::Timestamp;
use crate::ids::first_id_at;
use crate::parameters::Parameters;

/// The ids between two, neither of which is among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// Larger than this.
    pub above: i64,
    /// Smaller than this.
    pub below: i64,
}

impl IdRange {
    /// Every id.
    pub const ALL: Self = Self { above: -1, below: i64::MAX };

    /// Takes `since_id`, `until_id`, `start_time` and `end_time`; what is wrong with them is told
    /// when `query` is finished. An id goes before a time, as on X.
    pub fn take(query: &mut Parameters) -> Self {
        let since_id: Option<TweetId> = query.value("since_id");
        let until_id: Option<TweetId> = query.value("until_id");
        let start_time: Option<Timestamp> = query.value("start_time");
        let end_time: Option<Timestamp> = query.value("end_time");
        if let (Some(start), Some(end)) = (start_time, end_time)
            && start >= end
        {
            let message =
                format!("The `start_time` [{start}] must be before the `end_time` [{end}]");
            query.refuse("start_time", vec![start.to_string()], message);
        }
        let above = match (since_id, start_time) {
            (Some(id), _) => id.as_i64(),
            (None, Some(start)) => first_id_at(start) - 1,
            (None, None) => Self::ALL.above,
        };
        let below = match (until_id, end_time) {
            (Some(id), _) => id.as_i64(),
            (None, Some(end)) => first_id_at(end),
            (None, None) => Self::ALL.below,
        };
        Self { above, below }
    }
}
