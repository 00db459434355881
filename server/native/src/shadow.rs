//! Copies of calls for a shadow: scored in a thread of their own, whose answers nobody sees.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use bytes::Bytes;

use crate::coding::{Room, Rows};
use crate::control::Events;
use crate::runtime::Frame;
use crate::scoring::count_answer;
use crate::snapshot::{Shadow, Version};
use crate::split;
use crate::statistics::{Method, RouteShards};
use crate::tensors;
use crate::wire::{Malformed, Request};

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
    version: Arc<Version>,
    counts: Arc<RouteShards>,
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
    /// Starts the thread, which counts as the worker of this index; `internal` is the reason of faults.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(worker: usize, events: Arc<Events>, internal: u32) -> std::io::Result<Self> {
        let (copies, taken) = sync_channel(MAX_WAITING);
        let state = Arc::<State>::default();
        let seen = Arc::clone(&state);
        let builder = std::thread::Builder::new().name("shadow".into());
        let thread = builder.spawn(move || {
            // A wish: where it is not granted the copies have the priority of the calls.
            let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICEST);
            work(worker, &events, internal, &taken, &seen);
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
        let answered_by = Arc::clone(answered_by);
        let copy = Copy { message: message.clone(), method, answered_by, version, counts };
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

fn work(worker: usize, events: &Events, internal: u32, copies: &Receiver<Option<Copy>>, state: &State) {
    let (mut request, mut room) = (Request::default(), Room::default());
    while let Ok(Some(copy)) = copies.recv() {
        if state.closed.load(Relaxed) {
            return;
        }
        state.waiting_bytes.fetch_sub(copy.message.len(), Relaxed);
        let begin = Instant::now();
        let counts = &copy.counts[worker];
        let scored = score(worker, &copy, &mut request, &mut room, |rows, frame, room| {
            count_answer(counts, &copy.version, rows, frame, room, begin);
        });
        if let Err(error) = scored {
            events.fault(copy.method, &format!("a copy for a shadow: {error}"));
            counts.fail(internal);
        }
    }
}

fn score(
    worker: usize,
    copy: &Copy,
    request: &mut Request,
    room: &mut Room,
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
    let ran = copy.version.run(worker, rows, room, |frame, room, _| count(rows.count, Some(frame), room));
    ran.map_err(|error| error.to_string())
}
