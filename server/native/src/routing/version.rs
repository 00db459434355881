//! A version that serves.

use std::sync::Arc;

use crate::encodings::encoding::WireSchema;
use crate::rows::runner::GraphRunner;
use crate::statistics::VersionCounts;

/// What each worker counts of one version.
pub(crate) type VersionShards = Box<[VersionCounts]>;

/// One version: its names, its graph, and how its calls are read and answered.
pub(crate) struct Version {
    pub model: String,
    pub version: String,
    /// The first number of the version, by which typed services are told apart.
    pub major: u64,
    pub fingerprint: String,
    /// What one row costs, in nanoseconds, as it was measured at the load.
    pub row_ns: f64,
    /// The most rows of one call, where the version takes fewer than the server.
    pub max_rows: Option<u32>,
    /// The output whose last column is counted as the score.
    pub score_output: Option<usize>,
    pub runner: GraphRunner,
    pub wire: WireSchema,
    pub counts: Arc<VersionShards>,
}
