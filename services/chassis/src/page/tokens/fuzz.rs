//! A page token is good as it was issued and for what, and nothing else is one.

use super::*;
use crate::clock::{FakeClock, Timestamp};

#[test]
fn fuzz_page_tokens() {
    let clock = Arc::new(FakeClock::at(Timestamp::from_micros(1_800_000_000_000_000)));
    let tokens = PageTokens::new(&[7; 32]).by(clock);
    pillion_fuzz::run("page_tokens", |input| {
        // Nobody can make one up.
        let made_up = String::from_utf8_lossy(input);
        assert!(tokens.open("a", "pagination_token", &made_up).is_err());
        let (number, rest) = input.split_at(input.len().min(8));
        let id = number.iter().fold(0, |id, byte| id << 8 | u64::from(*byte));
        let direction = if id.is_multiple_of(2) { Direction::Next } else { Direction::Previous };
        let cursor = Cursor { direction, id };
        let scope = String::from_utf8_lossy(rest);
        let token = tokens.issue(&scope, cursor);
        assert_eq!(tokens.open(&scope, "pagination_token", &token).ok(), Some(cursor));
        assert!(tokens.open(&format!("{scope} "), "pagination_token", &token).is_err());
        // Nor change one.
        let mut changed = token.clone().into_bytes();
        let place = usize::try_from(id).unwrap_or_default() % changed.len();
        changed[place] = input.last().copied().unwrap_or_default();
        let changed = String::from_utf8_lossy(&changed);
        let opened = tokens.open(&scope, "pagination_token", &changed);
        assert_eq!(opened.is_ok(), changed == token, "{changed}");
    });
}
