//! Scorewire's native engine: it owns the socket and the hot path without touching the
//! interpreter; every other call is handed, as bytes, to the control plane in Python.
#![warn(clippy::undocumented_unsafe_blocks)]
#![deny(unsafe_op_in_unsafe_fn)]

pub mod bridge;
mod calls;
pub mod encodings;
pub mod onnx;
pub mod predict;
pub mod protocol;
#[cfg(feature = "python")]
pub mod python;
pub mod routing;
pub mod rows;
pub mod server;
pub mod statistics;
pub mod transport;
