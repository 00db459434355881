//! Wall time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Translates the nanoseconds since the recorder started to wall time.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    /// Microseconds since 1970 when the recorder started, by the wall clock of now.
    started_us: i64,
}

impl Clock {
    /// Reads the wall clock, which may have been set since the recorder started.
    pub(crate) fn now(started: Instant) -> Self {
        let since_start = started.elapsed();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { started_us: micros(now) - micros(since_start) }
    }

    /// Microseconds since 1970.
    pub(crate) fn at_us(self, since_start_ns: u64) -> i64 {
        self.started_us.saturating_add((since_start_ns / 1000) as i64)
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Now as text, like 2026-11-29T17:21:00.000000Z.
pub(crate) fn timestamp() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, seconds) = (now.as_secs() / 86_400, now.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let micros = now.subsec_micros();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// The year, month and day of a day that is counted from 1970-01-01.
/// Source: Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days.
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_1970() {
        for (days, expected) in [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (20_786, (2026, 11, 29)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(date(days), expected, "{days}");
        }
    }
}
