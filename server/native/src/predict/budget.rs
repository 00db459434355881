//! Limits on how many calls of one kind may wait at one time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A limited number of places.
pub(crate) struct Budget {
    used: AtomicUsize,
    limit: usize,
}

/// One place of a budget. Dropping the permit frees the place.
pub(crate) struct Permit(Arc<Budget>);

impl Budget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), limit })
    }

    /// How many places are taken.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// Whether no place is left.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.used() >= self.limit
    }

    /// Takes a place; `None` where all are taken.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Permit> {
        let permit = Permit(Arc::clone(self));
        (self.used.fetch_add(1, Relaxed) < self.limit).then_some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.used.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_permit_goes() {
        let budget = Budget::new(2);
        let permits = [budget.enter(), budget.enter()];
        assert!(permits.iter().all(Option::is_some) && budget.is_full());
        assert!(budget.enter().is_none());
        assert_eq!(budget.used(), 2);
        drop(permits);
        assert_eq!((budget.used(), budget.is_full()), (0, false));
    }
}
