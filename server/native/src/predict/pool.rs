//! The threads that score large batches, so that I/O threads stay free for small calls.
//!
//! The queue is fair among principals (start-time fair queueing): each has its turns by weight, whatever the
//! others have put in. A task starts, in the time of the queue, when the principal's task before it ends, and
//! ends after its cost over the principal's weight; the task that starts first is taken first. The time of the
//! queue is the start of the task that was taken last. Tasks of nobody are like those of one principal, so
//! without principals they are taken in the order in which they came.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::access::principal::{Principal, weight};
use crate::predict::backlog::Backlog;
use crate::transport::arrivals;

type Task = Box<dyn FnOnce() + Send>;

/// A task that waits.
struct Waiting {
    /// In the time of the queue.
    start: u64,
    /// Tasks with the same start are taken as they came.
    number: u64,
    task: Task,
}

impl Waiting {
    fn key(&self) -> (u64, u64) {
        (self.start, self.number)
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    /// The first is the greatest, as a heap gives the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

#[derive(Default)]
struct TaskQueue {
    tasks: BinaryHeap<Waiting>,
    /// The number of tasks so far.
    count: u64,
    /// The time of the queue, and the end of the task that ends last.
    now: u64,
    end: u64,
    /// When the tasks of nobody end.
    nobody: AtomicU64,
    closed: bool,
}

impl TaskQueue {
    fn push(&mut self, principal: Option<&Principal>, cost_ns: u64, task: Task) {
        let (turn, weight) = match principal {
            None => (&self.nobody, weight(1.0)),
            Some(principal) => (&principal.meter.turn, principal.limits.weight),
        };
        // Only changed under the lock.
        let start = turn.load(Relaxed).max(self.now);
        let end = start.saturating_add(cost_ns.saturating_mul(1000) / u64::from(weight) + 1);
        turn.store(end, Relaxed);
        self.end = self.end.max(end);
        self.count += 1;
        self.tasks.push(Waiting { start, number: self.count, task });
    }

    fn pop(&mut self) -> Option<Task> {
        let first = self.tasks.pop();
        // Once all is done nobody owes anything.
        self.now = first.as_ref().map_or(self.end, |first| first.start);
        first.map(|first| first.task)
    }
}

/// A fixed number of threads with one queue. The calls that are open bound the queue: each puts in one task.
pub(crate) struct Pool {
    shared: Arc<(Mutex<TaskQueue>, Condvar)>,
    backlog: Arc<Backlog>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Pool {
    /// Starts the threads.
    ///
    /// # Errors
    /// `std::io::Error`: the system starts no more threads.
    pub(crate) fn new(threads: usize, backlog: &Arc<Backlog>) -> std::io::Result<Self> {
        let shared = Arc::<(Mutex<TaskQueue>, Condvar)>::default();
        let start = |i| {
            let (shared, backlog) = (Arc::clone(&shared), Arc::clone(backlog));
            std::thread::Builder::new()
                .name(format!("score-{i}"))
                .spawn(move || work(&shared, &backlog, threads))
        };
        let started = (0..threads).map(start).collect::<Result<_, _>>()?;
        Ok(Self { shared, backlog: Arc::clone(backlog), threads: Mutex::new(started) })
    }

    /// Runs a task of a principal, or of nobody, in one of the threads. The task is expected to cost what others did.
    pub(crate) fn run(&self, principal: Option<&Principal>, task: impl FnOnce() + Send + 'static) {
        self.run_at_cost(principal, self.backlog.cost_ns(), task);
    }

    /// Runs a task of a principal, or of nobody, in one of the threads. The task is expected to cost so much.
    pub(crate) fn run_at_cost(
        &self,
        principal: Option<&Principal>,
        cost_ns: u64,
        task: impl FnOnce() + Send + 'static,
    ) {
        let (queue, ready) = &*self.shared;
        self.backlog.enter();
        queue.lock().unwrap_or_else(PoisonError::into_inner).push(principal, cost_ns, Box::new(task));
        ready.notify_one();
    }

    /// Drops the tasks that have not begun, and waits for the threads to end.
    pub(crate) fn close(&self) {
        let (queue, ready) = &*self.shared;
        let dropped = {
            let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.closed = true;
            std::mem::take(&mut queue.tasks)
        };
        drop(dropped);
        ready.notify_all();
        for thread in self.threads.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = thread.join();
        }
    }
}

fn work((queue, ready): &(Mutex<TaskQueue>, Condvar), backlog: &Backlog, threads: usize) {
    loop {
        let task = {
            let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                if let Some(task) = queue.pop() {
                    break task;
                }
                if queue.closed {
                    return;
                }
                queue = ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
                backlog.rest();
                arrivals::mark_idle();
            }
        };
        let begin = Instant::now();
        // A panic drops the task's channel, by which its call learns of it; the thread goes on.
        let _ = catch_unwind(AssertUnwindSafe(task));
        backlog.leave(begin.elapsed() / threads as u32);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::access::meters::Meters;
    use crate::access::principal::{Limits, Patterns};

    /// The order in which tasks are taken, each of a principal (an index) with a cost.
    fn order(principals: &[&Principal], tasks: &[(Option<usize>, u64)]) -> Vec<usize> {
        let (sender, taken) = channel();
        let mut queue = TaskQueue::default();
        for (number, (principal, cost_ns)) in tasks.iter().enumerate() {
            let sender = sender.clone();
            let task = Box::new(move || sender.send(number).unwrap());
            queue.push(principal.map(|index| principals[index]), *cost_ns, task);
        }
        while let Some(task) = queue.pop() {
            task();
        }
        drop(sender);
        taken.iter().collect()
    }

    #[test]
    fn tasks_of_nobody_are_taken_as_they_came() {
        let tasks: Vec<_> = [5, 1, 900, 0, 7].map(|cost| (None, cost)).into();
        assert_eq!(order(&[], &tasks), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn the_batches_of_a_principal_do_not_wait_for_all_those_of_another() {
        let meters = Meters::new(1, 1);
        let make = |name: &str, share| {
            let limits = Limits { weight: weight(share), ..Limits::default() };
            meters.principal(name.into(), Patterns::default(), limits)
        };
        let (shop, game) = (make("shop", 1.0), make("game", 1.0));
        let mut tasks = vec![(Some(0), 1000); 6];
        tasks.extend([(Some(1), 1000); 2]);
        assert_eq!(order(&[&shop, &game], &tasks), [0, 6, 1, 7, 2, 3, 4, 5]);
        // With three times the weight it has three turns for one.
        let (shop, game) = (make("small", 1.0), make("large", 3.0));
        let mut tasks = vec![(Some(0), 1000); 3];
        tasks.extend([(Some(1), 1000); 5]);
        assert_eq!(order(&[&shop, &game], &tasks), [0, 3, 4, 5, 1, 6, 7, 2]);
    }

    #[test]
    fn nobody_owes_for_tasks_once_the_queue_was_empty() {
        let meters = Meters::new(1, 1);
        let make = |name: &str| meters.principal(name.into(), Patterns::default(), Limits::default());
        let (shop, game) = (make("shop"), make("game"));
        let mut queue = TaskQueue::default();
        (0..5).for_each(|_| queue.push(Some(&shop), 1000, Box::new(|| {})));
        while queue.pop().is_some() {}
        queue.push(Some(&shop), 1000, Box::new(|| {}));
        queue.push(Some(&game), 1000, Box::new(|| {}));
        let starts: Vec<_> = queue.tasks.iter().map(|task| task.start).collect();
        assert_eq!(starts[0], starts[1]);
    }

    #[test]
    fn a_task_that_panics_costs_no_thread_and_waits_no_more() {
        let backlog = Arc::new(Backlog::new());
        let pool = Pool::new(1, &backlog).unwrap();
        let (sender, result) = channel::<()>();
        pool.run(None, move || {
            let _dropped = sender;
            panic!("a fault of the task");
        });
        assert!(result.recv().is_err());
        let (sender, result) = channel();
        pool.run(None, move || sender.send(7).unwrap());
        assert_eq!(result.recv(), Ok(7));
        pool.close();
        assert_eq!(backlog.waiting(), 0);
    }
}
