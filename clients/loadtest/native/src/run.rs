//! A run on a thread of its own, and what can be told of it meanwhile.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::answers::Fresh;
use crate::attack::Attack;
use crate::settings::Settings;
use crate::shared::Shared;
use crate::tally::{Second, Totals};

/// How a run has ended, once it has.
#[derive(Default)]
struct Outcome {
    totals: Mutex<Option<Result<Totals, String>>>,
    ended: Condvar,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A run that is under way. Dropping it ends the run at once.
pub(crate) struct Run {
    shared: Arc<Shared>,
    outcome: Arc<Outcome>,
    thread: Option<JoinHandle<()>>,
}

impl Run {
    /// Begins a run.
    ///
    /// # Errors
    /// `io::Error`: the system gives no thread.
    pub(crate) fn start(settings: Settings) -> io::Result<Self> {
        let (shared, outcome) = (Arc::<Shared>::default(), Arc::<Outcome>::default());
        let (own, told) = (Arc::clone(&shared), Arc::clone(&outcome));
        let run = move || {
            let attack = || Attack::new(&settings, &own).and_then(Attack::run);
            let totals = catch_unwind(AssertUnwindSafe(attack));
            let totals = totals.unwrap_or_else(|_| Err(io::Error::other("the generator panicked")));
            *lock(&told.totals) = Some(totals.map_err(|error| error.to_string()));
            told.ended.notify_all();
        };
        let thread = std::thread::Builder::new().name("generator".to_owned()).spawn(run)?;
        Ok(Self { shared, outcome, thread: Some(thread) })
    }

    /// Waits for the end of the run, at most so long. Returns whether it has ended.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let totals = lock(&self.outcome.totals);
        let waited = self.outcome.ended.wait_timeout_while(totals, time, |totals| totals.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.is_some()
    }

    /// Ends the run early: no more calls are made, and those in flight are waited for.
    pub(crate) fn stop(&self) {
        self.shared.stopped.store(true, Relaxed);
    }

    /// The measured calls that were answered and that failed so far, and the last second.
    pub(crate) fn progress(&self) -> (u64, u64, Option<Second>) {
        let Shared { answered, failed, last_second, .. } = &*self.shared;
        (answered.load(Relaxed), failed.load(Relaxed), *lock(last_second))
    }

    /// Takes the answers that are new.
    pub(crate) fn take_answers(&self) -> Vec<Fresh> {
        self.shared.fresh.take()
    }

    /// Takes the counts of a run that has ended; `None` before that, and after the first time.
    pub(crate) fn take_totals(&self) -> Option<Result<Totals, String>> {
        lock(&self.outcome.totals).take()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.shared.aborted.store(true, Relaxed);
        self.shared.fresh.close();
        if let Some(thread) = self.thread.take() {
            // The thread catches its panics, so that there is no error.
            let _ = thread.join();
        }
    }
}
