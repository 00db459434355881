//! Panics are reported to the control plane, which logs them. They are never written to standard error: its
//! reader may have stopped reading, and a thread of the engine must not wait for a reader.

use std::panic;
use std::sync::{Arc, OnceLock, Weak};

use crate::bridge::events::Events;

static EVENTS: OnceLock<Weak<Events>> = OnceLock::new();

/// Reports the panics of this process to the control plane of an engine. Only the first call has an effect: but
/// for tests, a process has one engine.
pub(crate) fn report_to(events: &Arc<Events>) {
    let _ = EVENTS.set(Arc::downgrade(events));
}

/// Replaces the panic hook of the process, which writes to standard error. The place and the message of a panic
/// go to the control plane, as long as its engine lives. The code that catches the panic says which call failed.
pub(crate) fn install_hook() {
    panic::set_hook(Box::new(|info| {
        if let Some(events) = EVENTS.get().and_then(Weak::upgrade) {
            events.panicked(&info.to_string());
        }
    }));
}
