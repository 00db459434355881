//! The way to the control plane and back.
//!
//! What is not on the hot path becomes an event in a queue that the control plane's event loop
//! reads when a file descriptor wakes it; so no thread of the engine ever waits for the
//! interpreter. What the control plane has to say comes back by the number of the call.

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
use crate::transport::context::CallContext;

/// What the control plane is told.
pub(crate) enum Event {
    /// A control call has begun.
    Open { id: u64, context: CallContext<'static> },
    /// The next message of a control call, which had asked for it.
    Message { id: u64, data: Bytes },
    /// The caller sends no more, though the control call had asked for more.
    End { id: u64 },
    /// The caller went away.
    Gone { id: u64 },
    /// A prediction has failed, and the control plane words the failure.
    Ask { id: u64, origin: Option<Origin>, question: Box<Question> },
    /// A fault of the server, for the log.
    Fault { method: &'static str, text: String },
}

/// What the control plane says to a control call.
pub(crate) enum Command {
    /// It wants the caller's next message.
    Want,
    /// A message for the caller.
    Send(Bytes),
    /// The end: None where all is well.
    Finish(Option<RpcError>),
}

enum Waiting {
    Call(mpsc::UnboundedSender<Command>),
    Question(oneshot::Sender<RpcError>),
}

/// Faults that wait for the control plane's log at most: a model that fails in each call must not fill
/// the memory.
const MAX_FAULTS: usize = 64;

/// What waits for the control plane.
#[derive(Default)]
struct EventQueue {
    events: Vec<Event>,
    faults: usize,
    faults_left_out: u64,
}

impl EventQueue {
    fn push_fault(&mut self, method: &'static str, text: &str) {
        if self.faults < MAX_FAULTS {
            self.faults += 1;
            self.events.push(Event::Fault { method, text: text.to_owned() });
        } else {
            self.faults_left_out += 1;
        }
    }
}

/// The queue of events, and who waits for what comes back.
pub(crate) struct Events {
    queue: Mutex<EventQueue>,
    waiting: Mutex<HashMap<u64, Waiting>>,
    last_id: AtomicU64,
    wake: OwnedFd,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Events {
    /// # Errors
    /// The process has too many open files.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            queue: Mutex::default(),
            waiting: Mutex::default(),
            last_id: AtomicU64::new(0),
            wake: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
        })
    }

    /// Readable while there are events.
    pub(crate) fn file_descriptor(&self) -> RawFd {
        self.wake.as_fd().as_raw_fd()
    }

    /// All events since the last time.
    pub(crate) fn take(&self) -> Vec<Event> {
        // Read first: an event that comes in between wakes once more.
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        let EventQueue { mut events, faults_left_out, .. } = std::mem::take(&mut *locked(&self.queue));
        if faults_left_out > 0 {
            let text = format!("{faults_left_out} more faults came at once, and are not told one by one");
            events.push(Event::Fault { method: "any", text });
        }
        events
    }

    fn push(&self, event: Event) {
        self.change(locked(&self.queue), |queue| queue.events.push(event));
    }

    fn change(&self, mut queue: MutexGuard<'_, EventQueue>, change: impl FnOnce(&mut EventQueue)) {
        let idle = queue.events.is_empty();
        change(&mut queue);
        if idle {
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        }
    }

    fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Relaxed) + 1
    }

    /// Tells of a fault of the server.
    pub(crate) fn fault(&self, method: &'static str, text: &str) {
        self.change(locked(&self.queue), |queue| queue.push_fault(method, text));
    }

    /// Tells of a panic, unless it came while the queue was held.
    pub(crate) fn panicked(&self, text: &str) {
        match self.queue.try_lock() {
            Ok(queue) => self.change(queue, |queue| queue.push_fault("panic", text)),
            Err(TryLockError::Poisoned(queue)) => {
                self.change(queue.into_inner(), |queue| queue.push_fault("panic", text));
            }
            Err(TryLockError::WouldBlock) => {}
        }
    }

    /// Asks for the words of a failure; None where the control plane is gone.
    pub(crate) async fn ask(
        self: &Events,
        origin: Option<Origin>,
        question: Box<Question>,
    ) -> Option<RpcError> {
        let id = self.next_id();
        let (sender, answer) = oneshot::channel();
        locked(&self.waiting).insert(id, Waiting::Question(sender));
        let _forget = Forget { events: self, id };
        self.push(Event::Ask { id, origin, question });
        answer.await.ok()
    }

    /// Begins a control call.
    pub(crate) fn open(self: &Arc<Self>, context: CallContext<'static>) -> ControlCall {
        let id = self.next_id();
        let (sender, commands) = mpsc::unbounded_channel();
        locked(&self.waiting).insert(id, Waiting::Call(sender));
        self.push(Event::Open { id, context });
        ControlCall { events: Arc::clone(self), id, commands, ended: false }
    }

    /// Passes a command to a control call; one that is over ignores it.
    pub(crate) fn command(&self, id: u64, command: Command) {
        if let Some(Waiting::Call(sender)) = locked(&self.waiting).get(&id) {
            let _ = sender.send(command);
        }
    }

    /// Answers `ask`.
    pub(crate) fn answer(&self, id: u64, failure: RpcError) {
        if let Some(Waiting::Question(sender)) = locked(&self.waiting).remove(&id) {
            let _ = sender.send(failure);
        }
    }

    /// Lets everyone who waits go: nothing comes back any more.
    pub(crate) fn close(&self) {
        locked(&self.waiting).clear();
    }
}

/// Forgets a question whose caller went away.
struct Forget<'a> {
    events: &'a Events,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        locked(&self.events.waiting).remove(&self.id);
    }
}

/// A call that the control plane answers.
pub(crate) struct ControlCall {
    events: Arc<Events>,
    id: u64,
    commands: mpsc::UnboundedReceiver<Command>,
    ended: bool,
}

impl ControlCall {
    /// What the control plane says next; None where it is gone.
    pub(crate) async fn next(&mut self) -> Option<Command> {
        let command = self.commands.recv().await;
        self.ended |= matches!(command, None | Some(Command::Finish(_)));
        command
    }

    /// Hands a message over, or tells that there are no more.
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
        locked(&self.events.waiting).remove(&self.id);
        if !self.ended {
            self.events.push(Event::Gone { id: self.id });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        // A panic finds the same bound, and does not wait for the queue.
        let held = locked(&events.queue);
        events.panicked("while the queue is held");
        drop(held);
        events.panicked("at some place");
        let Some(Event::Fault { method: "panic", text }) = events.take().pop() else { panic!("no fault") };
        assert_eq!(text, "at some place");
        // The next ones are told again.
        events.fault("Predict", "the model fails");
        assert_eq!(events.take().len(), 1);
    }
}
