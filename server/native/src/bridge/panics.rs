//! Where a panic goes: to the control plane's log, and never to the standard error, whose reader
//! may have stopped reading while a thread of the engine must not wait.

use std::panic;
use std::sync::{Arc, OnceLock, Weak};

use crate::bridge::events::Events;

static EVENTS: OnceLock<Weak<Events>> = OnceLock::new();

/// Sends the panics of the process to these events, which are those of its first engine.
pub(crate) fn report_to(events: &Arc<Events>) {
    // A process has one engine, but for tests; one that is gone is not told.
    let _ = EVENTS.set(Arc::downgrade(events));
}

/// Keeps panics from the standard error; who catches one says what call failed with it.
pub(crate) fn install_hook() {
    panic::set_hook(Box::new(|info| {
        if let Some(events) = EVENTS.get().and_then(Weak::upgrade) {
            events.panicked(&info.to_string());
        }
    }));
}
