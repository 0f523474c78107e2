//! Times as RFC 3339 text, without allocation: fields carry them as microseconds since 1970.

use std::fmt;

/// A time in UTC, `2026-01-01T00:00:00.000000Z`. `{:.0}` and `{:.3}` show seconds and
/// milliseconds only.
///
/// ```
/// let time = pillion_plugin::timestamp::rfc3339(1_767_225_600_123_456);
/// assert_eq!(time.as_str(), "2026-01-01T00:00:00.123456Z");
/// assert_eq!(format!("{time:.3}"), "2026-01-01T00:00:00.123Z");
/// assert_eq!(format!("{time:.0}"), "2026-01-01T00:00:00Z");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rfc3339([u8; LEN]);

/// Length of the text with microseconds.
const LEN: usize = 27;

/// Length up to the seconds.
const SECONDS_LEN: usize = 19;

/// 9999-12-31T23:59:59.999999Z: RFC 3339 has four digits for a year, so later times show as it.
const LAST_US: u64 = 253_402_300_799_999_999;

/// The text of a time in microseconds since 1970.
pub fn rfc3339(us: u64) -> Rfc3339 {
    let us = us.min(LAST_US);
    let (seconds, fraction) = (us / 1_000_000, us % 1_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    let [y0, y1, y2, y3, _, m0, m1, _, d0, d1, _, h0, h1, _, n0, n1, _, s0, s1, _, f @ .., _] =
        &mut text;
    digits([y0, y1, y2, y3], year);
    digits([m0, m1], month);
    digits([d0, d1], day);
    digits([h0, h1], second / 3_600);
    digits([n0, n1], second / 60 % 60);
    digits([s0, s1], second % 60);
    digits(f.each_mut(), fraction);
    Rfc3339(text)
}

fn digits<const N: usize>(places: [&mut u8; N], mut value: u64) {
    for place in places.into_iter().rev() {
        *place = b"0123456789".get((value % 10) as usize).copied().unwrap_or(b'0');
        value /= 10;
    }
}

/// Year, month and day of a day since 1970, counted in years that begin in March, so that the
/// leap day is the last of a year.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_IN_400_YEARS: u64 = 146_097;
    /// From 0000-03-01 to 1970-01-01.
    const DAYS_TO_1970: u64 = 719_468;
    let days = days + DAYS_TO_1970;
    let (era, day) = (days / DAYS_IN_400_YEARS, days % DAYS_IN_400_YEARS);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year, month + 3) } else { (year + 1, month - 9) };
    (era * 400 + year, month, day)
}

impl Rfc3339 {
    /// The whole text.
    pub fn as_str(&self) -> &str {
        // Digits and separators only.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.as_str();
        let len = match f.precision() {
            None | Some(6..) => return f.write_str(text),
            Some(0) => SECONDS_LEN,
            Some(digits) => SECONDS_LEN + 1 + digits,
        };
        f.write_str(text.get(..len).unwrap_or(text))?;
        f.write_str("Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_around_leap_days_and_the_ends() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
            (253_402_300_800, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(format!("{:.0}", rfc3339(seconds * 1_000_000)), text);
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut expected = (1970, 1, 1);
        for day in 0..200_000 {
            assert_eq!(date(day), expected, "day {day}");
            let (year, month, date) = expected;
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let last = match month {
                2 => 28 + u64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            expected = if date < last {
                (year, month, date + 1)
            } else if month < 12 {
                (year, month + 1, 1)
            } else {
                (year + 1, 1, 1)
            };
        }
    }
}
