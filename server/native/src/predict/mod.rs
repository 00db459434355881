//! Predictions: decoded, routed, validated, scored, encoded, and told to the observers.

pub(crate) mod admission;
pub(crate) mod backlog;
pub(crate) mod budget;
pub(crate) mod call;
pub(crate) mod columns;
pub(crate) mod counting;
pub(crate) mod loading;
pub(crate) mod observer;
pub(crate) mod observers;
pub(crate) mod outcome;
pub(crate) mod pipeline;
pub(crate) mod pool;
pub(crate) mod recording;
pub(crate) mod scoring;
pub(crate) mod shadow;
pub(crate) mod ticket;
pub(crate) mod tracing;
