//! Scorewire's native engine: it owns the socket and the hot path without touching the
//! interpreter; every other call is handed, as bytes, to the control plane in Python.
#![warn(clippy::pedantic, clippy::undocumented_unsafe_blocks)]
#![deny(unsafe_op_in_unsafe_fn)]

mod calls;
mod coding;
mod connection;
mod control;
mod failure;
mod grpc;
mod pool;
mod predict;
#[cfg(feature = "python")]
mod python;
mod runtime;
mod server;
mod snapshot;
mod statistics;
mod tls;
pub mod wire;
