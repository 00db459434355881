//! The way to the control plane and back.
//!
//! What is not on the hot path becomes an event in a queue that the control plane's event loop
//! reads when a file descriptor wakes it; so no thread of the engine ever waits for the
//! interpreter. What the control plane has to say comes back by the number of the call.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::{mpsc, oneshot};

use crate::failure::Failure;
use crate::predict::Question;
use crate::snapshot::Origin;
use crate::statistics::Method;

/// A control call that begins.
pub struct Opening {
    pub path: String,
    /// Until the caller's deadline; None where it set none.
    pub seconds_left: Option<f64>,
}

impl Opening {
    pub fn new(path: &str, deadline: Option<Instant>) -> Self {
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now()).as_secs_f64();
        Self { path: path.to_owned(), seconds_left: deadline.map(left) }
    }
}

/// What the control plane is told.
pub enum Event {
    /// A control call has begun.
    Open { id: u64, opening: Opening },
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
pub enum Command {
    /// It wants the caller's next message.
    Want,
    /// A message for the caller.
    Send(Bytes),
    /// The end: None where all is well.
    Finish(Option<Failure>),
}

enum Waiting {
    Call(mpsc::UnboundedSender<Command>),
    Question(oneshot::Sender<Failure>),
}

/// The queue of events, and who waits for what comes back.
pub struct Events {
    queue: Mutex<Vec<Event>>,
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
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            queue: Mutex::default(),
            waiting: Mutex::default(),
            last_id: AtomicU64::new(0),
            wake: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
        })
    }

    /// Readable while there are events.
    pub fn file_descriptor(&self) -> RawFd {
        self.wake.as_fd().as_raw_fd()
    }

    /// All events since the last time.
    pub fn take(&self) -> Vec<Event> {
        // Read first: an event that comes in between wakes once more.
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        std::mem::take(&mut *locked(&self.queue))
    }

    fn push(&self, event: Event) {
        let mut queue = locked(&self.queue);
        queue.push(event);
        if queue.len() == 1 {
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        }
    }

    fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Relaxed) + 1
    }

    /// Tells of a fault of the server.
    pub fn fault(&self, method: Method, text: &str) {
        self.push(Event::Fault { method: method.name(), text: text.to_owned() });
    }

    /// Asks for the words of a failure; None where the control plane is gone.
    pub async fn ask(self: &Events, origin: Option<Origin>, question: Box<Question>) -> Option<Failure> {
        let id = self.next_id();
        let (sender, answer) = oneshot::channel();
        locked(&self.waiting).insert(id, Waiting::Question(sender));
        let _forget = Forget { events: self, id };
        self.push(Event::Ask { id, origin, question });
        answer.await.ok()
    }

    /// Begins a control call.
    pub fn open(self: &Arc<Self>, opening: Opening) -> ControlCall {
        let id = self.next_id();
        let (sender, commands) = mpsc::unbounded_channel();
        locked(&self.waiting).insert(id, Waiting::Call(sender));
        self.push(Event::Open { id, opening });
        ControlCall { events: Arc::clone(self), id, commands, ended: false }
    }

    /// Passes a command to a control call; one that is over ignores it.
    pub fn command(&self, id: u64, command: Command) {
        if let Some(Waiting::Call(sender)) = locked(&self.waiting).get(&id) {
            let _ = sender.send(command);
        }
    }

    /// Answers `ask`.
    pub fn answer(&self, id: u64, failure: Failure) {
        if let Some(Waiting::Question(sender)) = locked(&self.waiting).remove(&id) {
            let _ = sender.send(failure);
        }
    }

    /// Lets everyone who waits go: nothing comes back any more.
    pub fn close(&self) {
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
pub struct ControlCall {
    events: Arc<Events>,
    id: u64,
    commands: mpsc::UnboundedReceiver<Command>,
    ended: bool,
}

impl ControlCall {
    /// What the control plane says next; None where it is gone.
    pub async fn next(&mut self) -> Option<Command> {
        let command = self.commands.recv().await;
        self.ended |= matches!(command, None | Some(Command::Finish(_)));
        command
    }

    /// Hands a message over, or tells that there are no more.
    pub fn deliver(&self, message: Option<Bytes>) {
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
