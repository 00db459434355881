//! Scorewire's native engine: it owns the socket and the hot path without touching the
//! interpreter; every other call is handed, as bytes, to the control plane in Python.
//!
//! Each folder may use itself and those behind it: python, server beside counts, calls, predict, access,
//! bridge, then transport beside routing, encodings and rows, then onnx and protocol; statistics stands between
//! rows and protocol.
#![warn(clippy::undocumented_unsafe_blocks)]
#![deny(unsafe_op_in_unsafe_fn)]
// The border to Python is what uses the rest.
#![cfg_attr(not(feature = "python"), allow(dead_code))]

mod access;
mod bridge;
mod calls;
mod counts;
mod encodings;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod onnx;
mod predict;
mod protocol;
#[cfg(feature = "python")]
mod python;
mod routing;
mod rows;
mod server;
mod statistics;
mod transport;
