//! Grants: what valid credentials give.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::access::principal::Principal;

/// What a valid credential gives to the calls that show it.
pub(crate) struct Grant {
    pub principal: Arc<Principal>,
    /// When the credential ends. `None`: never.
    pub expires: Option<Instant>,
}

impl fmt::Debug for Grant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Grant").field(&self.principal.name).finish()
    }
}

#[cfg(test)]
impl Grant {
    /// A grant that never ends.
    pub(crate) fn of(principal: Principal) -> Arc<Self> {
        Arc::new(Self { principal: Arc::new(principal), expires: None })
    }
}
