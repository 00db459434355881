//! What the thread of a run and its owner tell each other.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64};

use crate::answers::FreshAnswers;
use crate::tally::Second;

/// See the module.
#[derive(Default)]
pub(crate) struct Shared {
    /// Whether no more calls are to be made.
    pub(crate) stopped: AtomicBool,
    /// Whether the run is to end at once.
    pub(crate) aborted: AtomicBool,
    /// The measured calls that were answered, and those that failed.
    pub(crate) answered: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) last_second: Mutex<Option<Second>>,
    pub(crate) fresh: FreshAnswers,
}
