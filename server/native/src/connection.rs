//! One connection: its handshake, its calls, its end.

use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Ping, PingPong, RecvStream};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::calls::{self, Worker};

const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
const MAX_FRAME_BYTES: u32 = 1 << 16;
const MAX_HEADER_BYTES: u32 = 16 << 10;
const MAX_SEND_BUFFER_BYTES: usize = 1 << 20;
// Connections whose other end went away are found within 80 seconds.
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How far the engine is from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Serving,
    /// Connections take no new calls and end with their last one.
    Closing,
}

/// What connections are told.
#[derive(Debug, Clone)]
pub struct Options {
    pub max_streams: u32,
    /// Age at which a client is told to connect anew.
    pub max_age: Option<Duration>,
}

type Accepted = (Request<RecvStream>, SendResponse<Bytes>);

/// Serves a connection to its end.
pub async fn serve<T: AsyncRead + AsyncWrite + Unpin>(
    io: T,
    worker: Arc<Worker>,
    options: &Options,
    mut phase: watch::Receiver<Phase>,
) {
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(MAX_FRAME_BYTES)
        .max_header_list_size(MAX_HEADER_BYTES)
        .max_concurrent_streams(options.max_streams)
        // A caller may cancel all that it has open at once.
        .max_pending_accept_reset_streams(options.max_streams as usize)
        .max_concurrent_reset_streams(options.max_streams as usize)
        .max_send_buffer_size(MAX_SEND_BUFFER_BYTES);
    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, builder.handshake::<T, Bytes>(io));
    let Ok(Ok(mut connection)) = handshake.await else { return };
    let keepalive = keep_alive(connection.ping_pong());
    let age = async {
        match options.max_age {
            Some(age) => tokio::time::sleep(age).await,
            None => std::future::pending().await,
        }
    };
    // One future for the whole life: one anew for every wake would register with all connections'.
    let told = async {
        let _ = phase.wait_for(|phase| *phase == Phase::Closing).await;
    };
    tokio::pin!(keepalive, age, told);
    let mut closing = false;
    let mut accepted: Vec<Accepted> = Vec::new();
    loop {
        // All calls that are here are read before the first is answered, so that their answers
        // leave in one write.
        let batch = std::future::poll_fn(|cx| {
            loop {
                match connection.poll_accept(cx) {
                    Poll::Ready(Some(Ok(call))) => accepted.push(call),
                    Poll::Ready(_) => return Poll::Ready(false),
                    Poll::Pending if accepted.is_empty() => return Poll::Pending,
                    Poll::Pending => break,
                }
            }
            let received = Instant::now();
            for (request, respond) in accepted.drain(..) {
                calls::begin(&worker, request, respond, received, cx);
            }
            Poll::Ready(true)
        });
        tokio::select! {
            biased;
            open = batch => {
                if !open {
                    return;
                }
            }
            () = &mut told, if !closing => {
                closing = true;
                connection.graceful_shutdown();
            }
            () = &mut age, if !closing => {
                closing = true;
                connection.graceful_shutdown();
            }
            () = &mut keepalive => return,
        }
    }
}

/// Pings now and then; ends when the other end no longer answers.
async fn keep_alive(ping_pong: Option<PingPong>) {
    let Some(mut ping_pong) = ping_pong else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(KEEPALIVE).await;
        let ping = tokio::time::timeout(KEEPALIVE_TIMEOUT, ping_pong.ping(Ping::opaque()));
        if !matches!(ping.await, Ok(Ok(_))) {
            return;
        }
    }
}
