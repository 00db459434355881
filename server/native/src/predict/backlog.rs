//! An estimate of how long a task will wait for the threads of a pool, made before the task is put in.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::access::principal::Principal;
use crate::transport::arrivals::INTERVAL;

/// The weight of the newest task in the mean is one in this many.
const WEIGHT: u64 = 8;

/// The tasks of a pool that are not done, and their mean cost.
pub(crate) struct Backlog {
    waiting: AtomicUsize,
    /// The mean of the pool's time that a task took.
    cost_ns: AtomicU64,
    began: Instant,
    /// When a thread was last without a task, since `began`.
    rested_ns: AtomicU64,
}

impl Default for Backlog {
    fn default() -> Self {
        Self::new()
    }
}

impl Backlog {
    pub(crate) fn new() -> Self {
        Self { waiting: 0.into(), cost_ns: 0.into(), began: Instant::now(), rested_ns: 0.into() }
    }

    /// A task was put in.
    pub(crate) fn enter(&self) {
        self.waiting.fetch_add(1, Relaxed);
    }

    /// A task is done that took `cost` of the pool's time.
    pub(crate) fn leave(&self, cost: Duration) {
        self.waiting.fetch_sub(1, Relaxed);
        // Two threads that do this at once lose one of their costs; later tasks make up for it.
        let mean = self.cost_ns.load(Relaxed);
        self.cost_ns.store(mean - mean / WEIGHT + cost.as_nanos() as u64 / WEIGHT, Relaxed);
    }

    /// The tasks that are not done.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// A thread was without a task until now.
    pub(crate) fn rest(&self) {
        self.rested_ns.store(self.began.elapsed().as_nanos() as u64, Relaxed);
    }

    /// How long a new task of a principal, or of nobody, would wait; `None` while the threads keep up.
    pub(crate) fn wait(&self, now: Instant, principal: Option<&Principal>) -> Option<Duration> {
        let rested = self.began + Duration::from_nanos(self.rested_ns.load(Relaxed));
        let behind = now.saturating_duration_since(rested) >= INTERVAL;
        behind.then(|| {
            let waiting = self.waiting.load(Relaxed);
            let before = principal.map_or(waiting, |principal| principal.tasks_before(now, waiting));
            Duration::from_nanos(self.cost_ns.load(Relaxed).saturating_mul(before as u64))
        })
    }

    /// The mean of the pool's time that a task took.
    pub(crate) fn cost_ns(&self) -> u64 {
        self.cost_ns.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_waits_for_those_before_it_once_the_threads_do_not_keep_up() {
        let backlog = Backlog::new();
        let cost = Duration::from_millis(2);
        for _ in 0..200 {
            backlog.enter();
            backlog.leave(cost);
        }
        (0..10).for_each(|_| backlog.enter());
        assert_eq!(backlog.wait(backlog.began, None), None);
        let wait = backlog.wait(backlog.began + INTERVAL, None).unwrap();
        assert!(wait > 9 * cost && wait <= 10 * cost, "{wait:?}");
        backlog.rest();
        let rested = Instant::now();
        assert_eq!(backlog.wait(rested, None), None);
        assert!(backlog.wait(rested + 2 * INTERVAL, None).is_some());
    }
}
