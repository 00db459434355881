//! A time limit for runs of graphs.
//!
//! onnxruntime can be told only from another thread to stop a run, and a program of the kernel asks its `Stop`. So one
//! thread of the process watches all runs that have a limit:
//!
//! 1. A run registers its `Stop` and its limit before it begins, and leaves when it has ended. A run whose limit has
//!    passed by then is stopped at once.
//! 2. The thread sleeps until the earliest limit. A run that registers an earlier limit wakes the thread.
//! 3. When a limit passes, the thread stops the run. The run ends before its next operator, or before the next rows
//!    of a program, and its caller gets `RunError::Stopped`.
//! 4. While a server stops, `stop_all` stops every run that is registered, and every run that registers
//!    meanwhile.
//!
//! A run without a limit is not watched, and cannot be stopped.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::onnx::library::GraphError;
use crate::onnx::session::Stop;

/// Why a run has no outputs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RunError {
    /// The limit of the run passed, or a server of this process stops.
    Stopped,
    /// The graph failed.
    Failed(GraphError),
}

impl From<GraphError> for RunError {
    fn from(error: GraphError) -> Self {
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

/// The runs that are registered.
#[derive(Default)]
struct Runs {
    /// The runs by limit; a number tells runs with the same limit apart.
    by_limit: BTreeMap<(Instant, u64), Arc<Stop>>,
    last_number: u64,
    /// Whether the thread that watches was started.
    watched: bool,
    /// How many calls of `stop_all` wait.
    ending: usize,
}

static RUNS: Mutex<Option<Runs>> = Mutex::new(None);
static CHANGED: Condvar = Condvar::new();

fn locked() -> MutexGuard<'static, Option<Runs>> {
    RUNS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps a run registered until this is dropped.
struct Registration((Instant, u64));

impl Registration {
    fn new(until: Instant, stop: &Arc<Stop>) -> Result<Self, GraphError> {
        let mut runs = locked();
        let runs = runs.get_or_insert_default();
        if !runs.watched {
            let thread = std::thread::Builder::new().name("stop-runs".into()).spawn(watch);
            thread.map_err(|error| {
                GraphError(format!("the thread that stops runs cannot be started: {error}"))
            })?;
            runs.watched = true;
        }
        runs.last_number += 1;
        let key = (until, runs.last_number);
        // The thread may wake only after a short run has ended.
        if runs.ending > 0 || until <= Instant::now() {
            stop.stop();
        }
        runs.by_limit.insert(key, Arc::clone(stop));
        if runs.by_limit.first_key_value().is_some_and(|(first, _)| *first == key) {
            CHANGED.notify_one();
        }
        Ok(Self(key))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(runs) = &mut *locked() {
            runs.by_limit.remove(&self.0);
        }
    }
}

/// The thread that watches: it stops the runs whose limit has passed, and never ends.
fn watch() {
    let mut guard = locked();
    loop {
        let now = Instant::now();
        let runs = guard.get_or_insert_default();
        while let Some(first) = runs.by_limit.first_entry().filter(|first| first.key().0 <= now) {
            first.remove().stop();
        }
        let next = runs.by_limit.first_key_value().map(|((until, _), _)| *until);
        guard = match next {
            None => CHANGED.wait(guard).unwrap_or_else(PoisonError::into_inner),
            Some(until) => {
                let waited = CHANGED.wait_timeout(guard, until.saturating_duration_since(now));
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
    }
}

/// Stops all runs that have a limit, and those that begin before `wait` returns: at the end of a server, `wait`
/// waits for the threads that run graphs.
pub(crate) fn stop_all(wait: impl FnOnce()) {
    {
        let mut runs = locked();
        let runs = runs.get_or_insert_default();
        runs.ending += 1;
        for stop in runs.by_limit.values() {
            stop.stop();
        }
    }
    wait();
    locked().get_or_insert_default().ending -= 1;
}

/// Calls `run`, which runs a graph with the `Stop` that it is given, and stops the graph at the time `until`.
/// `None`: the run has no limit.
///
/// # Errors
/// `RunError::Stopped`: the limit passed, or a server stops. `RunError::Failed`: the run failed before, or the
/// thread that watches cannot be started.
pub(crate) fn run<T>(
    until: Option<Instant>,
    run: impl FnOnce(Option<&Stop>) -> Result<T, GraphError>,
) -> Result<T, RunError> {
    let Some(until) = until else { return Ok(run(None)?) };
    let stop = Arc::new(Stop::new()?);
    let registration = Registration::new(until, &stop)?;
    let ran = run(Some(&stop));
    drop(registration);
    match ran {
        Ok(outputs) => Ok(outputs),
        Err(_) if stop.is_stopped() => Err(RunError::Stopped),
        Err(error) => Err(error.into()),
    }
}
