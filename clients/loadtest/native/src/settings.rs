//! What a run is to do.

use std::sync::Arc;

use bytes::Bytes;

use crate::pacing::Arrivals;
use crate::socket::Address;
use crate::tls::Tls;

/// A call that is made again and again.
#[derive(Debug, Clone)]
pub(crate) struct PreparedCall {
    /// The message with its prefix, as it goes over the wire of a unary call.
    pub(crate) framed: Bytes,
    /// The number of its rows.
    pub(crate) rows: u64,
}

/// When calls are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Load {
    /// Each call is made when it is due. While `max_outstanding` calls are in flight, due calls wait.
    Open { arrivals: Arrivals, rate: f64, max_outstanding: usize },
    /// So many callers, each of which waits for a response before its next call.
    Closed { concurrency: usize },
}

/// The settings of a run. Times are in nanoseconds.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) address: Address,
    /// The authority of requests: the host and the port.
    pub(crate) authority: String,
    pub(crate) tls: Option<Tls>,
    /// The method: of unary calls, or of streams where there are `streams`.
    pub(crate) path: String,
    pub(crate) user_agent: String,
    /// What all requests show of who calls.
    pub(crate) authorization: Option<String>,
    pub(crate) calls: Arc<[PreparedCall]>,
    /// The numbers of the fields of a response that differ with each call.
    pub(crate) volatile_fields: Vec<u64>,
    pub(crate) connections: usize,
    /// The number of streams; `None` for unary calls.
    pub(crate) streams: Option<usize>,
    pub(crate) load: Load,
    pub(crate) warmup_ns: u64,
    pub(crate) duration_ns: u64,
    pub(crate) timeout_ns: u64,
    pub(crate) max_message_bytes: usize,
    /// Whether the run looks for answers without sleeping, so that no latency includes the time to wake it.
    pub(crate) spins: bool,
}
