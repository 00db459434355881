//! Scores the rows of messages that were read, writes their answers and tells the observers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::bridge::events::Events;
use crate::bridge::question::Problem;
use crate::encodings::message::{Decoded, ExplainedRows, Scores};
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
use crate::rows::explainer::Explained;
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

    /// How many columns the caller wants to be explained, and the index of the explainer; `None` for none.
    pub(crate) fn explain(&self) -> Option<(u32, usize)> {
        let (top_k, output) = self.call.explain(&self.decoded.request, self.message)?;
        Some((top_k, self.target.version.explainer(output)?))
    }

    fn scores<'s>(
        &'s self,
        scratch: &'s CodingScratch,
        binding: Option<&'s IoBinding>,
        run: RunTimes,
        explained: Option<&'s Explained>,
    ) -> Scores<'s> {
        let times = self.read.with(run);
        let scores = self.target.version.scores(self.message, self.decoded, scratch, binding, times);
        let Some((explained, (top_k, index))) = explained.zip(self.explain()) else { return scores };
        Scores { explained: Some(ExplainedRows { index, explained, top_k }), ..scores }
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
        let scores = routed.scores(scratch, None, RunTimes { begin: now, end: now }, None);
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
        let rows = routed.rows();
        let explained = match routed.explain() {
            None => None,
            Some(wanted) => Some(self.explain(worker, routed, wanted, scratch, until)?),
        };
        let explained = explained.as_ref();
        if scratch.errors.len() == rows.count {
            let now = Instant::now();
            return self.answer(worker, routed, scratch, None, RunTimes { begin: now, end: now }, explained);
        }
        let answer = |binding: &IoBinding, scratch: &CodingScratch, run| {
            self.answer(worker, routed, scratch, Some(binding), run, explained)
        };
        let ran = routed.target.version.runner.run(worker, rows, scratch, until, answer);
        ran.unwrap_or_else(|error| Err(self.ended(routed, error)))
    }

    /// Explains rows that were examined, by so many columns and the explainer of an index. Not inlined: most calls want
    /// no explanation.
    ///
    /// # Errors
    /// `ScoreError`: as of `score`.
    #[inline(never)]
    fn explain(
        &self,
        worker: usize,
        routed: &Routed<'_>,
        (top_k, index): (u32, usize),
        scratch: &mut CodingScratch,
        until: Option<Instant>,
    ) -> Result<Explained, ScoreError> {
        let explainer = &routed.target.version.explainers[index];
        let explained = explainer.explain(worker, routed.rows(), scratch, top_k, until);
        explained.map_err(|error| self.ended(routed, error))
    }

    /// Explains the single rows of calls to one version that want it: together those of one output. `None` for a call
    /// that does not.
    #[inline(never)]
    fn explain_microbatch(
        &self,
        worker: usize,
        calls: &mut [(Routed<'_>, &mut CodingScratch)],
    ) -> Vec<Option<Result<Explained, ScoreError>>> {
        let wanted = calls.iter().map(|(routed, _)| routed.explain()).collect::<Vec<_>>();
        let mut explained = calls.iter().map(|_| None).collect::<Vec<_>>();
        let version = Arc::clone(&calls[0].0.target.version);
        for (index, explainer) in version.explainers.iter().enumerate() {
            let is_wanted = |wanted: &Option<(u32, usize)>| wanted.is_some_and(|(_, of)| of == index);
            let of = (0..calls.len()).filter(|&at| is_wanted(&wanted[at])).collect::<Vec<_>>();
            if of.len() > 1 && explainer.is_joint() {
                let mut rows = Vec::with_capacity(of.len());
                for ((routed, scratch), wanted) in calls.iter_mut().zip(&wanted) {
                    if let Some((top_k, _)) = wanted.filter(|_| is_wanted(wanted)) {
                        rows.push((routed.rows(), &mut **scratch, top_k));
                    }
                }
                // Where one of them spoils the run, each is explained for itself.
                if let Ok(each) = explainer.explain_together(worker, &mut rows) {
                    of.iter().zip(each).for_each(|(&at, one)| explained[at] = Some(Ok(one)));
                    continue;
                }
            }
            for at in of {
                let (routed, scratch) = &mut calls[at];
                let wanted = wanted[at].expect("the call wants an explanation");
                explained[at] = Some(self.explain(worker, routed, wanted, scratch, None));
            }
        }
        explained
    }

    /// The failure of a call whose run ended without outputs.
    fn ended(&self, routed: &Routed<'_>, error: RunError) -> ScoreError {
        match error {
            RunError::Stopped if routed.call.is_expired(Instant::now()) => {
                ScoreError::Rpc(self.errors.expired.clone())
            }
            RunError::Stopped => ScoreError::Rpc(self.errors.run_stopped.clone()),
            RunError::Failed(error) => self.failed(routed, &error),
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
        let is_explained = calls.iter().any(|(routed, _)| routed.explain().is_some());
        let mut explained = if is_explained { self.explain_microbatch(worker, calls) } else { Vec::new() };
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
            let answer = |explained| self.answer(worker, routed, scratch, Some(binding), run, explained);
            scored.push(match explained.get_mut(at).and_then(Option::take) {
                None => answer(None),
                Some(Ok(explained)) => answer(Some(&explained)),
                Some(Err(error)) => Err(error),
            });
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
        explained: Option<&Explained>,
    ) -> Result<Vec<u8>, ScoreError> {
        let scores = routed.scores(scratch, binding, run, explained);
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
