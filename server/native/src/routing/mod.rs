//! Routing: from the names in a request to the version that answers.

pub(crate) mod snapshot;
pub(crate) mod source;
pub(crate) mod split;
pub(crate) mod version;
