//! Copies of calls for a shadow: scored in a thread of their own, whose answers nobody sees.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Instant;

use bytes::Bytes;

use crate::encodings::tensors;
use crate::onnx::runtime::Frame;
use crate::predict::pipeline::Predictor;
use crate::predict::scoring::count_answer;
use crate::protocol::protobuf::{Malformed, Request};
use crate::routing::snapshot::{Shadow, Snapshot, Version};
use crate::routing::split;
use crate::rows::coding::{Room, Rows};
use crate::statistics::{Method, RouteShards};

/// Copies that wait; the ones after them are dropped, so that a slow shadow costs the callers
/// neither time nor memory.
const MAX_WAITING: usize = 64;
/// Bytes of the messages of copies that wait; one alone may have more.
const MAX_WAITING_BYTES: usize = 64 << 20;
/// The shadow runs when nobody else wants the processor.
const NICEST: i32 = 19;

struct Copy {
    message: Bytes,
    method: Method,
    /// Who answered it, and how it was read.
    answered_by: Arc<Version>,
    route: Arc<str>,
    version: Arc<Version>,
    counts: Arc<RouteShards>,
}

impl Copy {
    /// Whether the shadow that it is for is still set.
    fn is_wanted(&self, snapshot: &Snapshot) -> bool {
        let shadow = snapshot.route(&self.version.model, &self.route).and_then(|route| route.shadow.as_ref());
        shadow.is_some_and(|shadow| Arc::ptr_eq(&shadow.version, &self.version))
    }
}

#[derive(Default)]
struct State {
    closed: AtomicBool,
    waiting_bytes: AtomicUsize,
}

/// The thread, and the way to it.
pub struct ShadowLane {
    copies: SyncSender<Option<Copy>>,
    state: Arc<State>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl ShadowLane {
    /// Starts the thread.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(predictor: &Arc<Predictor>) -> std::io::Result<Self> {
        let (copies, taken) = sync_channel(MAX_WAITING);
        let state = Arc::<State>::default();
        let (seen, predictor) = (Arc::clone(&state), Arc::downgrade(predictor));
        let builder = std::thread::Builder::new().name("shadow".into());
        let thread = builder.spawn(move || {
            // A wish: where it is not granted the copies have the priority of the calls.
            let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICEST);
            work(&predictor, &taken, &seen);
        })?;
        Ok(Self { copies, state, thread: Mutex::new(Some(thread)) })
    }

    /// Scores a copy of an answered message in due course, if it is among the share and there is
    /// room for it.
    pub fn offer(
        &self,
        shadow: &Shadow,
        answered_by: &Arc<Version>,
        method: Method,
        message: &Bytes,
        worker: usize,
    ) {
        if !split::drawn(shadow.share) {
            return;
        }
        let (version, counts) = (Arc::clone(&shadow.version), Arc::clone(&shadow.counts));
        let (answered_by, route) = (Arc::clone(answered_by), Arc::clone(&shadow.route));
        let copy = Copy { message: message.clone(), method, answered_by, route, version, counts };
        let (waiting, size) = (&self.state.waiting_bytes, message.len());
        let before = waiting.fetch_add(size, Relaxed);
        let fits = before == 0 || before + size <= MAX_WAITING_BYTES;
        if !fits || self.copies.try_send(Some(copy)).is_err() {
            waiting.fetch_sub(size, Relaxed);
            shadow.counts[worker].dropped.fetch_add(1, Relaxed);
        }
    }

    /// Lets the thread end, once it has scored the copy that it is at; those that wait are dropped.
    pub fn close(&self) {
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            self.state.closed.store(true, Relaxed);
            // Where there is no room, what is there wakes the thread as well.
            let _ = self.copies.try_send(None);
            let _ = thread.join();
        }
    }
}

fn work(predictor: &Weak<Predictor>, copies: &Receiver<Option<Copy>>, state: &State) {
    let (mut request, mut room) = (Request::default(), Room::default());
    while let Ok(Some(copy)) = copies.recv() {
        let Some(predictor) = predictor.upgrade().filter(|_| !state.closed.load(Relaxed)) else { return };
        state.waiting_bytes.fetch_sub(copy.message.len(), Relaxed);
        let (worker, begin) = (predictor.shadow_worker(), Instant::now());
        let counts = &copy.counts[worker];
        if !copy.is_wanted(&predictor.snapshot.load()) {
            counts.dropped.fetch_add(1, Relaxed);
            continue;
        }
        let until = begin + predictor.limits.max_run;
        let scored = score(worker, &copy, &mut request, &mut room, until, |rows, frame, room| {
            count_answer(counts, &copy.version, rows, frame, room, begin);
        });
        if let Err(error) = scored {
            let failure = predictor.fault(copy.method, &format!("a copy for a shadow: {error}"));
            counts.fail(failure.reason);
        }
        request.release();
        room.release();
    }
}

fn score(
    worker: usize,
    copy: &Copy,
    request: &mut Request,
    room: &mut Room,
    until: Instant,
    count: impl FnOnce(usize, Option<&Frame>, &Room),
) -> Result<(), String> {
    let read = match copy.method {
        Method::Predict => request.decode(&copy.message),
        Method::PredictStream => request.decode_stream(&copy.message),
        method if method.tensors() => {
            let read = tensors::read(request, &copy.message);
            let fill = |()| copy.answered_by.tensors.fill(request, &copy.message, u32::MAX);
            read.and_then(fill).map_err(|_| Malformed)
        }
        method => copy.answered_by.table.read_message(method, request, &copy.message, u32::MAX),
    };
    read.map_err(|_| "it is malformed".to_owned())?;
    let rows = Rows::of(request, &copy.message);
    let coder = &copy.version.coder;
    if !coder.fits(rows) {
        return Err("its rows do not fit".into());
    }
    coder.examine(rows, room);
    if room.errors.len() == rows.count {
        count(rows.count, None, room);
        return Ok(());
    }
    let count = |frame: &Frame, room: &Room, _| count(rows.count, Some(frame), room);
    let ran = copy.version.run(worker, rows, room, Some(until), count);
    ran.map_err(|error| error.to_string())
}
