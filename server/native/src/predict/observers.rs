//! All observers of answered messages, put together.

use crate::predict::counting::Counting;
use crate::predict::observer::{Observation, Observer};
use crate::predict::shadow::ShadowLane;

/// All observers, in the order in which they are told.
pub(crate) struct Observers {
    pub counting: Counting,
    pub shadow: ShadowLane,
}

impl Observer for Observers {
    #[inline]
    fn observe(&self, observation: &Observation<'_>) {
        self.counting.observe(observation);
        self.shadow.observe(observation);
    }
}
