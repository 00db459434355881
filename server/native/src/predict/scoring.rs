//! Scores the rows of messages that were read, writes their answers and tells the observers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::bridge::events::Events;
use crate::bridge::question::Problem;
use crate::encodings::message::{Decoded, Scores};
use crate::onnx::binding::IoBinding;
use crate::onnx::library::GraphError;
use crate::onnx::limit::RunError;
use crate::predict::call::Call;
use crate::predict::observer::{Observation, Observer, ScoreError};
use crate::predict::observers::Observers;
use crate::predict::outcome::ReadTimes;
use crate::predict::ticket::Ticket;
use crate::protocol::framing::PREFIX_BYTES;
use crate::protocol::status::{FixedErrors, RpcError};
use crate::routing::snapshot::{Route, Target};
use crate::routing::source::RecordedSource;
use crate::rows::coding::{CodingScratch, Rows};
use crate::rows::microbatch::Microbatch;
use crate::rows::runner::RunTimes;

/// A message that was read and routed, and whose rows are to be scored.
#[derive(Clone, Copy)]
pub(crate) struct Routed<'a> {
    pub message: &'a Bytes,
    pub decoded: &'a Decoded,
    pub call: &'a Call,
    pub route: &'a Route,
    pub target: &'a Target,
    pub read: ReadTimes,
}

impl<'a> Routed<'a> {
    fn rows(&self) -> Rows<'a> {
        Rows::of(&self.decoded.request, self.message)
    }

    fn scores<'s>(
        &'s self,
        scratch: &'s CodingScratch,
        binding: Option<&'s IoBinding>,
        run: RunTimes,
    ) -> Scores<'s> {
        let times = self.read.with(run);
        self.target.version.scores(self.message, self.decoded, scratch, binding, times)
    }
}

/// What the engine may take.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub max_rows: u32,
    pub max_message_bytes: usize,
    /// The longest time of one run of a graph in a thread for large batches.
    pub max_run: Duration,
}

/// What scoring needs.
pub(crate) struct Scorer {
    pub errors: FixedErrors,
    pub observers: Observers,
    pub limits: Limits,
    pub events: Arc<Events>,
}

impl Scorer {
    /// Looks texts up and finds the rows that are refused.
    ///
    /// # Errors
    /// `ScoreError`: a row is refused, and the encoding's answers cannot say so.
    pub(crate) fn examine(
        &self,
        worker: usize,
        routed: &Routed<'_>,
        scratch: &mut CodingScratch,
    ) -> Result<(), ScoreError> {
        let coder = &routed.target.version.runner.coder;
        coder.examine(routed.rows(), scratch);
        let Some(error) = scratch.errors.first() else { return Ok(()) };
        let encoding = routed.call.method.encoding;
        if encoding.answers_row_errors() {
            return Ok(());
        }
        if let Some(path) = encoding.forwards_to() {
            return Err(ScoreError::Forward(path));
        }
        let refusal = coder.refusal(error).to_vec();
        let now = Instant::now();
        let scores = routed.scores(scratch, None, RunTimes { begin: now, end: now });
        let shadowed = self.observers.shadow.draws(routed.route);
        let refused = Err(ScoreError::Question(Problem::Row(refusal)));
        self.tell(worker, routed, &scores, shadowed, None, refused).map(drop)
    }

    /// Scores rows that were examined, and writes the answer. A run that is not over at `until` is stopped.
    ///
    /// # Errors
    /// `ScoreError`: the run failed or was stopped, or the answer is longer than allowed.
    pub(crate) fn score(
        &self,
        worker: usize,
        routed: &Routed<'_>,
        scratch: &mut CodingScratch,
        until: Option<Instant>,
    ) -> Result<Vec<u8>, ScoreError> {
        let (rows, call) = (routed.rows(), routed.call);
        if scratch.errors.len() == rows.count {
            let now = Instant::now();
            return self.answer(worker, routed, scratch, None, RunTimes { begin: now, end: now });
        }
        let answer = |binding: &IoBinding, scratch: &CodingScratch, run| {
            self.answer(worker, routed, scratch, Some(binding), run)
        };
        match routed.target.version.runner.run(worker, rows, scratch, until, answer) {
            Ok(scored) => scored,
            Err(RunError::Stopped) if call.is_expired(Instant::now()) => {
                Err(ScoreError::Rpc(self.errors.expired.clone()))
            }
            Err(RunError::Stopped) => Err(ScoreError::Rpc(self.errors.run_stopped.clone())),
            Err(RunError::Failed(error)) => Err(self.failed(routed, &error)),
        }
    }

    /// Scores single rows of different calls to one version in one run, and gives what became of each, in
    /// their order. All rows were examined, and none has an error.
    ///
    /// # Errors
    /// `GraphError`: the run failed, and no call was scored.
    pub(crate) fn score_microbatch(
        &self,
        worker: usize,
        calls: &mut [(Routed<'_>, &mut CodingScratch)],
    ) -> Result<Vec<Result<Vec<u8>, ScoreError>>, GraphError> {
        let runner = &calls[0].0.target.version.runner;
        let mut batch = Microbatch::new(runner, worker, calls.len())?;
        for (at, (routed, scratch)) in calls.iter_mut().enumerate() {
            batch.fill(at, routed.rows(), scratch)?;
        }
        batch.fill_entries(calls.iter().map(|(_, scratch)| &**scratch))?;
        let mut scored = Vec::with_capacity(calls.len());
        batch.run(|at, binding, run| {
            let (routed, scratch) = &calls[at];
            if let Some(trace) = &routed.call.trace {
                trace.shares_run(calls.len());
            }
            scored.push(self.answer(worker, routed, scratch, Some(binding), run));
        })?;
        Ok(scored)
    }

    /// Writes the answer, and tells the observers; `binding` has the outputs, and is `None` where every row
    /// has an error.
    fn answer(
        &self,
        worker: usize,
        routed: &Routed<'_>,
        scratch: &CodingScratch,
        binding: Option<&IoBinding>,
        run: RunTimes,
    ) -> Result<Vec<u8>, ScoreError> {
        let scores = routed.scores(scratch, binding, run);
        let shadowed = self.observers.shadow.draws(routed.route);
        match &routed.target.source {
            None => self.write(worker, routed, &scores, shadowed, None),
            Some(source) => self.write_recorded(worker, routed, scores, shadowed, source),
        }
    }

    /// Writes an answer that names its record, if the policy keeps the prediction. Not inlined, so that answers
    /// without records pay for no ticket.
    #[inline(never)]
    fn write_recorded(
        &self,
        worker: usize,
        routed: &Routed<'_>,
        scores: Scores<'_>,
        shadowed: bool,
        source: &RecordedSource,
    ) -> Result<Vec<u8>, ScoreError> {
        let ticket = self.observers.ticket(worker, source, routed.call, &scores, shadowed);
        let scores = Scores { prediction_id: ticket.as_ref().map_or(&[], Ticket::id), ..scores };
        self.write(worker, routed, &scores, shadowed, ticket.as_ref())
    }

    fn write(
        &self,
        worker: usize,
        routed: &Routed<'_>,
        scores: &Scores<'_>,
        shadowed: bool,
        ticket: Option<&Ticket<'_>>,
    ) -> Result<Vec<u8>, ScoreError> {
        let encoding = routed.call.method.encoding;
        let encoded = encoding.encode(&routed.target.version.wire, scores);
        let answer = encoded.map_err(|error| self.failed(routed, &error))?;
        let length = answer.len() - PREFIX_BYTES;
        let result = if length <= self.limits.max_message_bytes {
            Ok(answer)
        } else if let Some(path) = encoding.forwards_to() {
            Err(ScoreError::Forward(path))
        } else {
            Err(ScoreError::Question(Problem::TooLong(length)))
        };
        self.tell(worker, routed, scores, shadowed, ticket, result)
    }

    /// Tells the observers of a result, and gives it back.
    #[inline]
    fn tell(
        &self,
        worker: usize,
        routed: &Routed<'_>,
        scores: &Scores<'_>,
        shadowed: bool,
        ticket: Option<&Ticket<'_>>,
        result: Result<Vec<u8>, ScoreError>,
    ) -> Result<Vec<u8>, ScoreError> {
        let (Routed { message, call, route, target, .. }, encoded) = (*routed, Instant::now());
        self.observers.observe(&Observation {
            worker,
            call,
            message,
            route,
            target,
            scores,
            shadowed,
            ticket,
            encoded,
            result: &result,
        });
        result
    }

    fn failed(&self, routed: &Routed<'_>, error: &GraphError) -> ScoreError {
        let (version, rows) = (&routed.target.version, routed.decoded.request.row_count);
        let text = format!("model {} {} failed on {rows} rows: {error}", version.model, version.version);
        ScoreError::Rpc(self.fault(routed.call.method.name, &text))
    }

    /// The error of a fault of the server, which the log tells of.
    pub(crate) fn fault(&self, method: &'static str, text: &str) -> RpcError {
        self.events.fault(method, text);
        self.errors.internal.clone()
    }
}
