//! A limit on how many streams a client may reset.
//!
//! A reset is normal: a client with short deadlines resets many calls, and each costs the server no more than
//! a response. A client that does nothing but begin and reset calls is an attack (CVE-2023-44487, "rapid
//! reset"). So a client may reset a burst of streams, and after that one stream in each `INTERVAL`.

use std::time::{Duration, Instant};

/// The size of a burst, beside the streams that the client may have open. While the server is overloaded,
/// deadlines pass, and an honest client resets every call that it begins.
const BURST: u32 = 2_000;
const INTERVAL: Duration = Duration::from_micros(100);

/// Counts the resets of one connection. One reset is forgotten in each `INTERVAL`.
#[derive(Default)]
pub(super) struct Resets {
    max: u32,
    count: u32,
    /// The time up to which resets were forgotten.
    since: Option<Instant>,
}

impl Resets {
    /// A counter for a client that may have `max_streams` open.
    pub(super) fn new(max_streams: u32) -> Self {
        Self { max: max_streams.saturating_add(BURST), count: 0, since: None }
    }

    /// Counts a reset. False: the client has reset too many streams.
    pub(super) fn add(&mut self, now: Instant) -> bool {
        let since = self.since.get_or_insert(now);
        let forgotten = now.duration_since(*since).as_nanos() / INTERVAL.as_nanos();
        let forgotten = u32::try_from(forgotten).unwrap_or(u32::MAX);
        if forgotten > 0 {
            // The rest of an interval that has begun counts later.
            *since = since.checked_add(INTERVAL * forgotten).unwrap_or(now);
            self.count = self.count.saturating_sub(forgotten);
        }
        self.count += 1;
        self.count <= self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_resets_at_once_are_allowed_and_then_one_in_each_interval() {
        let (mut resets, start) = (Resets::new(10), Instant::now());
        assert!((0..BURST + 10).all(|_| resets.add(start)));
        assert!(!resets.add(start));
        let mut resets = Resets::new(10);
        assert!((0..10 * BURST).all(|i| resets.add(start + i * INTERVAL)));
        let mut resets = Resets::new(10);
        assert!(!(0..10 * BURST).all(|i| resets.add(start + i * INTERVAL / 2)));
    }

    #[test]
    fn a_client_that_was_idle_has_no_larger_burst_than_another() {
        let (mut resets, start) = (Resets::new(0), Instant::now());
        assert!(resets.add(start));
        let later = start + Duration::from_secs(3600);
        assert!((0..BURST).all(|_| resets.add(later)));
        assert!(!resets.add(later));
    }
}
