//! HTTP/2 by nghttp2: a client's session, which is fed with bytes and has no socket.

pub(crate) mod event;
pub(crate) mod session;

mod callbacks;
mod state;
#[cfg(test)]
mod tests;
