//! The threads that score large batches, so that the I/O threads go on.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::arrivals;
use crate::backlog::Backlog;

type Task = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    tasks: VecDeque<Task>,
    closed: bool,
}

/// A fixed number of threads; what waits for them is bounded by the calls in flight.
pub struct Pool {
    shared: Arc<(Mutex<Queue>, Condvar)>,
    backlog: Arc<Backlog>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Pool {
    /// # Errors
    /// A thread cannot be started.
    pub fn new(threads: usize, backlog: &Arc<Backlog>) -> std::io::Result<Self> {
        let shared = Arc::<(Mutex<Queue>, Condvar)>::default();
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
    pub fn run(&self, task: impl FnOnce() + Send + 'static) {
        let (queue, ready) = &*self.shared;
        self.backlog.enter();
        queue.lock().unwrap_or_else(PoisonError::into_inner).tasks.push_back(Box::new(task));
        ready.notify_one();
    }

    /// Drops what has not begun, and lets the threads end.
    pub fn close(&self) {
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

fn work((queue, ready): &(Mutex<Queue>, Condvar), backlog: &Backlog, threads: usize) {
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
                arrivals::rested();
            }
        };
        let begin = Instant::now();
        task();
        backlog.leave(begin.elapsed() / threads as u32);
    }
}
