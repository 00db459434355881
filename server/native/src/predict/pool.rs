//! The threads that score large batches, so that I/O threads stay free for small calls.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::predict::backlog::Backlog;
use crate::transport::arrivals;

type Task = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct TaskQueue {
    tasks: VecDeque<Task>,
    closed: bool,
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

    /// Runs a task in one of the threads.
    pub(crate) fn run(&self, task: impl FnOnce() + Send + 'static) {
        let (queue, ready) = &*self.shared;
        self.backlog.enter();
        queue.lock().unwrap_or_else(PoisonError::into_inner).tasks.push_back(Box::new(task));
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
                if let Some(task) = queue.tasks.pop_front() {
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

    #[test]
    fn a_task_that_panics_costs_no_thread_and_waits_no_more() {
        let backlog = Arc::new(Backlog::new());
        let pool = Pool::new(1, &backlog).unwrap();
        let (sender, result) = channel::<()>();
        pool.run(move || {
            let _dropped = sender;
            panic!("a fault of the task");
        });
        assert!(result.recv().is_err());
        let (sender, result) = channel();
        pool.run(move || sender.send(7).unwrap());
        assert_eq!(result.recv(), Ok(7));
        pool.close();
        assert_eq!(backlog.waiting(), 0);
    }
}
