//! The hot path up to scoring: decode, route, validate. Unary calls and streams share it.

use std::cell::RefCell;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::bridge::events::Events;
use crate::encodings::elements::Unusual;
use crate::encodings::tensors;
use crate::encodings::typed;
use crate::predict::backlog::Backlog;
use crate::predict::budget::{Budget, Permit};
use crate::predict::loading::Loading;
use crate::predict::scoring::{Began, Scored, Work};
use crate::predict::shadow::ShadowLane;
use crate::protocol::protobuf::Request;
use crate::protocol::status::{Failure, Fixed};
use crate::routing::snapshot::{INLINE_NS, MAX_JOINT_ROWS, Route, Snapshot, Target, Version};
use crate::rows::coding::{Room, Rows};
use crate::statistics::{Bounds, CallCounts, Method, RouteShards};
use crate::transport::arrivals;
use crate::transport::quota::Quota;

/// What the engine may take.
#[derive(Debug, Clone)]
pub struct Limits {
    pub max_rows: u32,
    pub max_message_bytes: usize,
    /// Of a run that does not end by itself at once.
    pub max_run: Duration,
}

/// How many calls may wait for something at one time. Those that fail, and those that are left to the
/// control plane, have bounds of their own, so that a flood of them takes no place from the others.
pub struct Budgets {
    /// All calls that wait to be answered.
    pub in_flight: Arc<Budget>,
    /// Of these, calls that the control plane answers.
    left: Arc<Budget>,
    /// Failures that the control plane is asked about.
    questions: Arc<Budget>,
}

impl Budgets {
    pub fn new(max_in_flight: usize) -> Self {
        let share = |part: usize| Budget::new((max_in_flight / part).max(1));
        Self { in_flight: share(1), left: share(2), questions: share(4) }
    }
}

/// What all threads share.
pub struct Predictor {
    pub snapshot: ArcSwap<Snapshot>,
    pub limits: Limits,
    pub fixed: Fixed,
    pub bounds: Bounds,
    pub events: Arc<Events>,
    /// One for each worker, one for the threads that score large batches, and one for the shadow.
    pub counts: Box<[CallCounts]>,
    pub shadow_lane: OnceLock<ShadowLane>,
    pub budgets: Budgets,
    /// What waits for the threads that score large batches.
    pub backlog: Arc<Backlog>,
    /// Of the bytes that calls hold.
    pub quota: Arc<Quota>,
    pub streams: AtomicUsize,
    pub loading: Loading,
}

/// A request that has failed in a way that the control plane words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub method: Method,
    pub model: String,
    /// The major whose typed service was called.
    pub major: Option<u64>,
    pub version: String,
    /// The version that was to answer; empty where there is none.
    pub picked: String,
    pub schema_fingerprint: String,
    pub row_count: u32,
    pub number_count: usize,
    pub text_count: usize,
    pub problem: Problem,
}

/// What is wrong with a request, or with its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// What the names, counts and the fingerprint of the question say.
    Request,
    /// The bytes are not what the version that was picked takes.
    Malformed,
    /// The only row is refused: a RowError without its row, as bytes.
    Row(Vec<u8>),
    /// The answer has so many bytes.
    TooLong(usize),
}

/// What becomes of a message.
pub enum Step {
    /// An answer, with the head of a gRPC message.
    Answer(Vec<u8>),
    /// A failure that is always the same.
    Failed(Failure),
    /// A failure that the control plane words.
    Asked(Box<Asked>),
    /// Rows to be scored by the threads for large batches.
    Later(Box<Job>),
    /// A message that is left to the control plane as it is; it counts there, too.
    Elsewhere(Box<Left>),
    /// A message for a model that may still be loaded.
    Unrouted(Bytes),
    /// An answer that tells of a failure of this reason; the stream lives on.
    Told(Vec<u8>, u32),
}

/// A message for the control plane, and what the call holds meanwhile.
pub struct Left {
    pub message: Bytes,
    pub permits: [Permit; 2],
}

/// What the control plane is asked, and what the call holds meanwhile.
pub struct Asked {
    pub question: Box<Question>,
    pub snapshot: Arc<Snapshot>,
    /// Where the failure counts, once it has a reason.
    pub counts: Option<Arc<RouteShards>>,
    pub permit: Permit,
}

/// Rows that wait to be scored.
pub struct Job {
    message: Bytes,
    request: Request,
    snapshot: Arc<Snapshot>,
    route: Arc<Route>,
    picked: usize,
    call: Call,
    began: Began,
    in_flight: Permit,
}

/// What is known of a message's call.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: Method,
    /// The earliest time at which it can have come.
    pub received: Instant,
    pub deadline: Option<Instant>,
    /// Of a typed call: whom its rows are for.
    pub typed: Option<Arc<typed::Asked>>,
}

impl Call {
    pub fn expired(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Whether half of the time that the caller gave has passed at a time. Where calls come faster than
    /// they are answered, one that waits for longer is answered when nobody wants the answer any more.
    fn is_stale(&self, at: Instant) -> bool {
        let Some(deadline) = self.deadline.filter(|_| !self.method.streams()) else { return false };
        at.saturating_duration_since(self.received) > deadline.saturating_duration_since(at)
    }
}

/// What one message is read to.
#[derive(Default)]
struct Scratch {
    request: Request,
    room: Room,
}

/// A message that is scored here.
struct Ready<'a> {
    route: &'a Arc<Route>,
    target: &'a Target,
    began: Began,
}

/// How far a message is.
enum State<'a> {
    Ready(Ready<'a>),
    Done(Step),
}

thread_local! {
    static SCRATCH: RefCell<[Scratch; MAX_JOINT_ROWS]> = RefCell::default();
}

impl Predictor {
    /// Answers messages that came together, or says what they need; `worker` is the index of the
    /// thread. Gives for each the correlation id and what becomes of it, in order. Messages beyond
    /// `MAX_JOINT_ROWS` are not looked at, nor are those behind one of a stream that has no answer
    /// yet, for the stream may end with it.
    pub fn steps(self: &Arc<Self>, worker: usize, messages: &[(&Bytes, &Call)]) -> Vec<(u64, Step)> {
        SCRATCH.with_borrow_mut(|scratch| {
            let snapshot = self.snapshot.load();
            let mut states = Vec::with_capacity(messages.len().min(MAX_JOINT_ROWS));
            for (scratch, (message, call)) in scratch.iter_mut().zip(messages) {
                let state = self.prepare(&snapshot, worker, scratch, message, call);
                let waits = call.method.streams() && matches!(state, State::Done(_));
                states.push(state);
                if waits {
                    break;
                }
            }
            for first in 0..states.len() {
                self.score_from(&snapshot, worker, &mut states, scratch, messages, first);
            }
            let done = states.into_iter().zip(scratch).zip(messages);
            let done = done.map(|((state, Scratch { request, .. }), (message, call))| {
                let step = match state {
                    State::Done(step) => told(call, request, message, step),
                    State::Ready(_) => Step::Failed(self.fault(call.method, "a message was not scored")),
                };
                request.release();
                (request.correlation_id, step)
            });
            done.collect()
        })
    }

    /// Reads a message up to where it is scored.
    fn prepare<'a>(
        self: &Arc<Self>,
        snapshot: &'a Arc<Snapshot>,
        worker: usize,
        scratch: &mut Scratch,
        message: &Bytes,
        call: &Call,
    ) -> State<'a> {
        let Scratch { request, room } = scratch;
        let ready = match self.read(snapshot, worker, request, message, call) {
            Ok(ready) => ready,
            Err(step) => return State::Done(step),
        };
        match self.examine(&ready.work(request, message, call), room) {
            Ok(()) => State::Ready(ready),
            Err(scored) => {
                State::Done(self.conclude(snapshot, worker, &ready, request, message, call, scored, None))
            }
        }
    }

    /// Decodes, routes and validates.
    fn read<'a>(
        self: &Arc<Self>,
        snapshot: &'a Arc<Snapshot>,
        worker: usize,
        request: &mut Request,
        message: &Bytes,
        call: &Call,
    ) -> Result<Ready<'a>, Step> {
        let begin = Instant::now();
        // A message of a stream is answered by the id in it.
        if !call.method.streams()
            && let Some(failure) = self.late(call, begin)
        {
            request.clear();
            return Err(Step::Failed(failure));
        }
        let read = match call.method {
            Method::PredictStream => request.decode_stream(message),
            method if method.tensors() => match tensors::read(request, message) {
                Ok(()) => Ok(()),
                Err(Unusual) => return Err(self.leave(message, None)),
            },
            _ if call.typed.is_none() => request.decode(message),
            // Only the version that is to answer knows its rows.
            _ => {
                request.clear();
                Ok(())
            }
        };
        if read.is_err() {
            return Err(Step::Failed(self.fixed.malformed.clone()));
        }
        let mut decoded = Instant::now();
        // Calls that are scored here are done before the next are read, so only those that wait
        // for something count against the limit.
        if self.budgets.in_flight.is_full() {
            return Err(self.full());
        }
        let asked = |request: &Request, target: Option<&Target>, problem| {
            Err(self.ask(snapshot, Question::of(call, request, message, target, problem), target))
        };
        let found = match &call.typed {
            None => snapshot.route(request.model.text(message), request.version.text(message)),
            Some(rows) => snapshot.major_route(&rows.service, &rows.version),
        };
        let Some(route) = found else {
            if self.loading.is_on() {
                return Err(Step::Unrouted(message.clone()));
            }
            if self.loading.is_given_up() {
                return Err(Step::Failed(self.fixed.draining.clone()));
            }
            if call.method.tensors() {
                return Err(self.leave(message, None));
            }
            return asked(request, None, Problem::Request);
        };
        let picked = route.pick(match &call.typed {
            None => request.routing_key.text(message),
            Some(rows) => &rows.routing_key,
        });
        let target = &route.targets[picked];
        if call.method.tensors() {
            let filled = target.version.tensors.fill(request, message, self.max_rows(&target.version));
            if filled.is_err() || request.row_count == 0 {
                return Err(self.leave(message, None));
            }
            decoded = Instant::now();
        }
        if call.typed.is_some() {
            let table = &target.version.table;
            let max_rows = self.max_rows(&target.version);
            if table.read_message(call.method, request, message, max_rows).is_err() {
                return asked(request, Some(target), Problem::Malformed);
            }
            decoded = Instant::now();
        }
        if !self.takes(&target.version, request, message) {
            return asked(request, Some(target), Problem::Request);
        }
        let began = Began { begin, decoded };
        if call.deadline.is_some_and(|deadline| decoded >= deadline) {
            return Err(fail(target, worker, self.fixed.expired.clone()));
        }
        let version = &target.version;
        let expected_ns = f64::from(request.row_count) * version.row_ns;
        if expected_ns + message.len() as f64 * version.coder.byte_ns > INLINE_NS {
            if self.backlog.wait(decoded).is_some_and(|wait| call.is_stale(decoded + wait)) {
                return Err(fail(target, worker, self.fixed.overloaded.clone()));
            }
            let Some(in_flight) = self.budgets.in_flight.enter() else { return Err(self.full()) };
            let taken = std::mem::take(request);
            request.correlation_id = taken.correlation_id;
            return Err(Step::Later(Box::new(Job {
                message: message.clone(),
                request: taken,
                snapshot: Arc::clone(snapshot),
                route: Arc::clone(route),
                picked,
                call: call.clone(),
                began,
                in_flight,
            })));
        }
        Ok(Ready { route, target, began })
    }

    /// The failure of a call whose answer would come too late, if it would: work for it is lost.
    #[inline]
    fn late(&self, call: &Call, now: Instant) -> Option<Failure> {
        let deadline = call.deadline?;
        if now >= deadline {
            return Some(self.fixed.expired.clone());
        }
        (call.is_stale(now) && arrivals::is_behind(now)).then(|| self.fixed.overloaded.clone())
    }

    /// Scores a message that is ready, together with those behind it whose rows may be in one run.
    fn score_from(
        self: &Arc<Self>,
        snapshot: &Arc<Snapshot>,
        worker: usize,
        states: &mut [State<'_>],
        scratch: &mut [Scratch],
        messages: &[(&Bytes, &Call)],
        first: usize,
    ) {
        let State::Ready(ready) = &states[first] else { return };
        let version = &ready.target.version;
        let mut scored = Vec::new();
        if version.joint_rows > 1 && states.len() > 1 {
            let (mut places, mut calls) = (Vec::new(), Vec::new());
            let all = states.iter().zip(scratch.iter_mut()).zip(messages).enumerate().skip(first);
            for (i, ((state, Scratch { request, room }), (message, call))) in all {
                if let State::Ready(ready) = state
                    && Arc::ptr_eq(&ready.target.version, version)
                    && request.row_count == 1
                    && room.errors.is_empty()
                    && calls.len() < version.joint_rows
                {
                    places.push(i);
                    calls.push((ready.work(request, message, call), room));
                }
            }
            // Where one of them spoils the run, each is scored for itself.
            if calls.len() > 1 && places[0] == first {
                let _ = self.score_joint(worker, &mut calls, |at, one| scored.push((places[at], one)));
            }
        }
        if scored.is_empty() {
            let (Scratch { request, room }, (message, call)) = (&mut scratch[first], messages[first]);
            // Those behind the first have waited for it.
            let late = (first > 0 && call.deadline.is_some()).then(Instant::now);
            scored.push((
                first,
                match late.and_then(|now| self.late(call, now)) {
                    Some(failure) => Scored::Failed(failure),
                    None => self.score(worker, &ready.work(request, message, call), room, None),
                },
            ));
        }
        for (i, one) in scored {
            if let State::Ready(ready) = &states[i] {
                let (request, (message, call)) = (&scratch[i].request, messages[i]);
                let step = self.conclude(snapshot, worker, ready, request, message, call, one, None);
                states[i] = State::Done(step);
            }
        }
    }

    /// Does what was put off, in a thread for large batches.
    pub fn finish(self: &Arc<Self>, job: Job) -> Step {
        let Job { message, request, snapshot, route, picked, call, began, in_flight } = job;
        let (worker, target) = (self.batch_worker(), &route.targets[picked]);
        let ready = Ready { route: &route, target, began };
        let step = if let Some(failure) = self.late(&call, Instant::now()) {
            fail(target, worker, failure)
        } else {
            let (work, mut room) = (ready.work(&request, &message, &call), Room::default());
            let scored = match self.examine(&work, &mut room) {
                Ok(()) => {
                    let longest = Instant::now() + self.limits.max_run;
                    let until = call.deadline.map_or(longest, |deadline| deadline.min(longest));
                    self.score(worker, &work, &mut room, Some(until))
                }
                Err(scored) => scored,
            };
            self.conclude(&snapshot, worker, &ready, &request, &message, &call, scored, Some(in_flight))
        };
        told(&call, &request, &message, step)
    }

    /// What becomes of a message that was scored; `held` is there where it counts as in flight.
    #[allow(clippy::too_many_arguments)] // its callers have them at hand in different places
    fn conclude(
        self: &Arc<Self>,
        snapshot: &Arc<Snapshot>,
        worker: usize,
        ready: &Ready<'_>,
        request: &Request,
        message: &Bytes,
        call: &Call,
        scored: Scored,
        held: Option<Permit>,
    ) -> Step {
        let Ready { route, target, .. } = *ready;
        match scored {
            Scored::Answer(answer) => {
                self.copy(worker, route, target, call, message);
                Step::Answer(answer)
            }
            Scored::Failed(failure) => fail(target, worker, failure),
            Scored::Elsewhere => self.leave(message, held),
            Scored::Asked(problem) => {
                self.copy(worker, route, target, call, message);
                let question = Question::of(call, request, message, Some(target), problem);
                self.ask(snapshot, question, Some(target))
            }
        }
    }

    /// Has the control plane word a failure.
    fn ask(self: &Arc<Self>, snapshot: &Arc<Snapshot>, question: Question, target: Option<&Target>) -> Step {
        let Some(permit) = self.budgets.questions.enter() else {
            return Step::Failed(self.fixed.too_many_failing.clone());
        };
        Step::Asked(Box::new(Asked {
            question: Box::new(question),
            snapshot: Arc::clone(snapshot),
            counts: target.map(|target| Arc::clone(&target.counts)),
            permit,
        }))
    }

    /// Leaves a message to the control plane; `held` is there where it counts as in flight.
    fn leave(self: &Arc<Self>, message: &Bytes, held: Option<Permit>) -> Step {
        let entered = self.budgets.left.enter().zip(held.or_else(|| self.budgets.in_flight.enter()));
        let Some(permits) = entered else { return self.full() };
        Step::Elsewhere(Box::new(Left { message: message.clone(), permits: permits.into() }))
    }

    /// The failure of a fault of the server, which the log tells of.
    pub fn fault(&self, method: Method, text: &str) -> Failure {
        self.events.fault(method, text);
        self.fixed.internal.clone()
    }

    fn full(&self) -> Step {
        Step::Failed(self.fixed.too_many_in_flight.clone())
    }

    /// The index of the threads that score large batches.
    pub fn batch_worker(&self) -> usize {
        self.counts.len() - 2
    }

    /// The index of the shadow's thread.
    pub fn shadow_worker(&self) -> usize {
        self.counts.len() - 1
    }

    /// Offers a copy of a scored message to the route's shadow, if it has one.
    #[inline]
    fn copy(&self, worker: usize, route: &Route, target: &Target, call: &Call, message: &Bytes) {
        if let (Some(shadow), Some(lane)) = (&route.shadow, self.shadow_lane.get()) {
            lane.offer(shadow, &target.version, call.method, message, worker);
        }
    }

    /// How many rows a call to a version may have.
    #[inline]
    fn max_rows(&self, version: &Version) -> u32 {
        version.max_rows.map_or(self.limits.max_rows, |rows| rows.min(self.limits.max_rows))
    }

    /// Whether a version takes a request as it is.
    #[inline]
    fn takes(&self, version: &Version, request: &Request, data: &[u8]) -> bool {
        let fingerprint = request.schema_fingerprint.of(data);
        (fingerprint.is_empty() || fingerprint == version.fingerprint.as_bytes())
            && request.row_count > 0
            && request.row_count <= self.max_rows(version)
            && version.coder.fits(Rows::of(request, data))
    }
}

impl Ready<'_> {
    fn work<'a>(&'a self, request: &'a Request, data: &'a [u8], call: &'a Call) -> Work<'a> {
        Work { data, request, target: self.target, call, began: self.began }
    }
}

/// Fails a message that a version was to answer, and counts that.
fn fail(target: &Target, worker: usize, failure: Failure) -> Step {
    target.counts[worker].fail(failure.reason);
    Step::Failed(failure)
}

/// Has a stream of tensors tell of a failure in an answer.
fn told(call: &Call, request: &Request, data: &[u8], step: Step) -> Step {
    match step {
        Step::Failed(failure) if call.method == Method::ModelStreamInfer => {
            let answer = tensors::encode_stream_error(request.tensors.id.of(data), &failure.message);
            Step::Told(answer, failure.reason)
        }
        step => step,
    }
}

impl Question {
    fn of(call: &Call, request: &Request, data: &[u8], target: Option<&Target>, problem: Problem) -> Self {
        let (model, version) = match &call.typed {
            None => (request.model.text(data), request.version.text(data)),
            Some(rows) => (rows.service.model.as_str(), rows.version.as_str()),
        };
        Self {
            method: call.method,
            model: model.to_owned(),
            major: call.typed.as_ref().map(|rows| rows.service.major),
            version: version.to_owned(),
            picked: target.map(|target| target.version.version.clone()).unwrap_or_default(),
            schema_fingerprint: request.schema_fingerprint.text(data).to_owned(),
            row_count: request.row_count,
            number_count: request.numbers(data).len() / 8,
            text_count: request.texts.len(),
            problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_stale_once_it_has_waited_for_half_of_its_time() {
        let received = Instant::now();
        let at = |ms| received + Duration::from_millis(ms);
        let call = |method, deadline| Call { method, received, deadline, typed: None };
        let unary = call(Method::Predict, Some(at(100)));
        let stale = [0, 50, 51, 100, 200].map(|ms| unary.is_stale(at(ms)));
        assert_eq!(stale, [false, false, true, true, true]);
        for call in [call(Method::Predict, None), call(Method::PredictStream, Some(at(100)))] {
            assert!(!call.is_stale(at(1000)));
        }
    }
}
