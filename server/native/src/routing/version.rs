//! A version that can serve.

use std::sync::Arc;

use crate::encodings::encoding::WireSchema;
use crate::encodings::message::{Decoded, Scores, Times};
use crate::onnx::binding::IoBinding;
use crate::rows::coding::CodingScratch;
use crate::rows::explainer::Explainer;
use crate::rows::runner::GraphRunner;
use crate::statistics::VersionCounts;

/// The counts of one version, one for each worker.
pub(crate) type VersionShards = Box<[Arc<VersionCounts>]>;

/// One version: its names, its graph, and how its calls are read and answered.
pub(crate) struct Version {
    pub model: String,
    pub version: String,
    /// The major number. Each major of a model has its own typed service.
    pub major: u64,
    pub fingerprint: String,
    /// Nanoseconds that one row costs, measured when the bundle was loaded.
    pub row_ns: f64,
    /// The most rows of one call, where the version takes fewer than the server.
    pub max_rows: Option<u32>,
    /// The output whose last column is counted as the score.
    pub score_output: Option<usize>,
    pub runner: GraphRunner,
    /// By output, those that can be explained, in schema order.
    pub explainers: Vec<Explainer>,
    pub wire: WireSchema,
    pub counts: Arc<VersionShards>,
}

impl Version {
    /// What the answer to a message is written from, once its rows were examined or scored. It has no id yet.
    pub(crate) fn scores<'a>(
        &'a self,
        data: &'a [u8],
        decoded: &'a Decoded,
        scratch: &'a CodingScratch,
        binding: Option<&'a IoBinding>,
        times: Times,
    ) -> Scores<'a> {
        Scores {
            data,
            decoded,
            binding,
            outputs: &self.runner.outputs,
            score_output: self.score_output,
            coder: &self.runner.coder,
            errors: &scratch.errors,
            kept: &scratch.kept,
            times,
            prediction_id: &[],
            explained: None,
        }
    }

    /// The index of the explainer of an output, of the first one for ""; `None` where the output cannot be explained.
    pub(crate) fn explainer(&self, output: &str) -> Option<usize> {
        match output {
            "" => (!self.explainers.is_empty()).then_some(0),
            output => self.explainers.iter().position(|explainer| explainer.output == output),
        }
    }
}
