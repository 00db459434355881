//! Scorewire's native engine: it owns the socket and the hot path without touching the
//! interpreter; every other call is handed, as bytes, to the control plane in Python.
#![warn(clippy::undocumented_unsafe_blocks)]
#![deny(unsafe_op_in_unsafe_fn)]

pub mod admission;
pub mod answer;
mod arrivals;
pub mod backlog;
pub mod budget;
mod calls;
pub mod coding;
pub mod connection;
pub mod control;
pub mod elements;
mod entries;
pub mod failure;
pub mod grpc;
pub mod gzip;
pub mod headers;
pub mod inbox;
mod incoming;
pub mod intake;
pub mod limit;
pub mod link;
pub mod loading;
pub mod panics;
pub mod pool;
pub mod predict;
#[cfg(feature = "python")]
pub mod python;
pub mod quota;
pub mod runtime;
pub mod scoring;
pub mod server;
pub mod session;
pub mod shadow;
pub mod snapshot;
pub mod split;
pub mod statistics;
pub mod tensors;
pub mod tls;
pub mod typed;
pub mod wire;
pub mod words;
