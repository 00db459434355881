//! The hot path up to scoring: decode, route, validate. Unary calls and streams share it.
//!
//! A worker gives the messages that came together. Each is read up to where its rows can be scored, or to
//! its outcome. Then the messages are scored in their order; single rows of one version share a run.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::access::principal::Principal;
use crate::access::share::Standing;
use crate::bridge::question::{Problem, Question};
use crate::encodings::message::{DecodeError, Decoded};
use crate::predict::backlog::Backlog;
use crate::predict::budget::{Budgets, Permit};
use crate::predict::call::Call;
use crate::predict::loading::Loading;
use crate::predict::observer::ScoreError;
use crate::predict::outcome::{Batch, Outcome, Pending, PendingQuestion, Predicted, ReadTimes, Tally};
use crate::predict::scoring::{Routed, Scorer};
use crate::predict::tracing::Tracer;
use crate::protocol::status::RpcError;
use crate::routing::snapshot::{Route, Snapshot, Target};
use crate::routing::version::Version;
use crate::rows::coding::{CodingScratch, Rows};
use crate::rows::request::Request;
use crate::rows::runner::MAX_SHARED_ROWS;
use crate::transport::arrivals;
use crate::transport::quota::Quota;

/// Rows that cost more than this together leave the I/O threads.
const INLINE_NS: f64 = 500_000.0;

/// What all threads share.
pub(crate) struct Predictor {
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    pub scorer: Scorer,
    pub budgets: Budgets,
    /// The backlog of the threads that score large batches.
    pub backlog: Arc<Backlog>,
    /// The quota of bytes that calls hold.
    pub quota: Arc<Quota>,
    /// The streams that are open.
    pub streams: AtomicUsize,
    pub loading: Loading,
    /// `None`: no call is traced.
    pub tracer: Option<Arc<Tracer>>,
    /// I/O threads. Behind their indices come those of the threads for large batches, which share one, and
    /// of the shadow's thread.
    pub io_threads: usize,
}

/// What one message is read to, and the memory for coding its rows.
#[derive(Default)]
struct MessageScratch {
    decoded: Decoded,
    coding: CodingScratch,
}

/// The version that was picked for a message that can be scored on this thread.
#[derive(Clone, Copy)]
struct Picked<'a> {
    route: &'a Arc<Route>,
    target: &'a Target,
    read: ReadTimes,
}

impl Picked<'_> {
    fn routed<'a>(&'a self, decoded: &'a Decoded, message: &'a Bytes, call: &'a Call) -> Routed<'a> {
        Routed { message, decoded, call, route: self.route, target: self.target, read: self.read }
    }
}

/// A message that is not scored on this thread, or not yet: its outcome, and the version that was picked.
struct Settled<'a> {
    target: Option<&'a Target>,
    outcome: Outcome,
}

impl From<Outcome> for Settled<'_> {
    fn from(outcome: Outcome) -> Self {
        Self { target: None, outcome }
    }
}

/// The messages that one worker answers together.
pub(super) struct Turn<'a> {
    pub worker: usize,
    snapshot: &'a Arc<Snapshot>,
    messages: &'a [(&'a Bytes, &'a Call)],
    /// Whether the messages were read before, and then waited for their model. They were taken from the limits
    /// of their principals.
    pub again: bool,
}

/// Outcomes of messages that were scored in the run of one before them, by their index; empty where there
/// was no such run.
type ScoredAhead = Vec<Option<Outcome>>;

thread_local! {
    static SCRATCH: RefCell<[MessageScratch; MAX_SHARED_ROWS]> = RefCell::default();
}

impl Predictor {
    /// How many threads count what they answer: those for large batches share one place.
    pub(crate) fn workers(io_threads: usize) -> usize {
        io_threads + 2
    }

    /// The index of the threads that score large batches.
    pub(crate) fn batch_worker(&self) -> usize {
        self.io_threads
    }

    /// The index of the shadow's thread.
    pub(crate) fn shadow_worker(&self) -> usize {
        self.io_threads + 1
    }

    /// Answers messages that came together, or says what they wait for; `worker` is the index of the thread.
    /// Gives what was predicted for each, in order. Messages beyond `MAX_SHARED_ROWS` are not looked
    /// at, nor are those behind one of a stream that has no answer yet, for the stream may end with it. `again`
    /// where a message was read before, and has waited for its model.
    pub(crate) fn predict(&self, worker: usize, messages: &[(&Bytes, &Call)], again: bool) -> Vec<Predicted> {
        SCRATCH.with_borrow_mut(|scratch| {
            let snapshot = self.snapshot.load();
            let turn = Turn { worker, snapshot: &snapshot, messages, again };
            let mut prepared = VecDeque::with_capacity(messages.len().min(MAX_SHARED_ROWS));
            for (scratch, (message, call)) in scratch.iter_mut().zip(messages) {
                let one = self.prepare(&turn, scratch, message, call);
                let waits = call.method.streams && one.is_err();
                prepared.push_back(one);
                if waits {
                    break;
                }
            }
            let mut predicted = Vec::with_capacity(prepared.len());
            let mut ahead = ScoredAhead::default();
            while let Some(one) = prepared.pop_front() {
                let at = predicted.len();
                let Settled { target, outcome } = match (one, ahead.get_mut(at).and_then(Option::take)) {
                    (Err(settled), _) => settled,
                    (Ok(picked), Some(outcome)) => Settled { target: Some(picked.target), outcome },
                    (Ok(picked), None) => {
                        let outcome = self.score(&turn, scratch, at, &picked, &prepared, &mut ahead);
                        Settled { target: Some(picked.target), outcome }
                    }
                };
                let tally = target.map_or(Tally::Unrouted, |target| {
                    Tally::Version(Arc::clone(&target.version.counts[worker]))
                });
                predicted.push(Predicted { id: scratch[at].decoded.id(), tally, outcome });
            }
            scratch[..predicted.len()].iter_mut().for_each(|scratch| scratch.decoded.release());
            predicted
        })
    }

    /// Reads a message up to where it is scored, or to its outcome.
    fn prepare<'a>(
        &self,
        turn: &Turn<'a>,
        scratch: &mut MessageScratch,
        message: &Bytes,
        call: &Call,
    ) -> Result<Picked<'a>, Settled<'a>> {
        let MessageScratch { decoded, coding } = scratch;
        let picked = self.read(turn, decoded, message, call)?;
        let routed = picked.routed(decoded, message, call);
        match self.scorer.examine(turn.worker, &routed, coding) {
            Ok(()) => Ok(picked),
            Err(error) => {
                let outcome = self.conclude(turn.worker, turn.snapshot, &routed, Err(error), None);
                Err(Settled { target: Some(picked.target), outcome })
            }
        }
    }

    /// Decodes, routes and validates.
    fn read<'a>(
        &self,
        turn: &Turn<'a>,
        decoded: &mut Decoded,
        message: &Bytes,
        call: &Call,
    ) -> Result<Picked<'a>, Settled<'a>> {
        let begin = Instant::now();
        let (snapshot, errors, encoding) = (turn.snapshot, &self.scorer.errors, call.method.encoding);
        // A message of a stream is answered by the id in it, so it is decoded first.
        if !call.method.streams
            && let Err(error) = self.admit(turn, message, call, begin)
        {
            decoded.clear();
            return Err(Outcome::Failed(error).into());
        }
        let read = encoding.decode(decoded, message);
        if call.method.streams
            && let Err(error) = self.admit(turn, message, call, begin)
        {
            return Err(Outcome::Failed(error).into());
        }
        match read {
            Ok(()) => {}
            Err(DecodeError::Malformed) => return Err(Outcome::Failed(errors.malformed.clone()).into()),
            Err(DecodeError::Forward(path)) => {
                return Err(self.forward(turn.worker, path, message, call, None).into());
            }
        }
        let request = &decoded.request;
        let principal = call.principal();
        if let Some(principal) = principal {
            let model = match &call.typed {
                None => request.model.text(message),
                Some(typed) => &typed.service.model,
            };
            if !principal.may_predict(turn.worker, model) {
                return Err(Outcome::Failed(errors.permission_denied.clone()).into());
            }
        }
        let mut end = Instant::now();
        if let Some(trace) = &call.trace {
            trace.decoded(begin, end);
        }
        // Calls that are scored here are done before the next are read, so only those that wait
        // for something count against the limit.
        // A principal with less than its share of the places is not kept out by those of others.
        let in_flight = &self.budgets.in_flight;
        if in_flight.is_full()
            && !principal.is_some_and(|principal| principal.may_wait(end, in_flight.limit, in_flight.limit))
        {
            return Err(Outcome::Failed(errors.too_many_in_flight.clone()).into());
        }
        let ask = |request: &Request, target: Option<&'a Target>, problem| {
            let question = question(call, request, message, target, problem);
            Err(Settled { target, outcome: self.ask(snapshot, question, target) })
        };
        let found = match &call.typed {
            None => snapshot.route(request.model.text(message), request.version.text(message)),
            Some(typed) => snapshot.major_route(&typed.service, &typed.version),
        };
        let Some(route) = found else {
            if self.loading.is_on() {
                return Err(Outcome::Pending(Pending::Route(message.clone())).into());
            }
            if self.loading.is_given_up() {
                return Err(Outcome::Failed(errors.draining.clone()).into());
            }
            if let Some(path) = encoding.forwards_to() {
                return Err(self.forward(turn.worker, path, message, call, None).into());
            }
            return ask(request, None, Problem::Request);
        };
        let picked = route.pick(call.routing_key(request, message));
        let target = &route.targets[picked];
        if let Some(trace) = &call.trace {
            trace.routed(end, route, target);
        }
        let settled = |outcome| Err(Settled { target: Some(target), outcome });
        let version = &*target.version;
        match encoding.decode_rows(&version.wire, decoded, message, self.max_rows(version)) {
            Ok(false) => {}
            Ok(true) => end = Instant::now(),
            Err(DecodeError::Malformed) => return ask(&decoded.request, Some(target), Problem::Malformed),
            Err(DecodeError::Forward(path)) => {
                return settled(self.forward(turn.worker, path, message, call, None));
            }
        }
        if !self.takes(version, &decoded.request, message) {
            return ask(&decoded.request, Some(target), Problem::Request);
        }
        let mut row_ns = version.row_ns;
        if let Some((top_k, output)) = call.explain(&decoded.request, message) {
            let Some(index) = version.explainer(output) else {
                return ask(&decoded.request, Some(target), Problem::Request);
            };
            // Before anything is allocated for the contributions.
            let rows = decoded.request.row_count as usize;
            let length = version.wire.positional.contributions[index].expected_bytes(rows, top_k);
            if length > self.scorer.limits.max_message_bytes {
                return ask(&decoded.request, Some(target), Problem::TooLong(length));
            }
            row_ns += version.explainers[index].row_ns;
        }
        let read = ReadTimes { begin, end };
        if let Some(principal) = principal
            && let Err(wait) = principal.take_rows(turn.worker, end, decoded.request.row_count)
        {
            return settled(fail(target, turn.worker, errors.caller_limit.with_retry(wait)));
        }
        if call.is_expired(end) {
            return settled(fail(target, turn.worker, errors.expired.clone()));
        }
        let expected_ns = f64::from(decoded.request.row_count) * row_ns
            + message.len() as f64 * version.runner.coder.byte_ns;
        if expected_ns <= INLINE_NS {
            if let Some(principal) = principal {
                principal.charge(turn.worker, end, expected_ns as u64);
            }
            return Ok(Picked { route, target, read });
        }
        if self.backlog.wait(end, principal).is_some_and(|wait| call.is_stale(end + wait)) {
            return settled(fail(target, turn.worker, errors.overloaded.clone()));
        }
        // As above: the limit is the server's, whatever version was picked.
        let in_flight = self.enter(turn.worker, call, end).map_err(Outcome::Failed)?;
        settled(Outcome::Pending(Pending::Batch(Box::new(Batch {
            message: message.clone(),
            decoded: decoded.take(),
            snapshot: Arc::clone(snapshot),
            route: Arc::clone(route),
            picked,
            call: call.clone(),
            read,
            cost_ns: expected_ns as u64,
            in_flight,
        }))))
    }

    /// Scores the message at an index. Messages in `rest`, behind it, whose single rows fit in the same run
    /// are scored with it; their outcomes are put in `ahead`.
    fn score(
        &self,
        turn: &Turn<'_>,
        scratch: &mut [MessageScratch],
        at: usize,
        picked: &Picked<'_>,
        rest: &VecDeque<Result<Picked<'_>, Settled<'_>>>,
        ahead: &mut ScoredAhead,
    ) -> Outcome {
        let Turn { worker, snapshot, messages, .. } = *turn;
        let version = &picked.target.version;
        let most = version.runner.max_shared_rows;
        let fits = |scratch: &MessageScratch| {
            scratch.decoded.request.row_count == 1 && scratch.coding.errors.is_empty()
        };
        if most > 1 && !rest.is_empty() && fits(&scratch[at]) {
            let prepared = std::iter::once(Some(picked)).chain(rest.iter().map(|one| one.as_ref().ok()));
            let (mut places, mut calls) = (Vec::new(), Vec::new());
            for ((place, scratch), picked) in scratch.iter_mut().enumerate().skip(at).zip(prepared) {
                if let Some(picked) = picked
                    && Arc::ptr_eq(&picked.target.version, version)
                    && ahead.get(place).is_none_or(Option::is_none)
                    && fits(scratch)
                    && calls.len() < most
                {
                    let MessageScratch { decoded, coding } = scratch;
                    let (message, call) = messages[place];
                    places.push(place);
                    calls.push((picked.routed(decoded, message, call), coding));
                }
            }
            // Where one of them spoils the run, each is scored for itself.
            if calls.len() > 1
                && let Ok(scored) = self.scorer.score_microbatch(worker, &mut calls)
            {
                ahead.resize_with(messages.len(), || None);
                for ((place, (routed, _)), one) in places.into_iter().zip(calls).zip(scored) {
                    ahead[place] = Some(self.conclude(worker, snapshot, &routed, one, None));
                }
            }
        }
        if let Some(outcome) = ahead.get_mut(at).and_then(Option::take) {
            return outcome;
        }
        let (MessageScratch { decoded, coding }, (message, call)) = (&mut scratch[at], messages[at]);
        let routed = picked.routed(decoded, message, call);
        // Those behind the first have waited for it.
        let now = (at > 0 && call.deadline.is_some()).then(Instant::now);
        let late = |now| {
            let standing = |principal: &Principal| principal.standing(worker, now, arrivals::busy(now));
            self.late(call, now, call.principal().map_or(Standing::Fair, standing))
        };
        let scored = match now.and_then(late) {
            Some(error) => Err(ScoreError::Rpc(error)),
            None => self.scorer.score(worker, &routed, coding, None),
        };
        self.conclude(worker, snapshot, &routed, scored, None)
    }

    /// Scores a batch, in a thread for large batches.
    pub(crate) fn score_batch(&self, batch: Batch) -> Outcome {
        let Batch { message, decoded, snapshot, route, picked, call, read, in_flight, .. } = batch;
        let (worker, target) = (self.batch_worker(), &route.targets[picked]);
        if let Some(error) = self.late(&call, Instant::now(), Standing::Fair) {
            return fail(target, worker, error);
        }
        let routed =
            Routed { message: &message, decoded: &decoded, call: &call, route: &route, target, read };
        let mut scratch = CodingScratch::default();
        let scored = self.scorer.examine(worker, &routed, &mut scratch).and_then(|()| {
            let longest = Instant::now() + self.scorer.limits.max_run;
            let until = call.deadline.map_or(longest, |deadline| deadline.min(longest));
            self.scorer.score(worker, &routed, &mut scratch, Some(until))
        });
        self.conclude(worker, &snapshot, &routed, scored, Some(in_flight))
    }

    /// What becomes of a message that was scored; `in_flight` is there where it counts as such already.
    fn conclude(
        &self,
        worker: usize,
        snapshot: &Arc<Snapshot>,
        routed: &Routed<'_>,
        scored: Result<Vec<u8>, ScoreError>,
        in_flight: Option<Permit>,
    ) -> Outcome {
        let Routed { message, decoded, call, target, .. } = *routed;
        match scored {
            Ok(answer) => Outcome::Answered(answer),
            Err(ScoreError::Rpc(error)) => fail(target, worker, error),
            Err(ScoreError::Forward(path)) => {
                if let Some(principal) = call.principal() {
                    principal.give_back_rows(worker, decoded.request.row_count);
                }
                self.forward(worker, path, message, call, in_flight)
            }
            Err(ScoreError::Question(problem)) => {
                let question = question(call, &decoded.request, message, Some(target), problem);
                self.ask(snapshot, question, Some(target))
            }
        }
    }

    /// Has the control plane word a failure.
    fn ask(&self, snapshot: &Arc<Snapshot>, question: Question, target: Option<&Target>) -> Outcome {
        let Some(permit) = self.budgets.questions.enter() else {
            return Outcome::Failed(self.scorer.errors.too_many_failing.clone());
        };
        Outcome::Pending(Pending::Question(Box::new(PendingQuestion {
            question: Box::new(question),
            snapshot: Arc::clone(snapshot),
            counts: target.map(|target| Arc::clone(&target.counts)),
            permit,
        })))
    }

    /// The most rows of one call to a version.
    #[inline]
    fn max_rows(&self, version: &Version) -> u32 {
        version.max_rows.map_or(self.scorer.limits.max_rows, |rows| rows.min(self.scorer.limits.max_rows))
    }

    /// Whether a version takes a request as it is.
    #[inline]
    fn takes(&self, version: &Version, request: &Request, data: &[u8]) -> bool {
        let fingerprint = request.schema_fingerprint.of(data);
        (fingerprint.is_empty() || fingerprint == version.fingerprint.as_bytes())
            && request.row_count > 0
            && request.row_count <= self.max_rows(version)
            && version.runner.coder.fits(Rows::of(request, data))
    }
}

/// Fails a message that a version was to answer, and counts that on its route.
fn fail(target: &Target, worker: usize, error: RpcError) -> Outcome {
    target.counts[worker].fail(error.reason);
    Outcome::Failed(error)
}

/// What the control plane is asked about a message that failed.
fn question(
    call: &Call,
    request: &Request,
    data: &[u8],
    target: Option<&Target>,
    problem: Problem,
) -> Question {
    let (model, version) = match &call.typed {
        None => (request.model.text(data), request.version.text(data)),
        Some(typed) => (typed.service.model.as_str(), typed.version.as_str()),
    };
    Question {
        method: call.method.name,
        model: model.to_owned(),
        major: call.typed.as_ref().map(|typed| typed.service.major),
        version: version.to_owned(),
        picked: target.map(|target| target.version.version.clone()).unwrap_or_default(),
        schema_fingerprint: request.schema_fingerprint.text(data).to_owned(),
        explain: call.explain(request, data).map(|(_, output)| output.to_owned()),
        row_count: request.row_count,
        number_count: request.numbers(data).len() / size_of::<f64>(),
        text_count: request.texts.len(),
        problem,
    }
}
