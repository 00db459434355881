//! When the bytes of a call arrived, which may be long before the engine reads them, and whether a thread
//! keeps up with its work.
//!
//! No kernel says when the bytes of a TCP connection arrived. So the engine notes three things, each once
//! for many calls:
//!
//! 1. when a connection had no more bytes to read: the next bytes arrived after that;
//! 2. for a connection that was left with unread bytes: how many bytes it had received at what time;
//! 3. when this thread last asked the kernel which sockets are ready: a socket that has become ready since
//!    received its bytes after that.
//!
//! A call is taken as received at the earliest time that these notes allow. So the time that it waited in
//! the socket's buffer counts against its deadline.

use std::cell::Cell;
use std::collections::VecDeque;
use std::pin::pin;
use std::time::{Duration, Instant};

/// A thread that waited this long between two polls was idle.
const IDLE_TIME: Duration = Duration::from_micros(50);
/// A thread that was not idle for this long does not keep up. The value is the interval of CoDel (RFC 8289).
pub(crate) const INTERVAL: Duration = Duration::from_millis(100);

/// The times that one thread notes.
#[derive(Clone, Copy)]
struct Clock {
    /// What the present poll finds ready arrived after this time.
    ready_after: Instant,
    /// When the present poll began, or the last one where none is under way.
    polled: Instant,
    /// When the thread was last idle.
    idle: Instant,
}

thread_local! {
    static CLOCK: Cell<Clock> = {
        let now = Instant::now();
        Cell::new(Clock { ready_after: now, polled: now, idle: now })
    };
}

/// Runs all that a thread does, and notes when the thread polls and when it is idle. The runtime asks the
/// kernel which sockets are ready before each poll.
pub(crate) async fn observed<T>(run: impl Future<Output = T>) -> T {
    let mut run = pin!(run);
    let mut done = Instant::now();
    std::future::poll_fn(|cx| {
        let now = Instant::now();
        let mut clock = CLOCK.get();
        // An idle thread is woken as soon as bytes arrive. To a busy one they may have come at any time
        // since the poll before.
        let was_idle = now.saturating_duration_since(done) >= IDLE_TIME;
        clock.ready_after = if was_idle { now } else { clock.polled };
        clock.polled = now;
        if was_idle {
            clock.idle = now;
        }
        CLOCK.set(clock);
        let polled = run.as_mut().poll(cx);
        done = Instant::now();
        polled
    })
    .await
}

/// Notes that this thread was idle until now.
pub(crate) fn mark_idle() {
    CLOCK.set(Clock { idle: Instant::now(), ..CLOCK.get() });
}

/// For how long this thread has not been idle.
#[inline]
pub(crate) fn busy(now: Instant) -> Duration {
    now.saturating_duration_since(CLOCK.get().idle)
}

/// Whether this thread does not keep up: it has not been idle for `INTERVAL`.
pub(crate) fn is_behind(now: Instant) -> bool {
    busy(now) >= INTERVAL
}

/// When the bytes of one connection arrived.
pub(crate) struct Arrivals {
    /// The number of bytes that were read since the connection began.
    read: u64,
    /// The bytes that are read next arrived after this time.
    since: Instant,
    /// How many bytes, counted from the beginning of the connection, had arrived by what time; ascending.
    marks: VecDeque<(u64, Instant)>,
    /// Whether all bytes that had arrived were read.
    drained: bool,
}

impl Arrivals {
    pub(crate) fn new() -> Self {
        Self { read: 0, since: Instant::now(), marks: VecDeque::new(), drained: true }
    }

    /// Notes that all bytes that have arrived are read.
    pub(crate) fn drain(&mut self) {
        if !self.drained {
            self.marks.clear();
            self.since = Instant::now();
            self.drained = true;
        }
    }

    /// Notes how many bytes have arrived by now, unless the connection was drained. `unread` asks the
    /// kernel how many bytes wait to be read.
    pub(crate) fn mark(&mut self, unread: impl FnOnce() -> usize) {
        if !self.drained {
            let arrived = self.read + unread() as u64;
            self.marks.push_back((arrived, Instant::now()));
        }
    }

    /// Notes that `count` bytes are read, and returns the earliest time at which they can have arrived.
    pub(crate) fn read(&mut self, count: usize) -> Instant {
        while let Some((_, time)) = self.marks.front().filter(|(arrived, _)| *arrived <= self.read) {
            self.since = *time;
            self.marks.pop_front();
        }
        self.read += count as u64;
        let was_drained = std::mem::replace(&mut self.drained, false);
        if was_drained { self.since.max(CLOCK.get().ready_after) } else { self.since }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_came_after_all_before_it_was_read() {
        let mut arrivals = Arrivals::new();
        let opened = arrivals.since;
        assert!(arrivals.read(10) >= opened);
        arrivals.drain();
        let drained = arrivals.since;
        assert!(drained >= opened && arrivals.read(100) >= drained);
        // 50 more bytes have arrived by now, and 30 after that.
        arrivals.mark(|| 50);
        let marked = arrivals.marks[0].1;
        assert_eq!(arrivals.read(50), drained);
        arrivals.mark(|| 30);
        assert_eq!(arrivals.read(30), marked);
        arrivals.drain();
        assert!(arrivals.marks.is_empty() && arrivals.since >= marked);
        arrivals.mark(|| unreachable!("nothing was left"));
    }

    #[test]
    fn a_thread_that_waits_is_idle_and_one_that_does_not_is_behind() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (before, began) = (CLOCK.get().idle, Instant::now());
        let busy = observed(async {
            while began.elapsed() < INTERVAL + IDLE_TIME {
                tokio::task::yield_now().await;
            }
            (is_behind(Instant::now()), CLOCK.get())
        });
        let (behind, clock) = runtime.block_on(busy);
        // Another process may have had the processor between two polls.
        assert!(behind || clock.idle > before);
        assert!(clock.ready_after >= began && clock.ready_after <= clock.polled);
        let waited = runtime.block_on(observed(async {
            tokio::time::sleep(IDLE_TIME * 4).await;
            CLOCK.get()
        }));
        assert!(waited.idle > began && waited.ready_after == waited.polled);
        mark_idle();
        assert!(!is_behind(Instant::now()));
    }
}
