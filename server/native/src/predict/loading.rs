//! The first load of all bundles, during which predictions for models that are not there yet wait. A client that
//! balances over servers calls a server as soon as it takes connections, and must not get NOT_FOUND for a model
//! that is about to come.

use std::sync::atomic::{AtomicU8, Ordering::Acquire, Ordering::Release};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

const DONE: u8 = 0;
const ON: u8 = 1;
const GIVEN_UP: u8 = 2;

/// Whether the first load is still going on.
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

    /// Whether the server began to stop before the first load was over.
    pub(crate) fn is_given_up(&self) -> bool {
        self.state.load(Acquire) == GIVEN_UP
    }

    /// Tells waiting calls that there is another snapshot, and whether models are still to come.
    pub(crate) fn set(&self, on: bool) {
        self.put(if on { ON } else { DONE });
    }

    /// Ends the first load of a server that stops.
    pub(crate) fn give_up(&self) {
        if self.is_on() {
            self.put(GIVEN_UP);
        }
    }

    fn put(&self, state: u8) {
        self.state.store(state, Release);
        self.changed.notify_waiters();
    }

    /// Completes with the next snapshot after this call, or when the first load ends.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }
}
