//! HTTP/2 for one connection, without its socket: bytes in, calls out; responses in, bytes out.
//!
//! This folder wraps nghttp2's C library, which nothing else in the crate calls. `session` has the methods by
//! which the engine drives a connection, `callbacks` has the functions that nghttp2 calls back, and both
//! write `state`. The rules of its `unsafe` code stand at the head of `session`.

mod callbacks;
#[cfg(any(test, fuzzing))]
pub(crate) mod exercise;
pub(crate) mod fields;
#[cfg(test)]
pub(crate) mod frames;
mod memory;
mod request_bytes;
mod resets;
pub(crate) mod session;
pub(crate) mod state;
#[cfg(test)]
mod tests;
