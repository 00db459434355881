//! A session that the task of its connection and the calls on it share; all are on one thread.

use std::cell::{Cell, RefCell, RefMut};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use crate::session::{Field, Fields, Received, Session};

/// The session, and how to wake the connection's task.
pub struct Link {
    session: RefCell<Session>,
    task: RefCell<Option<Waker>>,
    /// Whether that task waits; while it runs it sends what it finds at the end.
    idle: Cell<bool>,
    given_up: Cell<bool>,
}

impl Link {
    pub fn new(session: Session) -> Self {
        let session = RefCell::new(session);
        Self { session, task: RefCell::default(), idle: Cell::default(), given_up: Cell::default() }
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
}

/// The caller went away.
pub struct Gone;

impl Body {
    /// The next bytes; None at the end.
    pub fn poll_data(&mut self, cx: &Context<'_>) -> Poll<Result<Option<Bytes>, Gone>> {
        if self.ended {
            return Poll::Ready(Ok(None));
        }
        let mut session = self.link.session();
        let received = session.take(self.id);
        self.ended = matches!(received, Received::Last(_));
        match received {
            Received::Data(data) | Received::Last(data) => {
                drop(session);
                // What was taken may have made room for the client.
                self.link.wake();
                Poll::Ready(Ok(Some(data)))
            }
            Received::End => Poll::Ready(Ok(None)),
            Received::Gone => Poll::Ready(Err(Gone)),
            Received::Nothing => {
                session.wait(self.id, cx.waker());
                Poll::Pending
            }
        }
    }
}

/// The answer's side of a call. One that is dropped before its end breaks the call off.
pub struct Answer {
    link: Rc<Link>,
    id: i32,
}

/// The two sides of a call that has begun.
pub fn call(link: &Rc<Link>, id: i32) -> (Body, Answer) {
    (Body { link: Rc::clone(link), id, ended: false }, Answer { link: Rc::clone(link), id })
}

impl Answer {
    /// Answers with headers alone.
    pub fn refuse(self, fields: &[Field]) {
        self.link.session().refuse(self.id, fields);
    }

    /// Sends data, after the head where it is the first. There is room.
    pub fn data(&self, head: &[Field], data: Bytes) {
        self.link.session().data(self.id, head, data);
        self.link.wake();
    }

    /// Ends the answer.
    pub fn end(self, head: &[Field], trailers: Fields) {
        self.link.session().end(self.id, head, trailers);
    }

    /// Waits until what was given before has gone.
    pub fn poll_room(&self, cx: &Context<'_>) -> Poll<Result<(), Gone>> {
        let mut session = self.link.session();
        if !session.is_open(self.id) {
            return Poll::Ready(Err(Gone));
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
        let mut session = self.link.session();
        if session.is_open(self.id) {
            session.reset(self.id);
        }
        drop(session);
        self.link.wake();
    }
}
