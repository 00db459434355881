//! HTTP/2 of one connection without its socket: bytes in, calls out, and the other way round.
//!
//! Over nghttp2's session, which nothing else calls. A `Http2Session` is one object on both sides of the
//! border: nghttp2's part, and `SessionState`, to which the callbacks alone refer while a function of
//! nghttp2 runs, and the methods of `Http2Session` alone while none does.

mod callbacks;
#[cfg(any(test, fuzzing))]
pub(crate) mod exercise;
pub(crate) mod fields;
mod resets;
pub(crate) mod session;
pub(crate) mod state;
#[cfg(test)]
mod tests;
