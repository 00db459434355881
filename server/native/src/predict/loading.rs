//! Predictions for models that are not there wait while the first bundles are loaded: a client that
//! balances over servers calls one as soon as it takes connections.

use std::sync::atomic::{AtomicU8, Ordering::Acquire, Ordering::Release};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

const DONE: u8 = 0;
const ON: u8 = 1;
const GIVEN_UP: u8 = 2;

/// Whether bundles are loaded for the first time.
#[derive(Default)]
pub(crate) struct Loading {
    state: AtomicU8,
    changed: Notify,
}

impl Loading {
    /// Whether models are still to come.
    pub(crate) fn is_on(&self) -> bool {
        self.state.load(Acquire) == ON
    }

    /// Whether the server stops before all were loaded.
    pub(crate) fn is_given_up(&self) -> bool {
        self.state.load(Acquire) == GIVEN_UP
    }

    /// Tells of another snapshot, and whether models are still to come.
    pub(crate) fn set(&self, on: bool) {
        self.put(if on { ON } else { DONE });
    }

    /// Ends the loading of a server that stops.
    pub(crate) fn give_up(&self) {
        if self.is_on() {
            self.put(GIVEN_UP);
        }
    }

    fn put(&self, state: u8) {
        self.state.store(state, Release);
        self.changed.notify_waiters();
    }

    /// Ends with the next snapshot that comes after this call, or with the loading.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }
}
