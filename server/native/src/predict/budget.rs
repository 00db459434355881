//! Limits on how many calls of one kind may wait at one time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::access::meter::Meter;

/// How many calls may wait for something at one time. Those that fail, and those that are forwarded to the
/// control plane, have bounds of their own, so that a flood of them takes no place from the others.
pub(crate) struct Budgets {
    /// All calls that wait to be answered.
    pub in_flight: Arc<Budget>,
    /// Of these, calls that the control plane answers.
    pub forwarded: Arc<Budget>,
    /// Failures that the control plane is asked about.
    pub questions: Arc<Budget>,
}

impl Budgets {
    pub(crate) fn new(max_in_flight: usize) -> Self {
        let share = |part: usize| Budget::new((max_in_flight / part).max(1));
        Self { in_flight: share(1), forwarded: share(2), questions: share(4) }
    }
}

/// A limited number of places.
pub(crate) struct Budget {
    used: AtomicUsize,
    pub limit: usize,
}

/// One place of a budget, and of a principal if it has the place. Dropping the permit frees the place.
pub(crate) struct Permit(Arc<Budget>, Option<Arc<Meter>>);

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
        self.enter_for(None)
    }

    /// Takes a place for a principal; `None` where all are taken.
    pub(crate) fn enter_for(self: &Arc<Self>, meter: Option<&Arc<Meter>>) -> Option<Permit> {
        if let Some(meter) = meter {
            meter.places.0.fetch_add(1, Relaxed);
        }
        let permit = Permit(Arc::clone(self), meter.cloned());
        (self.used.fetch_add(1, Relaxed) < self.limit).then_some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.used.fetch_sub(1, Relaxed);
        if let Some(meter) = &self.1 {
            meter.places.0.fetch_sub(1, Relaxed);
        }
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
