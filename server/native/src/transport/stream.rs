//! A session that the task of its connection and the calls on it share; all are on one thread.

use std::cell::{Cell, RefCell, RefMut};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::spawn_local;

use crate::transport::http2::{Field, Fields, InitialFields, Received, Session};
use crate::transport::intake::Intake;
use crate::transport::quota::{Claim, FREE_BYTES, Held, Quota};

/// How often a connection looks whether the pressure of others is over.
const RELIEF: Duration = Duration::from_millis(50);

/// The session, and how to wake the connection's task.
pub struct Link {
    session: RefCell<Session>,
    task: RefCell<Option<Waker>>,
    /// Whether that task waits; while it runs it sends what it finds at the end.
    idle: Cell<bool>,
    given_up: Cell<bool>,
    quota: Arc<Quota>,
    intake: RefCell<Intake>,
    /// Whether the windows are small, and a task looks for the end of the pressure.
    narrow: Cell<bool>,
}

impl Link {
    pub fn new(session: Session, quota: Arc<Quota>) -> Self {
        Self {
            session: RefCell::new(session),
            task: RefCell::default(),
            idle: Cell::default(),
            given_up: Cell::default(),
            quota,
            intake: RefCell::default(),
            narrow: Cell::default(),
        }
    }

    /// The session. Nobody holds it while it waits.
    pub fn session(&self) -> RefMut<'_, Session> {
        self.session.borrow_mut()
    }

    /// The connection's task waits, or no longer does.
    pub fn set_idle(&self, waiting: Option<&Waker>) {
        self.idle.set(waiting.is_some());
        if let Some(waker) = waiting {
            match &mut *self.task.borrow_mut() {
                Some(task) => task.clone_from(waker),
                task => *task = Some(waker.clone()),
            }
        }
    }

    /// Has the connection end, without a word to the client.
    pub fn give_up(&self) {
        self.given_up.set(true);
        self.wake();
    }

    pub fn is_given_up(&self) -> bool {
        self.given_up.get()
    }

    /// No other message waits for that of a call any more.
    fn forget(&self, id: i32) {
        self.intake.borrow_mut().end(id);
        self.relieve(self.quota.is_pressed());
    }

    /// Gives the client the room that it has to get by now.
    fn relieve(&self, pressed: bool) {
        let mut intake = self.intake.borrow_mut();
        if intake.withholds() {
            for (id, bytes) in intake.relieve(pressed) {
                self.session().open_window(id, bytes);
            }
            self.wake();
        }
    }

    /// Gives the client small windows until the pressure, which others may make, is over.
    fn narrow(self: &Rc<Self>) {
        if self.narrow.replace(true) {
            return;
        }
        self.session().narrow(true);
        let link = Rc::downgrade(self);
        drop(spawn_local(async move {
            loop {
                tokio::time::sleep(RELIEF).await;
                let Some(link) = Weak::upgrade(&link) else { return };
                // Asked once: others may end the pressure meanwhile, and all is to be given then.
                let pressed = link.quota.is_pressed();
                link.relieve(pressed);
                if !pressed {
                    link.narrow.set(false);
                    link.session().narrow(false);
                    link.wake();
                    return;
                }
            }
        }));
    }

    /// Has the connection's task send what the session has.
    pub fn wake(&self) {
        if self.idle.replace(false)
            && let Some(task) = &*self.task.borrow()
        {
            task.wake_by_ref();
        }
    }
}

/// The request's side of a call.
pub struct Body {
    link: Rc<Link>,
    id: i32,
    /// Whether the last of it has been taken: then nobody asks the session again.
    ended: bool,
    /// What of the quota the message that has begun holds.
    held: Held,
    /// Whether the caller owes the rest of a message.
    owes: bool,
}

/// Why nothing more comes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// The caller went away.
    Reset,
    /// The caller has sent nothing for too long.
    Stalled,
}

impl Body {
    /// The next bytes; None at the end.
    pub fn poll_data(&mut self, cx: &Context<'_>) -> Poll<Result<Option<Bytes>, Gone>> {
        if self.ended {
            return Poll::Ready(Ok(None));
        }
        let pressed = self.link.quota.is_pressed();
        let withhold = pressed && !self.link.intake.borrow().is_first(self.id);
        let mut session = self.link.session();
        let received = session.take(self.id, withhold);
        self.ended = matches!(received, Received::Last(_));
        match received {
            Received::Data(data) | Received::Last(data) => {
                if self.owes && pressed && !withhold {
                    session.widen(self.id);
                }
                drop(session);
                if withhold {
                    self.link.intake.borrow_mut().withhold(self.id, data.len());
                    self.link.narrow();
                }
                // What was taken may have made room for the client.
                self.link.wake();
                Poll::Ready(Ok(Some(data)))
            }
            Received::End => Poll::Ready(Ok(None)),
            Received::Gone => Poll::Ready(Err(Gone::Reset)),
            Received::Stalled => Poll::Ready(Err(Gone::Stalled)),
            Received::Nothing => {
                session.wait(self.id, cx.waker());
                Poll::Pending
            }
        }
    }

    /// Whether the last of it has been taken.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The caller owes the rest of a message, of which so many bytes are here; false where the quota
    /// does not allow them.
    pub fn owe(&mut self, bytes: usize) -> bool {
        if !std::mem::replace(&mut self.owes, true) {
            self.link.session().expect(self.id, true);
        }
        if bytes <= FREE_BYTES {
            return true;
        }
        let mut intake = self.link.intake.borrow_mut();
        intake.begin(self.id);
        let claim = if intake.is_first(self.id) { Claim::First } else { Claim::Waits };
        self.held.resize(&self.link.quota, bytes, claim)
    }

    /// What a message of so many bytes, which is whole, holds of the quota; None where that does not
    /// allow it.
    pub fn settle(&mut self, bytes: usize) -> Option<Held> {
        let fits = bytes <= FREE_BYTES || self.held.resize(&self.link.quota, bytes, Claim::First);
        let held = std::mem::take(&mut self.held);
        if std::mem::take(&mut self.owes) {
            self.link.session().expect(self.id, false);
            self.link.forget(self.id);
        }
        fits.then_some(held)
    }

    /// The quota of the connection.
    pub fn quota(&self) -> &Arc<Quota> {
        &self.link.quota
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if self.owes {
            self.held = Held::default();
            self.link.forget(self.id);
        }
    }
}

/// The answer's side of a call. One that is dropped before its end breaks the call off.
pub struct Answer {
    link: Rc<Link>,
    id: i32,
    /// Whether its end has been given: then nobody asks the session again.
    ended: bool,
}

/// The two sides of a call that has begun.
pub fn call(link: &Rc<Link>, id: i32) -> (Body, Answer) {
    let body = Body { link: Rc::clone(link), id, ended: false, held: Held::default(), owes: false };
    (body, Answer { link: Rc::clone(link), id, ended: false })
}

impl Answer {
    /// Answers with headers alone.
    pub fn refuse(self, fields: &[Field]) {
        self.link.session().refuse(self.id, fields);
    }

    /// Sends data, after the initial fields where it is the first; false where the quota does not allow it.
    /// What was sent before has gone.
    pub fn data(&self, initial: &InitialFields, data: Bytes) -> bool {
        let Some(held) = self.hold(&data) else { return false };
        self.link.session().data(self.id, initial, data, held);
        self.link.wake();
        true
    }

    /// Sends data as the first and last, and ends the answer; gives itself back where the quota does
    /// not allow it.
    pub fn finish(mut self, initial: &InitialFields, data: Bytes, trailers: Fields) -> Result<(), Self> {
        let Some(held) = self.hold(&data) else { return Err(self) };
        self.link.session().finish(self.id, initial, data, held, trailers);
        self.ended = true;
        Ok(())
    }

    /// What data holds of the quota until it has gone; None where that does not allow it.
    fn hold(&self, data: &Bytes) -> Option<Held> {
        if data.len() <= FREE_BYTES { Some(Held::default()) } else { Held::new(&self.link.quota, data.len()) }
    }

    /// Whether the quota allows no answer that is to be counted.
    pub fn is_full(&self) -> bool {
        let full = self.link.quota.is_full();
        if full {
            self.link.quota.count_refusal();
        }
        full
    }

    /// Ends the answer.
    pub fn end(mut self, initial: &InitialFields, trailers: Fields) {
        self.link.session().end(self.id, initial, trailers);
        self.ended = true;
    }

    /// Waits until what was given before has gone.
    pub fn poll_room(&self, cx: &Context<'_>) -> Poll<Result<(), Gone>> {
        let mut session = self.link.session();
        if !session.is_open(self.id) {
            return Poll::Ready(Err(Gone::Reset));
        }
        if session.has_room(self.id) {
            return Poll::Ready(Ok(()));
        }
        session.wait(self.id, cx.waker());
        Poll::Pending
    }

    /// Waits until the caller goes away.
    pub fn poll_gone(&self, cx: &Context<'_>) -> Poll<()> {
        let mut session = self.link.session();
        if !session.is_open(self.id) {
            return Poll::Ready(());
        }
        session.wait(self.id, cx.waker());
        Poll::Pending
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.ended {
            let mut session = self.link.session();
            if session.is_open(self.id) {
                session.reset(self.id);
            }
        }
        self.link.wake();
    }
}
