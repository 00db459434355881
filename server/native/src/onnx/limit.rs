//! Ends runs that take too long, by a thread that sleeps until the first of them must be over.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::onnx::library::OrtError;
use crate::onnx::session::Stop;

/// Why a run has no outputs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RunError {
    /// It was to be over, and was stopped.
    Stopped,
    Failed(OrtError),
}

impl From<OrtError> for RunError {
    fn from(error: OrtError) -> Self {
        Self::Failed(error)
    }
}

impl std::fmt::Display for RunError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stopped => f.write_str("the run took too long and was stopped"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

/// The runs that have a limit, by when they must be over; the number tells runs of one time apart.
#[derive(Default)]
struct Runs {
    by_end: BTreeMap<(Instant, u64), Arc<Stop>>,
    last: u64,
    watched: bool,
    /// How many wait for the end of all runs.
    ending: usize,
}

static RUNS: Mutex<Option<Runs>> = Mutex::new(None);
static CHANGED: Condvar = Condvar::new();

fn locked() -> MutexGuard<'static, Option<Runs>> {
    RUNS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A run among those that are watched, as long as this lives.
struct Watched((Instant, u64));

impl Watched {
    fn new(until: Instant, stop: &Arc<Stop>) -> Result<Self, OrtError> {
        let mut runs = locked();
        let runs = runs.get_or_insert_default();
        if !runs.watched {
            let thread = std::thread::Builder::new().name("stop-runs".into()).spawn(watch);
            thread.map_err(|error| OrtError(format!("no thread can be started: {error}")))?;
            runs.watched = true;
        }
        runs.last += 1;
        let key = (until, runs.last);
        if runs.ending > 0 {
            stop.stop();
        }
        runs.by_end.insert(key, Arc::clone(stop));
        if runs.by_end.first_key_value().is_some_and(|(first, _)| *first == key) {
            CHANGED.notify_one();
        }
        Ok(Self(key))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(runs) = &mut *locked() {
            runs.by_end.remove(&self.0);
        }
    }
}

fn watch() {
    let mut guard = locked();
    loop {
        let now = Instant::now();
        let runs = guard.get_or_insert_default();
        while let Some(first) = runs.by_end.first_entry().filter(|first| first.key().0 <= now) {
            first.remove().stop();
        }
        let next = runs.by_end.first_key_value().map(|((until, _), _)| *until);
        guard = match next {
            None => CHANGED.wait(guard).unwrap_or_else(PoisonError::into_inner),
            Some(until) => {
                let waited = CHANGED.wait_timeout(guard, until.saturating_duration_since(now));
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
    }
}

/// Ends all runs that have a limit, and those that begin until `wait` returns, as of a process that is
/// about to end.
pub(crate) fn stop_all(wait: impl FnOnce()) {
    {
        let mut runs = locked();
        let runs = runs.get_or_insert_default();
        runs.ending += 1;
        for stop in runs.by_end.values() {
            stop.stop();
        }
    }
    wait();
    locked().get_or_insert_default().ending -= 1;
}

/// Runs something that ends soon after its `Stop` says so; without a time it is not watched.
///
/// # Errors
/// It failed, or was to be over before it was.
pub(crate) fn run<T>(
    until: Option<Instant>,
    run: impl FnOnce(Option<&Stop>) -> Result<T, OrtError>,
) -> Result<T, RunError> {
    let Some(until) = until else { return Ok(run(None)?) };
    let stop = Arc::new(Stop::new()?);
    let watched = Watched::new(until, &stop)?;
    let ran = run(Some(&stop));
    drop(watched);
    match ran {
        Ok(outputs) => Ok(outputs),
        Err(_) if stop.is_stopped() => Err(RunError::Stopped),
        Err(error) => Err(error.into()),
    }
}
