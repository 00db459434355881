//! A session that the task of its connection and the calls on it share; all are on one thread.

use std::cell::{Cell, RefCell, RefMut};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::spawn_local;

use crate::transport::backpressure::Backpressure;
use crate::transport::http2::fields::{HeaderField, HeaderFields, InitialFields};
use crate::transport::http2::session::{Http2Session, Received};
use crate::transport::quota::{Claim, FREE_BYTES, Quota, Reservation};

/// How often a connection looks whether the pressure of others is over.
const RELIEF: Duration = Duration::from_millis(50);

/// The session, and how to wake the connection's task.
pub(crate) struct SharedSession {
    session: RefCell<Http2Session>,
    task: RefCell<Option<Waker>>,
    /// Whether that task waits; while it runs it sends what it finds at the end.
    idle: Cell<bool>,
    given_up: Cell<bool>,
    quota: Arc<Quota>,
    backpressure: RefCell<Backpressure>,
    /// Whether the windows are small, and a task looks for the end of the pressure.
    narrow: Cell<bool>,
}

impl SharedSession {
    pub(crate) fn new(session: Http2Session, quota: Arc<Quota>) -> Self {
        Self {
            session: RefCell::new(session),
            task: RefCell::default(),
            idle: Cell::default(),
            given_up: Cell::default(),
            quota,
            backpressure: RefCell::default(),
            narrow: Cell::default(),
        }
    }

    /// The session. Nobody holds it while it waits.
    pub(crate) fn session(&self) -> RefMut<'_, Http2Session> {
        self.session.borrow_mut()
    }

    /// The connection's task waits, or no longer does.
    pub(crate) fn set_idle(&self, waiting: Option<&Waker>) {
        self.idle.set(waiting.is_some());
        if let Some(waker) = waiting {
            match &mut *self.task.borrow_mut() {
                Some(task) => task.clone_from(waker),
                task => *task = Some(waker.clone()),
            }
        }
    }

    /// Has the connection end, without a word to the client.
    pub(crate) fn give_up(&self) {
        self.given_up.set(true);
        self.wake();
    }

    pub(crate) fn is_given_up(&self) -> bool {
        self.given_up.get()
    }

    /// No other message waits for that of a call any more.
    fn forget(&self, id: i32) {
        self.backpressure.borrow_mut().end(id);
        self.relieve(self.quota.is_pressed());
    }

    /// Gives the client the room that it has to get by now.
    fn relieve(&self, pressed: bool) {
        let mut backpressure = self.backpressure.borrow_mut();
        if backpressure.withholds() {
            for (id, bytes) in backpressure.relieve(pressed) {
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
        let shared = Rc::downgrade(self);
        drop(spawn_local(async move {
            loop {
                tokio::time::sleep(RELIEF).await;
                let Some(shared) = Weak::upgrade(&shared) else { return };
                // Asked once: others may end the pressure meanwhile, and all is to be given then.
                let pressed = shared.quota.is_pressed();
                shared.relieve(pressed);
                if !pressed {
                    shared.narrow.set(false);
                    shared.session().narrow(false);
                    shared.wake();
                    return;
                }
            }
        }));
    }

    /// Has the connection's task send what the session has.
    pub(crate) fn wake(&self) {
        if self.idle.replace(false)
            && let Some(task) = &*self.task.borrow()
        {
            task.wake_by_ref();
        }
    }
}

/// The request's side of a call.
pub(crate) struct RequestBody {
    shared: Rc<SharedSession>,
    id: i32,
    /// Whether the last of it has been taken: then nobody asks the session again.
    ended: bool,
    /// What of the quota the message that has begun holds.
    held: Reservation,
    /// What of the quota the call's metadata holds.
    metadata: Reservation,
    /// Whether the caller owes the rest of a message.
    owes: bool,
}

/// Why nothing more comes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// The caller went away.
    Reset,
    /// The caller has sent nothing for too long.
    Stalled,
}

impl RequestBody {
    /// The next bytes; None at the end.
    pub(crate) fn poll_data(&mut self, cx: &Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        if self.ended {
            return Poll::Ready(Ok(None));
        }
        let pressed = self.shared.quota.is_pressed();
        let withhold = pressed && !self.shared.backpressure.borrow().is_first(self.id);
        let mut session = self.shared.session();
        let received = session.take(self.id, withhold);
        self.ended = matches!(received, Received::Last(_));
        match received {
            Received::Data(data) | Received::Last(data) => {
                if self.owes && pressed && !withhold {
                    session.widen(self.id);
                }
                drop(session);
                if withhold {
                    self.shared.backpressure.borrow_mut().withhold(self.id, data.len());
                    self.shared.narrow();
                }
                // What was taken may have made room for the client.
                self.shared.wake();
                Poll::Ready(Ok(Some(data)))
            }
            Received::End => Poll::Ready(Ok(None)),
            Received::Gone => Poll::Ready(Err(BodyError::Reset)),
            Received::Stalled => Poll::Ready(Err(BodyError::Stalled)),
            Received::Nothing => {
                session.wait(self.id, cx.waker());
                Poll::Pending
            }
        }
    }

    /// Whether the last of it has been taken.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// The caller owes the rest of a message, of which so many bytes are here; false where the quota
    /// does not allow them.
    pub(crate) fn reserve_partial(&mut self, bytes: usize) -> bool {
        if !std::mem::replace(&mut self.owes, true) {
            self.shared.session().expect(self.id, true);
        }
        if bytes <= FREE_BYTES {
            return true;
        }
        let mut backpressure = self.shared.backpressure.borrow_mut();
        backpressure.begin(self.id);
        let claim = if backpressure.is_first(self.id) { Claim::First } else { Claim::Waits };
        self.held.resize(&self.shared.quota, bytes, claim)
    }

    /// What a message of so many bytes, which is whole, holds of the quota; None where that does not
    /// allow it.
    pub(crate) fn reserve_whole(&mut self, bytes: usize) -> Option<Reservation> {
        let fits = bytes <= FREE_BYTES || self.held.resize(&self.shared.quota, bytes, Claim::First);
        let held = std::mem::take(&mut self.held);
        if std::mem::take(&mut self.owes) {
            self.shared.session().expect(self.id, false);
            self.shared.forget(self.id);
        }
        fits.then_some(held)
    }

    /// Holds bytes of the quota for the call's metadata, as long as the call may read messages; false where
    /// the quota does not allow them.
    pub(crate) fn reserve_metadata(&mut self, bytes: usize) -> bool {
        bytes <= FREE_BYTES || self.metadata.resize(&self.shared.quota, bytes, Claim::First)
    }

    /// The quota of the connection.
    pub(crate) fn quota(&self) -> &Arc<Quota> {
        &self.shared.quota
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if self.owes {
            self.held = Reservation::default();
            self.shared.forget(self.id);
        }
    }
}

/// The answer's side of a call. One that is dropped before its end breaks the call off.
pub(crate) struct ResponseWriter {
    shared: Rc<SharedSession>,
    id: i32,
    /// Whether its end has been given: then nobody asks the session again.
    ended: bool,
}

/// The two sides of a call that has begun.
pub(crate) fn call(shared: &Rc<SharedSession>, id: i32) -> (RequestBody, ResponseWriter) {
    let body = RequestBody {
        shared: Rc::clone(shared),
        id,
        ended: false,
        held: Reservation::default(),
        metadata: Reservation::default(),
        owes: false,
    };
    (body, ResponseWriter { shared: Rc::clone(shared), id, ended: false })
}

impl ResponseWriter {
    /// Answers with headers alone.
    pub(crate) fn refuse(self, fields: &[HeaderField]) {
        self.shared.session().refuse(self.id, fields);
    }

    /// Sends data, after the initial fields where it is the first; false where the quota does not allow it.
    /// What was sent before has gone.
    pub(crate) fn data(&self, initial: &InitialFields, data: Bytes) -> bool {
        let Some(held) = self.hold(&data) else { return false };
        self.shared.session().data(self.id, initial, data, held);
        self.shared.wake();
        true
    }

    /// Sends data as the first and last, and ends the answer; gives itself back where the quota does
    /// not allow it.
    pub(crate) fn finish(
        mut self,
        initial: &InitialFields,
        data: Bytes,
        trailers: HeaderFields,
    ) -> Result<(), Self> {
        let Some(held) = self.hold(&data) else { return Err(self) };
        self.shared.session().finish(self.id, initial, data, held, trailers);
        self.ended = true;
        Ok(())
    }

    /// What data holds of the quota until it has gone; None where that does not allow it.
    fn hold(&self, data: &Bytes) -> Option<Reservation> {
        if data.len() <= FREE_BYTES {
            Some(Reservation::default())
        } else {
            Reservation::new(&self.shared.quota, data.len())
        }
    }

    /// Whether the quota allows no answer that is to be counted.
    pub(crate) fn is_full(&self) -> bool {
        let full = self.shared.quota.is_full();
        if full {
            self.shared.quota.count_refusal();
        }
        full
    }

    /// Ends the answer.
    pub(crate) fn end(mut self, initial: &InitialFields, trailers: HeaderFields) {
        self.shared.session().end(self.id, initial, trailers);
        self.ended = true;
    }

    /// Waits until what was given before has gone.
    pub(crate) fn poll_room(&self, cx: &Context<'_>) -> Poll<Result<(), BodyError>> {
        let mut session = self.shared.session();
        if !session.is_open(self.id) {
            return Poll::Ready(Err(BodyError::Reset));
        }
        if session.has_room(self.id) {
            return Poll::Ready(Ok(()));
        }
        session.wait(self.id, cx.waker());
        Poll::Pending
    }

    /// Waits until the caller goes away.
    pub(crate) fn poll_gone(&self, cx: &Context<'_>) -> Poll<()> {
        let mut session = self.shared.session();
        if !session.is_open(self.id) {
            return Poll::Ready(());
        }
        session.wait(self.id, cx.waker());
        Poll::Pending
    }
}

impl Drop for ResponseWriter {
    fn drop(&mut self) {
        if !self.ended {
            let mut session = self.shared.session();
            if session.is_open(self.id) {
                session.reset(self.id);
            }
        }
        self.shared.wake();
    }
}
