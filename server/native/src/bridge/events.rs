//! The queue of events for the control plane, and the way back for its answers.
//!
//! All that the hot path does not do itself goes through this queue, so that no thread of the engine ever waits
//! for the interpreter. The rules:
//!
//! 1. The engine pushes an event and goes on. A file descriptor wakes the control plane's event loop, which
//!    takes all events at once.
//! 2. The descriptor is written when the queue was empty, and read before the queue is emptied. So an event that
//!    comes between the two wakes the event loop again, and no event is forgotten.
//! 3. Every question and every control call has a number. The control plane's answers name that number. An
//!    answer to a caller who has gone is dropped.
//! 4. The faults in the queue are bounded by `MAX_FAULTS`, and so are the refusals. Further ones are counted.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use bytes::Bytes;
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::{mpsc, oneshot};

use crate::bridge::question::Question;
use crate::protocol::status::RpcError;
use crate::routing::snapshot::Origin;
use crate::transport::context::{OwnedContext, Peer};

/// An event for the control plane.
pub(crate) enum Event {
    /// A control call has begun.
    Open { id: u64, context: OwnedContext },
    /// The next message of a control call, after `Command::Want`.
    Message { id: u64, data: Bytes },
    /// The request of a control call has ended: there is no next message.
    End { id: u64 },
    /// A control call is over before `Command::Finish`: its caller cancelled, or its deadline passed.
    Gone { id: u64 },
    /// A prediction has failed. The control plane words its error.
    Ask { id: u64, origin: Option<Origin>, question: Box<Question> },
    /// A credential has to be verified: a bearer token, or a certificate in DER.
    Verify { id: u64, certificate: bool, value: Bytes, peer: Arc<Peer> },
    /// A call was refused before the control plane heard of it. Behind it `left_out` more were, which are not told.
    Refused { call: RefusedCall, left_out: u64 },
    /// A fault of the server, for the log.
    Fault { method: &'static str, text: String },
}

/// A call that was refused before the control plane heard of it.
pub(crate) struct RefusedCall {
    pub path: String,
    pub peer: Arc<Peer>,
    /// The name of who calls, if that was found out.
    pub principal: Option<Arc<str>>,
    pub refusal: Refusal,
}

/// What the caller of a refused call is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Unauthenticated,
    TooManyInFlight,
    CallerLimit,
}

/// A command of the control plane to a control call.
pub(crate) enum Command {
    /// Deliver the next message of the caller.
    Want,
    /// Send this message to the caller.
    Send(Bytes),
    /// End the call with this error; `None`: with the status OK.
    Finish(Option<RpcError>),
}

/// Who waits for an answer of the control plane.
enum Waiting {
    /// A control call. Its context is here until the control plane takes the event that opens the call, so
    /// that a call which is over by then holds nothing.
    Call {
        commands: mpsc::UnboundedSender<Command>,
        context: Option<OwnedContext>,
    },
    Question(oneshot::Sender<RpcError>),
}

/// The largest number of faults in the queue: a model that fails in every call must not fill the memory. It is also
/// that of refusals.
const MAX_FAULTS: usize = 64;

/// What is in the queue.
enum Queued {
    /// An `Event::Open`, whose context is with the call.
    Open(u64),
    Event(Event),
}

/// The events that the control plane has not taken yet.
#[derive(Default)]
struct EventQueue {
    events: Vec<Queued>,
    /// The faults among `events`.
    faults: usize,
    /// The faults that were left out of `events`.
    faults_left_out: u64,
    /// The refusals among `events`.
    refusals: usize,
    /// The index of the last of them.
    last_refusal: usize,
}

impl EventQueue {
    fn push_fault(&mut self, method: &'static str, text: &str) {
        if self.faults < MAX_FAULTS {
            self.faults += 1;
            self.events.push(Queued::Event(Event::Fault { method, text: text.to_owned() }));
        } else {
            self.faults_left_out += 1;
        }
    }

    fn push_refusal(&mut self, call: impl FnOnce() -> RefusedCall) {
        if self.refusals < MAX_FAULTS {
            self.refusals += 1;
            self.last_refusal = self.events.len();
            self.events.push(Queued::Event(Event::Refused { call: call(), left_out: 0 }));
        } else if let Some(Queued::Event(Event::Refused { left_out, .. })) =
            self.events.get_mut(self.last_refusal)
        {
            *left_out += 1;
        }
    }
}

/// The queue of events, and all who wait for an answer, by number.
pub(crate) struct Events {
    queue: Mutex<EventQueue>,
    waiting: Mutex<HashMap<u64, Waiting>>,
    last_id: AtomicU64,
    /// An eventfd, readable while the queue has events.
    wake: OwnedFd,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Events {
    /// An empty queue.
    ///
    /// # Errors
    /// `io::Error`: no eventfd can be made, as where the process has too many open files.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            queue: Mutex::default(),
            waiting: Mutex::default(),
            last_id: AtomicU64::new(0),
            wake: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
        })
    }

    /// The file descriptor that is readable while the queue has events.
    pub(crate) fn file_descriptor(&self) -> RawFd {
        self.wake.as_fd().as_raw_fd()
    }

    /// Takes all events out of the queue.
    pub(crate) fn take(&self) -> Vec<Event> {
        // Read before the queue is emptied (rule 2).
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        let EventQueue { events, faults_left_out, .. } = std::mem::take(&mut *locked(&self.queue));
        let mut waiting = locked(&self.waiting);
        let mut opened = |id| match waiting.get_mut(&id) {
            Some(Waiting::Call { context, .. }) => context.take().map(|context| Event::Open { id, context }),
            _ => None,
        };
        let event = |queued| match queued {
            Queued::Open(id) => opened(id),
            Queued::Event(event) => Some(event),
        };
        let mut events: Vec<Event> = events.into_iter().filter_map(event).collect();
        if faults_left_out > 0 {
            let text = format!("{faults_left_out} more faults came at once and are not listed");
            events.push(Event::Fault { method: "any", text });
        }
        events
    }

    fn push(&self, event: Event) {
        self.enqueue(Queued::Event(event));
    }

    fn enqueue(&self, queued: Queued) {
        self.change(locked(&self.queue), |queue| queue.events.push(queued));
    }

    /// Changes the queue, and wakes the event loop where the queue was empty.
    fn change(&self, mut queue: MutexGuard<'_, EventQueue>, change: impl FnOnce(&mut EventQueue)) {
        let was_empty = queue.events.is_empty();
        change(&mut queue);
        if was_empty {
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        }
    }

    fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Relaxed) + 1
    }

    /// Reports a fault of the server in a method, for the log.
    pub(crate) fn fault(&self, method: &'static str, text: &str) {
        self.change(locked(&self.queue), |queue| queue.push_fault(method, text));
    }

    /// Asks the control plane whether a credential is valid; returns the number of the question. Whoever asks keeps
    /// account of the questions, and gets the answers.
    pub(crate) fn verify(&self, certificate: bool, value: Bytes, peer: Arc<Peer>) -> u64 {
        let id = self.next_id();
        self.push(Event::Verify { id, certificate, value, peer });
        id
    }

    /// Tells the control plane of a call that was refused.
    pub(crate) fn refused(&self, call: impl FnOnce() -> RefusedCall) {
        self.change(locked(&self.queue), |queue| queue.push_refusal(call));
    }

    /// Reports a panic. Never waits: a panic of a thread that has the queue locked is not reported.
    pub(crate) fn panicked(&self, text: &str) {
        match self.queue.try_lock() {
            Ok(queue) => self.change(queue, |queue| queue.push_fault("panic", text)),
            Err(TryLockError::Poisoned(queue)) => {
                self.change(queue.into_inner(), |queue| queue.push_fault("panic", text));
            }
            Err(TryLockError::WouldBlock) => {}
        }
    }

    /// Asks the control plane for the error of a failed prediction. `None`: the engine has stopped, and the
    /// control plane answers no more.
    pub(crate) async fn ask(
        self: &Events,
        origin: Option<Origin>,
        question: Box<Question>,
    ) -> Option<RpcError> {
        let id = self.next_id();
        let (sender, answer) = oneshot::channel();
        locked(&self.waiting).insert(id, Waiting::Question(sender));
        let _forget = ForgetOnDrop { events: self, id };
        self.push(Event::Ask { id, origin, question });
        answer.await.ok()
    }

    /// Begins a control call: a call that the control plane answers.
    pub(crate) fn open(self: &Arc<Self>, context: OwnedContext) -> ControlCall {
        let id = self.next_id();
        let (sender, commands) = mpsc::unbounded_channel();
        let call = Waiting::Call { commands: sender, context: Some(context) };
        locked(&self.waiting).insert(id, call);
        self.enqueue(Queued::Open(id));
        ControlCall { events: Arc::clone(self), id, commands, ended: false }
    }

    /// Passes a command to a control call. Ignored where the call is over.
    pub(crate) fn command(&self, id: u64, command: Command) {
        if let Some(Waiting::Call { commands, .. }) = locked(&self.waiting).get(&id) {
            let _ = commands.send(command);
        }
    }

    /// Answers a question. Ignored where nobody waits for the answer any more.
    pub(crate) fn answer(&self, id: u64, error: RpcError) {
        if let Some(Waiting::Question(sender)) = locked(&self.waiting).remove(&id) {
            let _ = sender.send(error);
        }
    }

    /// Ends all waiting: the control plane answers no more.
    pub(crate) fn close(&self) {
        locked(&self.waiting).clear();
    }
}

/// Forgets a question when the task that waits for its answer is dropped.
struct ForgetOnDrop<'a> {
    events: &'a Events,
    id: u64,
}

impl Drop for ForgetOnDrop<'_> {
    fn drop(&mut self) {
        locked(&self.events.waiting).remove(&self.id);
    }
}

/// A call that the control plane answers. Dropping it before its end tells the control plane that its caller has
/// gone.
pub(crate) struct ControlCall {
    events: Arc<Events>,
    id: u64,
    commands: mpsc::UnboundedReceiver<Command>,
    /// Whether the control plane has ended the call, or answers no more.
    ended: bool,
}

impl ControlCall {
    /// The next command of the control plane. `None`: the control plane answers no more.
    pub(crate) async fn next(&mut self) -> Option<Command> {
        let command = self.commands.recv().await;
        self.ended |= matches!(command, None | Some(Command::Finish(_)));
        command
    }

    /// Delivers the next message of the request; `None`: the request has ended.
    pub(crate) fn deliver(&self, message: Option<Bytes>) {
        let id = self.id;
        self.events.push(match message {
            Some(data) => Event::Message { id, data },
            None => Event::End { id },
        });
    }
}

impl Drop for ControlCall {
    fn drop(&mut self) {
        let call = locked(&self.events.waiting).remove(&self.id);
        // A call that the control plane has not heard of is not mentioned to it at all.
        let unheard = matches!(call, Some(Waiting::Call { context: Some(_), .. }));
        if !self.ended && !unheard {
            self.events.push(Event::Gone { id: self.id });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(metadata: usize) -> OwnedContext {
        let peer = Arc::new(Peer::new(([127, 0, 0, 1], 1).into(), None));
        OwnedContext {
            path: "/s/m".into(),
            metadata: vec![0; metadata].into(),
            peer,
            received: std::time::Instant::now(),
            deadline: None,
            span: None,
            principal: None,
        }
    }

    #[test]
    fn a_call_that_is_over_before_its_event_is_taken_leaves_nothing_behind() {
        let events = Arc::new(Events::new().unwrap());
        for _ in 0..100 {
            drop(events.open(context(1 << 14)));
        }
        assert!(locked(&events.waiting).is_empty() && events.take().is_empty());
        let call = events.open(context(3));
        let taken = events.take();
        let [Event::Open { id, context }] = &taken[..] else { panic!("one event") };
        assert_eq!((*id, context.metadata.len()), (call.id, 3));
        drop(call);
        assert!(matches!(events.take()[..], [Event::Gone { .. }]));
    }

    #[test]
    fn a_flood_of_faults_is_bounded_and_counted() {
        let events = Events::new().unwrap();
        for _ in 0..MAX_FAULTS + 1000 {
            events.fault("Predict", "the model fails");
        }
        let taken = events.take();
        assert_eq!(taken.len(), MAX_FAULTS + 1);
        let Some(Event::Fault { text, .. }) = taken.last() else { panic!("no fault") };
        assert!(text.starts_with("1000 more faults"));
        // A panic counts as a fault, and does not wait for the queue.
        let guard = locked(&events.queue);
        events.panicked("while the queue is locked");
        drop(guard);
        events.panicked("at some place");
        let Some(Event::Fault { method: "panic", text }) = events.take().pop() else { panic!("no fault") };
        assert_eq!(text, "at some place");
        // Later faults are reported again.
        events.fault("Predict", "the model fails");
        assert_eq!(events.take().len(), 1);
    }

    #[test]
    fn a_flood_of_refusals_is_bounded_and_counted() {
        let events = Events::new().unwrap();
        let peer = context(0).peer;
        for _ in 0..2 {
            for number in 0..MAX_FAULTS + 1000 {
                events.refused(|| RefusedCall {
                    path: format!("/s/{number}"),
                    peer: Arc::clone(&peer),
                    principal: None,
                    refusal: Refusal::Unauthenticated,
                });
            }
            events.fault("Predict", "the model fails");
            let taken = events.take();
            assert_eq!(taken.len(), MAX_FAULTS + 1);
            let left_out = |event: &Event| match event {
                Event::Refused { left_out, .. } => Some(*left_out),
                _ => None,
            };
            assert_eq!(taken.iter().filter_map(left_out).sum::<u64>(), 1000);
            assert_eq!(left_out(&taken[MAX_FAULTS - 1]), Some(1000));
        }
    }
}
