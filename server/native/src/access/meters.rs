//! The meters of all principals.
//!
//! A meter belongs to a name. It outlives the tables that name it: what was taken stays taken when the access
//! file changes. It goes once no table and no call has a principal of that name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use crate::access::meter::{Common, Meter};
use crate::access::principal::{Limits, Patterns, Principal};
use crate::access::rate::Rate;

/// The meter of a name, and the rates that it was used with last.
struct Entry {
    meter: Weak<Meter>,
    rates: [Option<Rate>; 2],
}

/// The meters of all principals, by name.
pub(crate) struct Meters {
    common: Arc<Common>,
    /// The threads that count.
    workers: usize,
    entries: Mutex<HashMap<Arc<str>, Entry>>,
}

impl Meters {
    /// No meters yet; for `io_threads` among the threads that count.
    pub(crate) fn new(io_threads: usize, workers: usize) -> Self {
        Self { common: Arc::new(Common::new(io_threads)), workers, entries: Mutex::default() }
    }

    /// A principal, which goes on with what its name has taken. Where a rate has changed, as many calls or rows
    /// are missing as before, and not as much time.
    pub(crate) fn principal(&self, name: Arc<str>, predict: Patterns, limits: Limits) -> Principal {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.entry(Arc::clone(&name));
        let entry = entry.or_insert_with(|| Entry { meter: Weak::new(), rates: [None; 2] });
        let meter = entry.meter.upgrade().unwrap_or_else(|| {
            let made = Arc::new(Meter::new(&self.common, self.workers));
            entry.meter = Arc::downgrade(&made);
            made
        });
        let now = self.common.ns(Instant::now());
        let states = [&meter.calls.0, &meter.rows.0];
        for ((state, before), rate) in
            states.into_iter().zip(&mut entry.rates).zip([limits.calls, limits.rows])
        {
            if let (Some(before), Some(rate)) = (*before, rate) {
                state.convert(&before, &rate, now);
            }
            *before = rate.or(*before);
        }
        drop(entries);
        Principal { name, predict, limits, meter }
    }

    /// Forgets the names of which there is no principal any more.
    pub(crate) fn sweep(&self) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|_, entry| entry.meter.strong_count() > 0);
    }

    /// The names that have a meter.
    #[cfg(test)]
    fn names(&self) -> usize {
        self.sweep();
        self.entries.lock().unwrap().len()
    }
}

#[cfg(test)]
impl Principal {
    /// A principal with a meter of its own, and without rights and limits.
    pub(crate) fn of(name: &str) -> Self {
        Meters::new(1, 1).principal(name.into(), Patterns::default(), Limits::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(per_second: f64, burst: f64) -> Limits {
        Limits { calls: Some(Rate::new(per_second, burst)), ..Limits::default() }
    }

    #[test]
    fn what_was_taken_stays_taken_as_long_as_anybody_has_the_principal() {
        let meters = Meters::new(1, 1);
        let make = |name: &str, limits| meters.principal(name.into(), Patterns::default(), limits);
        let now = Instant::now();
        let shop = make("shop", limits(0.001, 1.0));
        assert!(shop.take_call(0, now).is_ok() && shop.take_call(0, now).is_err());
        let again = make("shop", limits(0.001, 1.0));
        assert!(again.take_call(0, now).is_err());
        drop(shop);
        assert!(make("shop", limits(0.001, 1.0)).take_call(0, now).is_err());
        assert_eq!((again.meter.counts().0, meters.names()), (1, 1));
        drop(again);
        assert_eq!(meters.names(), 0);
        assert!(make("shop", limits(0.001, 1.0)).take_call(0, now).is_ok());
    }

    #[test]
    fn another_rate_is_owed_as_many_calls_and_not_as_much_time() {
        let meters = Meters::new(1, 1);
        let make = |limits| meters.principal("shop".into(), Patterns::default(), limits);
        let now = Instant::now();
        let slow = make(limits(0.001, 3.0));
        (0..3).for_each(|_| slow.take_call(0, now).unwrap());
        let fast = make(limits(1000.0, 3.0));
        let wait = fast.take_call(0, now).unwrap_err();
        assert!(wait <= std::time::Duration::from_millis(2), "{wait:?}");
        let unlimited = make(Limits::default());
        assert!(unlimited.take_call(0, now).is_ok());
    }
}
