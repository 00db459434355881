//! The bridge to the control plane: events, questions and panics go there, and answers come back.

pub(crate) mod events;
pub(crate) mod panics;
pub(crate) mod question;
