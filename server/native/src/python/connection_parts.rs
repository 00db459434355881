//! The limits of connections, on their way from Python.

use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;

use crate::predict::pipeline::Predictor;
use crate::transport::connection::ConnectionOptions;
use crate::transport::connection_limits::LimitCounts;
use crate::transport::grpc::INITIAL;
use crate::transport::trailers::trailers;

/// What a connection may do, and how many there may be, by the names of the settings; 0 is no limit.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(super) struct ConnectionParts {
    max_streams: u32,
    max_metadata_bytes: u32,
    max_connection_age_grace_seconds: f64,
    max_connection_age_seconds: f64,
    max_connection_idle_seconds: f64,
    max_connection_bytes: usize,
    pub max_connections: usize,
    pub max_connections_per_address: usize,
    max_stall_seconds: f64,
    max_stream_seconds: f64,
}

/// A time; none where it is 0.
fn time(seconds: f64) -> Option<Duration> {
    (seconds > 0.0).then(|| Duration::from_secs_f64(seconds))
}

impl ConnectionParts {
    pub(super) fn max_stream(&self) -> Option<Duration> {
        time(self.max_stream_seconds)
    }

    pub(super) fn options(&self, predictor: &Predictor, counts: &Arc<LimitCounts>) -> ConnectionOptions {
        ConnectionOptions {
            max_streams: self.max_streams,
            max_metadata_bytes: self.max_metadata_bytes,
            max_age: time(self.max_connection_age_seconds),
            max_age_grace: time(self.max_connection_age_grace_seconds),
            max_idle: time(self.max_connection_idle_seconds),
            max_stall: time(self.max_stall_seconds),
            max_bytes: self.max_connection_bytes,
            closing_fields: (&INITIAL, trailers(&predictor.scorer.errors.draining).into()),
            quota: Arc::clone(&predictor.quota),
            counts: Arc::clone(counts),
        }
    }
}
