//! What becomes of rows that were decoded: examined, run, written down and counted.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use crate::encodings::positional::{self, HEAD, Times};
use crate::onnx::limit::RunError;
use crate::onnx::runtime::{Frame, RuntimeError};
use crate::predict::pipeline::{Call, Predictor, Problem};
use crate::protocol::protobuf::Request;
use crate::protocol::status::Failure;
use crate::routing::snapshot::{Joint, Ran, Target, Version};
use crate::rows::coding::{Room, Rows};
use crate::statistics::{Method, RouteCounts};

/// When a message was read.
#[derive(Debug, Clone, Copy)]
pub struct Began {
    pub begin: Instant,
    pub decoded: Instant,
}

/// A message whose rows are to be scored.
#[derive(Clone, Copy)]
pub struct Work<'a> {
    pub data: &'a [u8],
    pub request: &'a Request,
    pub target: &'a Target,
    pub call: &'a Call,
    pub began: Began,
}

impl<'a> Work<'a> {
    fn rows(&self) -> Rows<'a> {
        Rows::of(self.request, self.data)
    }
}

/// What scoring gave.
pub enum Scored {
    Answer(Vec<u8>),
    Failed(Failure),
    /// The control plane is to word what is wrong.
    Asked(Problem),
    /// The control plane is to answer.
    Elsewhere,
}

impl Predictor {
    /// Looks texts up and finds the rows that are refused.
    ///
    /// # Errors
    /// They are all that the answer is about.
    pub fn examine(&self, work: &Work<'_>, room: &mut Room) -> Result<(), Scored> {
        let coder = &work.target.version.coder;
        coder.examine(work.rows(), room);
        let Some(error) = room.errors.first() else { return Ok(()) };
        match work.call.method {
            // The protocol has no errors by row.
            method if method.tensors() => Err(Scored::Elsewhere),
            Method::TypedPredict => Err(Scored::Asked(Problem::Row(coder.refusal(error).0.to_vec()))),
            _ => Ok(()),
        }
    }

    /// Scores rows that were examined; a run that must be over by a time is stopped then.
    pub fn score(&self, worker: usize, work: &Work<'_>, room: &mut Room, until: Option<Instant>) -> Scored {
        let rows = work.rows();
        if room.errors.len() == rows.count {
            let now = Instant::now();
            return self.answer(worker, work, room, None, Ran { begin: now, end: now });
        }
        let answer = |frame: &Frame, room: &Room, ran| self.answer(worker, work, room, Some(frame), ran);
        match work.target.version.run(worker, rows, room, until, answer) {
            Ok(scored) => scored,
            Err(RunError::Stopped) if work.call.expired() => Scored::Failed(self.fixed.expired.clone()),
            Err(RunError::Stopped) => Scored::Failed(self.fixed.run_stopped.clone()),
            Err(RunError::Failed(error)) => Scored::Failed(self.fault(work.call.method, &error.0)),
        }
    }

    /// Scores single rows of different calls to one version in one run; all were examined, and none
    /// has an error. `tell` is given what each, by its index, has become.
    ///
    /// # Errors
    /// The run failed; `tell` has not been called.
    pub fn score_joint(
        &self,
        worker: usize,
        calls: &mut [(Work<'_>, &mut Room)],
        mut tell: impl FnMut(usize, Scored),
    ) -> Result<(), RuntimeError> {
        let version = &*calls[0].0.target.version;
        let mut joint = Joint::new(version, worker, calls.len())?;
        for (at, (work, room)) in calls.iter_mut().enumerate() {
            joint.fill(at, work.rows(), room)?;
        }
        joint.fill_entries(calls.iter().map(|(_, room)| &**room))?;
        joint.run(|at, frame, ran| {
            let (work, room) = &calls[at];
            tell(at, self.answer(worker, work, room, Some(frame), ran));
        })
    }

    /// Writes the answer down, and counts it; `frame` has the outputs, and is None where every row
    /// has an error.
    fn answer(&self, worker: usize, work: &Work<'_>, room: &Room, frame: Option<&Frame>, ran: Ran) -> Scored {
        let Work { data, request, target, call, began } = *work;
        let (version, row_count) = (&*target.version, request.row_count as usize);
        let model_ns = nanoseconds(ran.begin, ran.end);
        let times = Times { server_ns: nanoseconds(began.decoded, ran.end), model_ns };
        let answer = match call.method {
            Method::Predict => positional::encode(version, row_count, frame, room, times, None),
            Method::PredictStream => {
                positional::encode(version, row_count, frame, room, times, Some(request.correlation_id))
            }
            Method::ModelInfer | Method::ModelStreamInfer => match frame {
                Some(frame) => version.tensors.write(request, data, frame, call.method.streams()),
                None => Err(RuntimeError("there are no rows".into())),
            },
            Method::TypedPredictBatch => version.table.write_predictions(version, row_count, frame, room),
            Method::TypedPredict | Method::TypedPredictStream => {
                version.table.write_prediction(version, frame, room)
            }
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Scored::Failed(self.fault(call.method, &error.0)),
        };
        let fits = answer.len() - HEAD <= self.limits.max_message_bytes;
        if fits {
            count_answer(&target.counts[worker], version, row_count, frame, room, began.begin);
        }
        let counts = &version.counts[worker];
        counts.rows.fetch_add(row_count as u64, Relaxed);
        for error in &room.errors {
            counts.row_errors[version.coder.refusal(error).1].fetch_add(1, Relaxed);
        }
        counts.decode.add(&self.bounds, nanoseconds(began.begin, began.decoded));
        counts.run.add(&self.bounds, model_ns);
        if !fits {
            return match call.method.tensors() {
                true => Scored::Elsewhere,
                false => Scored::Asked(Problem::TooLong(answer.len() - HEAD)),
            };
        }
        counts.encode.add(&self.bounds, nanoseconds(ran.end, Instant::now()));
        self.counts[worker].answer(call.method);
        Scored::Answer(answer)
    }
}

/// Counts an answered call on its route; `frame` has the outputs, and is None where every row has
/// an error.
pub fn count_answer(
    counts: &RouteCounts,
    version: &Version,
    row_count: usize,
    frame: Option<&Frame>,
    room: &Room,
    begin: Instant,
) {
    counts.calls.fetch_add(1, Relaxed);
    counts.rows.fetch_add(row_count as u64, Relaxed);
    for error in &room.errors {
        counts.row_errors[version.coder.refusal(error).1].fetch_add(1, Relaxed);
    }
    if let (Some(frame), Some(output)) = (frame, version.score_output) {
        let width = version.outputs[output].width;
        // It is none of texts: those have no scores.
        let _ = frame.outputs()[output].for_each_f64(|i, value| {
            if i % width == width - 1 {
                counts.scores.add(value);
            }
        });
    }
    counts.latency.add(nanoseconds(begin, Instant::now()) as f64 / 1e9);
}

fn nanoseconds(from: Instant, to: Instant) -> u64 {
    to.saturating_duration_since(from).as_nanos() as u64
}
