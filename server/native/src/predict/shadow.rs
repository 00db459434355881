//! Copies of calls for a shadow: scored in a thread of their own, whose answers nobody sees.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::bridge::events::Events;
use crate::encodings::message::{Decoded, Times};
use crate::onnx::binding::IoBinding;
use crate::predict::call::Call;
use crate::predict::counting::count_scores;
use crate::predict::observer::{Observation, Observer, ScoreError};
use crate::predict::recording::Recording;
use crate::predict::ticket::{Original, Ticket};
use crate::routing::snapshot::{Route, Snapshot};
use crate::routing::source::RecordedSource;
use crate::routing::split;
use crate::routing::version::Version;
use crate::rows::coding::{CodingScratch, Rows};
use crate::rows::runner::RunTimes;
use crate::statistics::RouteShards;

/// Copies that wait; the ones after them are dropped, so that a slow shadow costs the callers
/// neither time nor memory.
const MAX_WAITING: usize = 64;
/// Bytes of the messages of copies that wait; one alone may have more.
const MAX_WAITING_BYTES: usize = 64 << 20;
/// The shadow runs when nobody else wants the processor.
const NICEST: i32 = 19;

/// A message that a shadow scores as well.
struct ShadowCopy {
    message: Bytes,
    call: Call,
    /// The version that answered, by whose schema the message is read.
    answered_by: Arc<Version>,
    route: Arc<str>,
    version: Arc<Version>,
    counts: Arc<RouteShards>,
    source: Option<RecordedSource>,
    /// The record of the prediction that was copied, if it has one.
    original: Option<Original>,
}

impl ShadowCopy {
    /// Whether the shadow that it is for is still set.
    fn is_wanted(&self, snapshot: &Snapshot) -> bool {
        let shadow = snapshot.route(&self.version.model, &self.route).and_then(|route| route.shadow.as_ref());
        shadow.is_some_and(|shadow| Arc::ptr_eq(&shadow.version, &self.version))
    }
}

/// What the shadow's thread needs.
pub(crate) struct ShadowOptions {
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    pub events: Arc<Events>,
    /// The reason that a copy that fails is counted with.
    pub failure_reason: u32,
    pub max_run: Duration,
    /// The index of the thread.
    pub worker: usize,
    pub recording: Option<Arc<Recording>>,
}

#[derive(Default)]
struct LaneState {
    closed: AtomicBool,
    waiting_bytes: AtomicUsize,
}

struct Lane {
    copies: SyncSender<Option<ShadowCopy>>,
    state: Arc<LaneState>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The way to the shadow's thread; nothing is copied before it is started.
#[derive(Default)]
pub(crate) struct ShadowLane(OnceLock<Lane>);

impl ShadowLane {
    /// Starts the thread.
    ///
    /// # Errors
    /// `std::io::Error`: the system starts no more threads.
    pub(crate) fn start(&self, options: ShadowOptions) -> std::io::Result<()> {
        let (copies, taken) = sync_channel(MAX_WAITING);
        let state = Arc::<LaneState>::default();
        let seen = Arc::clone(&state);
        let builder = std::thread::Builder::new().name("shadow".into());
        let thread = builder.spawn(move || {
            // A wish: where it is not granted the copies have the priority of the calls.
            let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICEST);
            work(&options, &taken, &seen);
        })?;
        let _ = self.0.set(Lane { copies, state, thread: Mutex::new(Some(thread)) });
        Ok(())
    }

    /// Whether a message is copied to the route's shadow: it has one, and the message is among its share.
    #[inline]
    pub(crate) fn draws(&self, route: &Route) -> bool {
        route.shadow.as_ref().is_some_and(|shadow| self.0.get().is_some() && split::drawn(shadow.share))
    }

    /// Lets the thread end once it has scored its current copy; those that wait are dropped.
    pub(crate) fn close(&self) {
        let Some(lane) = self.0.get() else { return };
        if let Some(thread) = lane.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            lane.state.closed.store(true, Relaxed);
            // Where there is no room, what is there wakes the thread as well.
            let _ = lane.copies.try_send(None);
            let _ = thread.join();
        }
    }
}

impl Observer for ShadowLane {
    /// Offers a copy to the route's shadow, if the message is to be copied and there is room.
    #[inline]
    fn observe(&self, observation: &Observation<'_>) {
        if !observation.shadowed {
            return;
        }
        let (Some(shadow), Some(lane)) = (&observation.route.shadow, self.0.get()) else { return };
        // A message that is forwarded has no scores here that a shadow's could be compared with.
        if matches!(observation.result, Err(ScoreError::Forward(_))) {
            return;
        }
        let message = observation.message;
        let copy = ShadowCopy {
            message: message.clone(),
            call: observation.call.clone(),
            answered_by: Arc::clone(&observation.target.version),
            route: Arc::clone(&shadow.route),
            version: Arc::clone(&shadow.version),
            counts: Arc::clone(&shadow.counts),
            source: shadow.source.clone(),
            original: observation.ticket.filter(|_| observation.result.is_ok()).map(Ticket::original),
        };
        let (waiting, size) = (&lane.state.waiting_bytes, message.len());
        let before = waiting.fetch_add(size, Relaxed);
        let fits = before == 0 || before + size <= MAX_WAITING_BYTES;
        if !fits || lane.copies.try_send(Some(copy)).is_err() {
            waiting.fetch_sub(size, Relaxed);
            shadow.counts[observation.worker].dropped.fetch_add(1, Relaxed);
        }
    }
}

fn work(options: &ShadowOptions, copies: &Receiver<Option<ShadowCopy>>, state: &LaneState) {
    let (mut decoded, mut scratch) = (Decoded::default(), CodingScratch::default());
    while let Ok(Some(copy)) = copies.recv() {
        if state.closed.load(Relaxed) {
            return;
        }
        state.waiting_bytes.fetch_sub(copy.message.len(), Relaxed);
        let counts = &copy.counts[options.worker];
        if !copy.is_wanted(&options.snapshot.load()) {
            counts.dropped.fetch_add(1, Relaxed);
            continue;
        }
        if let Err(error) = score(options, &copy, &mut decoded, &mut scratch) {
            let Version { model, version, .. } = &*copy.version;
            let text = format!("model {model} {version} failed on a copy for a shadow: {error}");
            options.events.fault(copy.call.method.name, &text);
            counts.fail(options.failure_reason);
        }
        decoded.release();
        scratch.release();
    }
}

/// Scores a copy and counts its scores; the error is a text for the log.
fn score(
    options: &ShadowOptions,
    copy: &ShadowCopy,
    decoded: &mut Decoded,
    scratch: &mut CodingScratch,
) -> Result<(), String> {
    let (begin, encoding) = (Instant::now(), copy.call.method.encoding);
    let read = encoding
        .decode(decoded, &copy.message)
        .and_then(|()| encoding.decode_rows(&copy.answered_by.wire, decoded, &copy.message, u32::MAX));
    read.map_err(|_| "it is malformed".to_owned())?;
    let (decoded, read) = (&*decoded, Instant::now());
    let (rows, runner) = (Rows::of(&decoded.request, &copy.message), &copy.version.runner);
    if !runner.coder.fits(rows) {
        return Err("its rows do not fit".into());
    }
    runner.coder.examine(rows, scratch);
    let count = |binding: Option<&IoBinding>, scratch: &CodingScratch, run| {
        let times = Times { begin, decoded: read, run };
        let scores = copy.version.scores(&copy.message, decoded, scratch, binding, times);
        count_scores(&copy.counts[options.worker], &scores, Instant::now());
        if let (Some(recording), Some(source)) = (&options.recording, &copy.source) {
            recording.record_shadow(options.worker, source, copy.original, &copy.call, &scores);
        }
    };
    if scratch.errors.len() == rows.count {
        count(None, scratch, RunTimes { begin: read, end: read });
        return Ok(());
    }
    let until = Some(begin + options.max_run);
    let ran = runner.run(options.worker, rows, scratch, until, |binding, scratch, run| {
        count(Some(binding), scratch, run);
    });
    ran.map_err(|error| error.to_string())
}
