//! Which version answers a call.

pub(crate) mod snapshot;
pub(crate) mod split;
pub(crate) mod version;
