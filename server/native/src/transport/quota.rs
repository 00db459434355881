//! Quotas on the memory that calls hold: requests that have come, and responses that were not sent yet.
//!
//! Each connection has a quota of its own, which is a part of the quota of the whole engine. The rules:
//!
//! 1. A message, a response or metadata of up to `FREE_BYTES` is not counted, so that most calls touch no
//!    counter.
//! 2. A quota is under pressure when more than half of it is used. Then windows are small, and of each
//!    connection only the first unfinished message gets more window (see `backpressure`).
//! 3. The last quarter of a quota is kept for those first messages and for responses: `Claim::First`.
//! 4. Bytes beyond the limit are refused, by the part or by the whole, and the refusal is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Anything that holds no more than this is not counted.
pub(crate) const FREE_BYTES: usize = 1 << 12;

/// How many bytes may be held at a time, and how many are.
#[derive(Debug)]
pub(crate) struct Quota {
    limit: usize,
    used: AtomicUsize,
    /// How often bytes were refused. The refusals of a part are counted by the whole.
    refused: AtomicU64,
    whole: Option<Arc<Quota>>,
}

/// What bytes are reserved for. This decides how much of the quota they may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// A message that waits until earlier messages are whole: all but the last quarter.
    Waits,
    /// The message that other messages wait for, or a response: all of the quota.
    First,
}

impl Quota {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicUsize::new(0), refused: AtomicU64::new(0), whole: None })
    }

    /// A part of another quota. Bytes of the part count in the whole, too.
    pub(crate) fn within(whole: &Arc<Quota>, limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            whole: Some(Arc::clone(whole)),
        })
    }

    /// The bytes that are held now.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// Whether more than half of this quota, or of the whole, is used.
    #[inline]
    pub(crate) fn is_pressed(&self) -> bool {
        self.used() > self.limit / 2 || self.whole.as_ref().is_some_and(|whole| whole.is_pressed())
    }

    /// Whether all of this quota, or of the whole, is used.
    pub(crate) fn is_full(&self) -> bool {
        self.used() >= self.limit || self.whole.as_ref().is_some_and(|whole| whole.is_full())
    }

    /// How often bytes were refused.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Counts one refusal.
    pub(crate) fn count_refusal(&self) {
        self.whole.as_deref().unwrap_or(self).refused.fetch_add(1, Relaxed);
    }

    /// Adds to the bytes that are held. Where that would exceed what the claim may use, returns false and changes
    /// nothing.
    fn reserve(&self, bytes: usize, claim: Claim) -> bool {
        let limit = match claim {
            Claim::Waits => self.limit - self.limit / 4,
            Claim::First => self.limit,
        };
        let fits = self.used.fetch_add(bytes, Relaxed) + bytes <= limit
            && self.whole.as_ref().is_none_or(|whole| whole.reserve(bytes, claim));
        if !fits {
            self.used.fetch_sub(bytes, Relaxed);
        }
        fits
    }

    fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Relaxed);
        if let Some(whole) = &self.whole {
            whole.release(bytes);
        }
    }
}

/// Bytes of a quota, held until this is dropped. One pointer wide, since most calls hold no bytes of it.
#[derive(Debug, Default)]
pub(crate) struct Reservation(Option<Box<ReservedShare>>);

#[derive(Debug)]
struct ReservedShare {
    quota: Arc<Quota>,
    bytes: usize,
}

impl Reservation {
    /// Reserves bytes for a response. `None`: the quota does not allow them.
    pub(crate) fn new(quota: &Arc<Quota>, bytes: usize) -> Option<Self> {
        let mut reservation = Self::default();
        reservation.resize(quota, bytes, Claim::First).then_some(reservation)
    }

    /// Changes the number of bytes that are held. Where the quota does not allow them, returns false and keeps the
    /// former number. The quota must be the same in every call.
    pub(crate) fn resize(&mut self, quota: &Arc<Quota>, bytes: usize, claim: Claim) -> bool {
        let share =
            self.0.get_or_insert_with(|| Box::new(ReservedShare { quota: Arc::clone(quota), bytes: 0 }));
        if bytes <= share.bytes {
            quota.release(share.bytes - bytes);
        } else if !quota.reserve(bytes - share.bytes, claim) {
            quota.count_refusal();
            return false;
        }
        share.bytes = bytes;
        true
    }
}

impl Drop for ReservedShare {
    fn drop(&mut self) {
        self.quota.release(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted_here_and_in_the_whole() {
        let whole = Quota::new(1000);
        let parts = [Quota::within(&whole, 400), Quota::within(&whole, 400)];
        let mut reservations = [Reservation::default(), Reservation::default()];
        assert!(
            reservations[0].resize(&parts[0], 300, Claim::Waits)
                && reservations[1].resize(&parts[1], 100, Claim::Waits)
        );
        assert_eq!((whole.used(), parts[0].used(), parts[1].used()), (400, 300, 100));
        let taken = std::mem::take(&mut reservations[0]);
        assert!(reservations[1].resize(&parts[1], 50, Claim::Waits));
        assert_eq!((whole.used(), parts[0].used(), parts[1].used()), (350, 300, 50));
        drop((taken, reservations));
        assert_eq!((whole.used(), parts[0].used(), parts[1].used()), (0, 0, 0));
    }

    #[test]
    fn the_last_quarter_is_for_those_that_others_wait_for() {
        let quota = Quota::within(&Quota::new(1000), 400);
        let mut reservation = Reservation::default();
        assert!(!reservation.resize(&quota, 301, Claim::Waits) && quota.used() == 0);
        assert!(reservation.resize(&quota, 300, Claim::Waits) && quota.is_pressed() && !quota.is_full());
        assert!(reservation.resize(&quota, 400, Claim::First) && quota.is_full());
        assert!(!reservation.resize(&quota, 401, Claim::First) && quota.used() == 400);
    }

    #[test]
    fn a_whole_that_is_full_refuses_though_the_part_has_room() {
        let whole = Quota::new(100);
        let (full, other) = (Quota::within(&whole, 100), Quota::within(&whole, 100));
        let reservation = Reservation::new(&full, 100);
        assert!(reservation.is_some() && other.is_pressed() && other.is_full());
        assert!(Reservation::new(&other, 1).is_none());
        assert_eq!((other.used(), whole.used(), whole.refused()), (0, 100, 1));
    }
}
