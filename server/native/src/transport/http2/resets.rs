//! How many calls a client may break off: one whose deadlines are short resets many, and each costs no
//! more than an answer; one that does nothing else is an attack.

use std::time::{Duration, Instant};

/// Streams that a client may reset beside all that it may have open: so many at once, and then one in
/// each interval. One whose deadlines pass while the server is overloaded resets all that it begins.
const AT_ONCE: u32 = 2_000;
const INTERVAL: Duration = Duration::from_micros(100);

/// The resets of a connection, of which one is forgotten in each interval.
#[derive(Default)]
pub(super) struct Resets {
    most: u32,
    count: u32,
    since: Option<Instant>,
}

impl Resets {
    /// None yet, of a client that may have so many streams open.
    pub(super) fn new(max_streams: u32) -> Self {
        Self { most: max_streams.saturating_add(AT_ONCE), count: 0, since: None }
    }

    /// Counts a reset; false where there have been too many.
    pub(super) fn add(&mut self, now: Instant) -> bool {
        let since = self.since.get_or_insert(now);
        let forgotten = now.duration_since(*since).as_nanos() / INTERVAL.as_nanos();
        let forgotten = u32::try_from(forgotten).unwrap_or(u32::MAX);
        if forgotten > 0 {
            // What is left of an interval counts with the next one.
            *since = since.checked_add(INTERVAL * forgotten).unwrap_or(now);
            self.count = self.count.saturating_sub(forgotten);
        }
        self.count += 1;
        self.count <= self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_resets_at_once_are_allowed_and_then_one_in_each_interval() {
        let (mut resets, begun) = (Resets::new(10), Instant::now());
        assert!((0..AT_ONCE + 10).all(|_| resets.add(begun)));
        assert!(!resets.add(begun));
        let mut resets = Resets::new(10);
        assert!((0..10 * AT_ONCE).all(|i| resets.add(begun + i * INTERVAL)));
        let mut resets = Resets::new(10);
        assert!(!(0..10 * AT_ONCE).all(|i| resets.add(begun + i * INTERVAL / 2)));
    }

    #[test]
    fn a_client_that_rested_has_no_more_than_another() {
        let (mut resets, begun) = (Resets::new(0), Instant::now());
        assert!(resets.add(begun));
        let later = begun + Duration::from_secs(3600);
        assert!((0..AT_ONCE).all(|_| resets.add(later)));
        assert!(!resets.add(later));
    }
}
