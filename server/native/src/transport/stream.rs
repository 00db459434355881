//! The two sides of a call: the `RequestBody` that it reads and the `ResponseWriter` that it answers with.
//!
//! Both work on the session of the connection, which they share with the task of the connection. All of them
//! stay on one thread, and keep these rules:
//!
//! 1. Nobody keeps the session borrowed while it waits: `session()` is borrowed for single method calls.
//! 2. Only the task of the connection reads and writes the socket. Whoever gives the session something to
//!    send wakes that task. While the task runs, nobody needs to wake it: before it waits, it sends all
//!    that the session has.
//! 3. The client gets flow-control window back as the call reads its request, not as bytes arrive. Under
//!    pressure some of that window is withheld (see `backpressure`).

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

/// How often a connection with small windows checks whether the pressure is over.
const PRESSURE_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// The session of a connection, and what its task and its calls tell each other.
pub(crate) struct SharedSession {
    session: RefCell<Http2Session>,
    task: RefCell<Option<Waker>>,
    /// Whether the task of the connection waits. While it runs, nobody needs to wake it (rule 2).
    waiting: Cell<bool>,
    aborted: Cell<bool>,
    /// The quota of the connection.
    quota: Arc<Quota>,
    backpressure: RefCell<Backpressure>,
    /// Whether the windows are small. A task checks for the end of the pressure meanwhile.
    small_windows: Cell<bool>,
}

impl SharedSession {
    pub(crate) fn new(session: Http2Session, quota: Arc<Quota>) -> Self {
        Self {
            session: RefCell::new(session),
            task: RefCell::default(),
            waiting: Cell::default(),
            aborted: Cell::default(),
            quota,
            backpressure: RefCell::default(),
            small_windows: Cell::default(),
        }
    }

    /// Borrows the session, for one method call (rule 1).
    ///
    /// # Panics
    /// The session is borrowed already.
    pub(crate) fn session(&self) -> RefMut<'_, Http2Session> {
        self.session.borrow_mut()
    }

    /// Notes that the task of the connection waits, and how to wake it; `None`: the task runs.
    pub(crate) fn set_waiting(&self, waker: Option<&Waker>) {
        self.waiting.set(waker.is_some());
        if let Some(waker) = waker {
            match &mut *self.task.borrow_mut() {
                Some(task) => task.clone_from(waker),
                task => *task = Some(waker.clone()),
            }
        }
    }

    /// Makes the task of the connection end, without telling the client.
    pub(crate) fn abort(&self) {
        self.aborted.set(true);
        self.wake();
    }

    /// Whether the task of the connection is to end at once.
    pub(crate) fn is_aborted(&self) -> bool {
        self.aborted.get()
    }

    /// Takes a call's message out of the queue of unfinished messages, so that others may have its turn.
    fn end_message(&self, id: i32) {
        self.backpressure.borrow_mut().end(id);
        self.release_windows(self.quota.is_pressed());
    }

    /// Opens the windows that need not be withheld any longer.
    fn release_windows(&self, pressed: bool) {
        let mut backpressure = self.backpressure.borrow_mut();
        if backpressure.is_withholding() {
            for (id, bytes) in backpressure.release(pressed) {
                self.session().open_window(id, bytes);
            }
            self.wake();
        }
    }

    /// Gives the client small windows until the pressure is over. Since other connections may cause and end
    /// the pressure, a task checks for its end.
    fn use_small_windows(self: &Rc<Self>) {
        if self.small_windows.replace(true) {
            return;
        }
        self.session().set_small_windows(true);
        let shared = Rc::downgrade(self);
        drop(spawn_local(async move {
            loop {
                tokio::time::sleep(PRESSURE_CHECK_INTERVAL).await;
                let Some(shared) = Weak::upgrade(&shared) else { return };
                // Read once: the pressure may end at any moment, and this task must not end before it has
                // released all windows.
                let pressed = shared.quota.is_pressed();
                shared.release_windows(pressed);
                if !pressed {
                    shared.small_windows.set(false);
                    shared.session().set_small_windows(false);
                    shared.wake();
                    return;
                }
            }
        }));
    }

    /// Wakes the task of the connection, so that it sends what the session has.
    pub(crate) fn wake(&self) {
        if self.waiting.replace(false)
            && let Some(task) = &*self.task.borrow()
        {
            task.wake_by_ref();
        }
    }
}

/// The side of a call that reads its request.
pub(crate) struct RequestBody {
    shared: Rc<SharedSession>,
    id: i32,
    /// Whether the last bytes have been read. The session is not asked again then.
    ended: bool,
    /// What the unfinished message holds of the quota.
    reservation: Reservation,
    /// What the call's metadata holds of the quota.
    metadata: Reservation,
    /// Whether the call waits for the rest of a message.
    awaits_rest: bool,
}

/// Why a request ends before its last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// The stream is closed: the caller cancelled the call, or the connection is gone.
    Reset,
    /// The caller has not sent the rest of a message in time.
    Stalled,
}

impl RequestBody {
    /// The next bytes of the request; `None` at its end.
    ///
    /// # Errors
    /// `BodyError::Reset`: the stream is closed. `BodyError::Stalled`: the caller has sent nothing for too
    /// long.
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
                if self.awaits_rest && pressed && !withhold {
                    session.restore_window(self.id);
                }
                drop(session);
                if withhold {
                    self.shared.backpressure.borrow_mut().withhold(self.id, data.len());
                    self.shared.use_small_windows();
                }
                // The session may have a WINDOW_UPDATE to send.
                self.shared.wake();
                Poll::Ready(Ok(Some(data)))
            }
            Received::End => Poll::Ready(Ok(None)),
            Received::Gone => Poll::Ready(Err(BodyError::Reset)),
            Received::Stalled => Poll::Ready(Err(BodyError::Stalled)),
            Received::Nothing => {
                session.set_waker(self.id, cx.waker());
                Poll::Pending
            }
        }
    }

    /// Whether the last bytes of the request have been read.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Reserves the bytes of an unfinished message that have come so far. From now on the call waits for the
    /// rest of the message. False: the quota does not allow the bytes.
    pub(crate) fn reserve_partial(&mut self, bytes: usize) -> bool {
        if !std::mem::replace(&mut self.awaits_rest, true) {
            self.shared.session().set_awaited(self.id, true);
        }
        if bytes <= FREE_BYTES {
            return true;
        }
        let mut backpressure = self.shared.backpressure.borrow_mut();
        backpressure.begin(self.id);
        let claim = if backpressure.is_first(self.id) { Claim::First } else { Claim::Waits };
        self.reservation.resize(&self.shared.quota, bytes, claim)
    }

    /// Reserves the bytes of a message that is whole, and hands the reservation over. `None`: the quota does
    /// not allow the bytes.
    pub(crate) fn reserve_whole(&mut self, bytes: usize) -> Option<Reservation> {
        let fits = bytes <= FREE_BYTES || self.reservation.resize(&self.shared.quota, bytes, Claim::First);
        let reservation = std::mem::take(&mut self.reservation);
        if std::mem::take(&mut self.awaits_rest) {
            self.shared.session().set_awaited(self.id, false);
            self.shared.end_message(self.id);
        }
        fits.then_some(reservation)
    }

    /// Reserves the bytes of the call's metadata until this is dropped. False: the quota does not allow the
    /// bytes.
    pub(crate) fn reserve_metadata(&mut self, bytes: usize) -> bool {
        bytes <= FREE_BYTES || self.metadata.resize(&self.shared.quota, bytes, Claim::Waits)
    }

    /// The quota of the connection.
    pub(crate) fn quota(&self) -> &Arc<Quota> {
        &self.shared.quota
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if self.awaits_rest {
            self.reservation = Reservation::default();
            self.shared.end_message(self.id);
        }
    }
}

/// The side of a call that answers it. Dropping it before the response has ended resets the stream.
pub(crate) struct ResponseWriter {
    shared: Rc<SharedSession>,
    id: i32,
    /// Whether the end of the response has been given to the session.
    ended: bool,
}

/// Makes the two sides of a call that has begun.
pub(crate) fn call(shared: &Rc<SharedSession>, id: i32) -> (RequestBody, ResponseWriter) {
    let body = RequestBody {
        shared: Rc::clone(shared),
        id,
        ended: false,
        reservation: Reservation::default(),
        metadata: Reservation::default(),
        awaits_rest: false,
    };
    (body, ResponseWriter { shared: Rc::clone(shared), id, ended: false })
}

impl ResponseWriter {
    /// Answers with one block of headers that ends the response.
    pub(crate) fn headers_only(self, fields: &[HeaderField]) {
        self.shared.session().headers_only(self.id, fields);
    }

    /// Sends data; the first data goes behind the initial fields. All earlier data has been sent. False where
    /// the quota does not allow the data.
    pub(crate) fn data(&self, initial: &InitialFields, data: Bytes) -> bool {
        let Some(reservation) = self.reserve(&data) else { return false };
        self.shared.session().data(self.id, initial, data, reservation);
        self.shared.wake();
        true
    }

    /// Sends the only data of a response, and ends the response.
    ///
    /// # Errors
    /// The writer itself, with nothing sent: the quota does not allow the data.
    pub(crate) fn finish(
        mut self,
        initial: &InitialFields,
        data: Bytes,
        trailers: HeaderFields,
    ) -> Result<(), Self> {
        let Some(reservation) = self.reserve(&data) else { return Err(self) };
        self.shared.session().finish(self.id, initial, data, reservation, trailers);
        self.ended = true;
        Ok(())
    }

    /// Reserves the bytes of data until the data is sent. `None`: the quota does not allow them.
    fn reserve(&self, data: &Bytes) -> Option<Reservation> {
        if data.len() <= FREE_BYTES {
            Some(Reservation::default())
        } else {
            Reservation::new(&self.shared.quota, data.len())
        }
    }

    /// Whether the quota is used up, so that no response above `FREE_BYTES` can be sent. Counts a refusal then.
    pub(crate) fn is_full(&self) -> bool {
        let full = self.shared.quota.is_full();
        if full {
            self.shared.quota.count_refusal();
        }
        full
    }

    /// Ends the response behind the data that was sent.
    pub(crate) fn end(mut self, initial: &InitialFields, trailers: HeaderFields) {
        self.shared.session().end(self.id, initial, trailers);
        self.ended = true;
    }

    /// Waits until all data was sent.
    ///
    /// # Errors
    /// `BodyError::Reset`: the stream is closed.
    pub(crate) fn poll_capacity(&self, cx: &Context<'_>) -> Poll<Result<(), BodyError>> {
        let mut session = self.shared.session();
        if !session.is_open(self.id) {
            return Poll::Ready(Err(BodyError::Reset));
        }
        if session.has_capacity(self.id) {
            return Poll::Ready(Ok(()));
        }
        session.set_waker(self.id, cx.waker());
        Poll::Pending
    }

    /// Waits until the stream is closed, as when the caller cancels the call.
    pub(crate) fn poll_reset(&self, cx: &Context<'_>) -> Poll<()> {
        let mut session = self.shared.session();
        if !session.is_open(self.id) {
            return Poll::Ready(());
        }
        session.set_waker(self.id, cx.waker());
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
