//! The native generator of `scorewire load`: calls at the speed of h2load, on one thread.
//!
//! The thread waits for sockets and timers, and passes bytes between the sockets and sessions of nghttp2. It
//! never touches the interpreter: Python prepares the calls, judges each distinct answer once, and makes the
//! report of what was counted here.
//!
//! The layers, each of which may use those behind it: python, run, attack; schedule, shared, lane, connection;
//! grpc, answers, tally; status, settings; http2, socket; and what uses nothing else of the crate.
#![warn(clippy::undocumented_unsafe_blocks)]
#![deny(unsafe_op_in_unsafe_fn)]
// The border to Python is what uses the rest.
#![cfg_attr(not(feature = "python"), allow(dead_code))]

mod answers;
mod attack;
mod connection;
mod grpc;
mod histogram;
mod http2;
mod lane;
mod meter;
mod pacing;
mod protobuf;
#[cfg(feature = "python")]
mod python;
mod run;
mod schedule;
mod settings;
mod shared;
mod socket;
mod status;
mod tally;
mod timer;
mod tls;
