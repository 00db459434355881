//! The way to the control plane and back.

pub(crate) mod events;
pub(crate) mod panics;
pub(crate) mod question;
