//! The bytes that calls hold: messages that have come and answers that have not gone.
//!
//! Each connection has a quota within that of all. A call that holds little is not counted, so that
//! most calls touch no counter. Above half of either quota, windows are small, and clients get no more
//! room for messages that have only begun, but for the first of each connection: so messages become
//! whole one after the other. The last quarter is for those first ones and for answers. What goes
//! beyond is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Calls that hold no more are not counted.
pub(crate) const FREE_BYTES: usize = 1 << 12;

/// A number of bytes that may be held.
#[derive(Debug)]
pub(crate) struct Quota {
    limit: usize,
    used: AtomicUsize,
    /// How often somebody wanted more; of a part, the whole counts it.
    refused: AtomicU64,
    whole: Option<Arc<Quota>>,
}

/// Who takes of a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// A message that waits until others are whole.
    Waits,
    /// A message that the others wait for, or an answer.
    First,
}

impl Quota {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicUsize::new(0), refused: AtomicU64::new(0), whole: None })
    }

    /// A quota within another.
    pub(crate) fn within(whole: &Arc<Quota>, limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            whole: Some(Arc::clone(whole)),
        })
    }

    /// The bytes that are held.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// Whether more than half is used, here or of the whole.
    #[inline]
    pub(crate) fn is_pressed(&self) -> bool {
        self.used() > self.limit / 2 || self.whole.as_ref().is_some_and(|whole| whole.is_pressed())
    }

    /// Whether nothing is left, here or of the whole.
    pub(crate) fn is_full(&self) -> bool {
        self.used() >= self.limit || self.whole.as_ref().is_some_and(|whole| whole.is_full())
    }

    /// How often somebody wanted more than there was.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Counts somebody who wanted more.
    pub(crate) fn count_refusal(&self) {
        self.whole.as_deref().unwrap_or(self).refused.fetch_add(1, Relaxed);
    }

    fn take(&self, bytes: usize, claim: Claim) -> bool {
        let limit = match claim {
            Claim::Waits => self.limit - self.limit / 4,
            Claim::First => self.limit,
        };
        let fits = self.used.fetch_add(bytes, Relaxed) + bytes <= limit
            && self.whole.as_ref().is_none_or(|whole| whole.take(bytes, claim));
        if !fits {
            self.used.fetch_sub(bytes, Relaxed);
        }
        fits
    }

    fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Relaxed);
        if let Some(whole) = &self.whole {
            whole.give(bytes);
        }
    }
}

/// Bytes of a quota, held as long as this lives. Small, since most calls hold none.
#[derive(Debug, Default)]
pub(crate) struct Reservation(Option<Box<ReservedShare>>);

#[derive(Debug)]
struct ReservedShare {
    quota: Arc<Quota>,
    bytes: usize,
}

impl Reservation {
    /// Bytes of a quota for an answer; None where it does not allow them.
    pub(crate) fn new(quota: &Arc<Quota>, bytes: usize) -> Option<Self> {
        let mut held = Self::default();
        held.resize(quota, bytes, Claim::First).then_some(held)
    }

    /// Holds so many bytes of a quota, always the same one, instead of those before; false where the
    /// quota does not allow them, and then it is as many as before.
    pub(crate) fn resize(&mut self, quota: &Arc<Quota>, bytes: usize, claim: Claim) -> bool {
        let share =
            self.0.get_or_insert_with(|| Box::new(ReservedShare { quota: Arc::clone(quota), bytes: 0 }));
        if bytes <= share.bytes {
            quota.give(share.bytes - bytes);
        } else if !quota.take(bytes - share.bytes, claim) {
            quota.count_refusal();
            return false;
        }
        share.bytes = bytes;
        true
    }
}

impl Drop for ReservedShare {
    fn drop(&mut self) {
        self.quota.give(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted_here_and_in_the_whole() {
        let whole = Quota::new(1000);
        let parts = [Quota::within(&whole, 400), Quota::within(&whole, 400)];
        let mut held = [Reservation::default(), Reservation::default()];
        assert!(held[0].resize(&parts[0], 300, Claim::Waits) && held[1].resize(&parts[1], 100, Claim::Waits));
        assert_eq!((whole.used(), parts[0].used(), parts[1].used()), (400, 300, 100));
        let taken = std::mem::take(&mut held[0]);
        assert!(held[1].resize(&parts[1], 50, Claim::Waits));
        assert_eq!((whole.used(), parts[0].used(), parts[1].used()), (350, 300, 50));
        drop((taken, held));
        assert_eq!((whole.used(), parts[0].used(), parts[1].used()), (0, 0, 0));
    }

    #[test]
    fn the_last_quarter_is_for_those_that_others_wait_for() {
        let quota = Quota::within(&Quota::new(1000), 400);
        let mut held = Reservation::default();
        assert!(!held.resize(&quota, 301, Claim::Waits) && quota.used() == 0);
        assert!(held.resize(&quota, 300, Claim::Waits) && quota.is_pressed() && !quota.is_full());
        assert!(held.resize(&quota, 400, Claim::First) && quota.is_full());
        assert!(!held.resize(&quota, 401, Claim::First) && quota.used() == 400);
    }

    #[test]
    fn a_whole_that_is_full_refuses_though_the_part_has_room() {
        let whole = Quota::new(100);
        let (full, other) = (Quota::within(&whole, 100), Quota::within(&whole, 100));
        let held = Reservation::new(&full, 100);
        assert!(held.is_some() && other.is_pressed() && other.is_full());
        assert!(Reservation::new(&other, 1).is_none());
        assert_eq!((other.used(), whole.used(), whole.refused()), (0, 100, 1));
    }
}
