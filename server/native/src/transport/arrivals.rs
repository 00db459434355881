//! When the bytes of a call arrived, which may be long before the engine reads them, and whether a thread
//! keeps up with its work.
//!
//! No operating system says when the bytes of a TCP connection arrived. So the engine notes three things, each
//! once for many calls:
//!
//! 1. when a connection had no more bytes to read: the next bytes arrived after that;
//! 2. for a connection that was left with unread bytes: how many bytes it had received at what time;
//! 3. when this thread last asked the operating system which sockets are ready: a socket that has become ready
//!    since received its bytes after that.
//!
//! A call is taken as received at the earliest time that these notes allow. So the time that it waited in
//! the socket's buffer counts against its deadline.

use std::cell::Cell;
use std::collections::VecDeque;
use std::pin::pin;
use std::time::{Duration, Instant};

use crate::transport::spin::Spin;

/// A thread that waited this long between two polls was idle.
const IDLE_TIME: Duration = Duration::from_micros(50);
/// A poll of a thread that spins found nothing to do where it read no bytes and was not longer than this.
const EMPTY_POLL: Duration = Duration::from_micros(10);
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
    /// Whether the present poll, or the last one, has read bytes.
    has_read: bool,
    /// Whether it has begun a call, or a message of a stream.
    has_request: bool,
}

impl Clock {
    /// Notes that a poll begins after the thread had nothing to do for `gap`, in which it slept or spun.
    fn begin_poll(&mut self, now: Instant, gap: Duration, has_spun: bool) {
        let was_idle = gap >= IDLE_TIME;
        // A thread that slept is woken as soon as bytes arrive. To any other they may have come at any time since
        // the poll before: to one that spun, too, as another thread may have had its processor meanwhile.
        self.ready_after = if was_idle && !has_spun { now } else { self.polled };
        self.polled = now;
        (self.has_read, self.has_request) = (false, false);
        if was_idle {
            self.idle = now;
        }
    }
}

thread_local! {
    static CLOCK: Cell<Clock> = {
        let now = Instant::now();
        Cell::new(Clock { ready_after: now, polled: now, idle: now, has_read: false, has_request: false })
    };
}

/// Runs all that a thread does, and notes when the thread polls and when it is idle. The runtime asks the
/// operating system which sockets are ready before each poll. Where `spin` says so, it does not wait for one.
pub(crate) async fn observed<T>(run: impl Future<Output = T>, mut spin: Spin) -> T {
    let mut run = pin!(run);
    // When the last poll ended, and the last one that found something to do.
    let mut ended = Instant::now();
    let mut done = ended;
    std::future::poll_fn(|cx| {
        let now = Instant::now();
        if spin.is_on() {
            spin.resume(now, now.saturating_duration_since(ended));
        }
        let gap = now.saturating_duration_since(done);
        let mut clock = CLOCK.get();
        clock.begin_poll(now, gap, spin.is_on());
        CLOCK.set(clock);
        let polled = run.as_mut().poll(cx);
        ended = Instant::now();
        let Clock { has_read, has_request, .. } = CLOCK.get();
        if has_read {
            spin.end_gap(gap, has_request);
        }
        if has_read || !spin.is_on() || ended.saturating_duration_since(now) > EMPTY_POLL {
            done = ended;
        } else {
            // The thread keeps up, however short its gaps are: there was nothing to read.
            CLOCK.set(Clock { idle: ended, ..CLOCK.get() });
        }
        if polled.is_pending() && spin.goes_on(ended, ended.saturating_duration_since(done)) {
            rustix::thread::sched_yield();
            // The runtime looks for events once, and polls again.
            let _ = pin!(tokio::task::yield_now()).poll(cx);
        }
        polled
    })
    .await
}

/// Notes that this thread was idle until now.
pub(crate) fn mark_idle() {
    CLOCK.set(Clock { idle: Instant::now(), ..CLOCK.get() });
}

/// Notes that what this thread has read begins a call, or a message of a stream.
#[inline]
pub(crate) fn mark_request() {
    CLOCK.set(Clock { has_request: true, ..CLOCK.get() });
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
    /// operating system how many bytes wait to be read.
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
        let clock = CLOCK.get();
        CLOCK.set(Clock { has_read: true, ..clock });
        let was_drained = std::mem::replace(&mut self.drained, false);
        if was_drained { self.since.max(clock.ready_after) } else { self.since }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;
    use crate::transport::spin::SpinOptions;

    fn spin(time: Duration) -> Spin {
        Spin::new(SpinOptions::new(time))
    }

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
        let busy = observed(
            async {
                while began.elapsed() < INTERVAL + IDLE_TIME {
                    tokio::task::yield_now().await;
                }
                (is_behind(Instant::now()), CLOCK.get())
            },
            spin(Duration::ZERO),
        );
        let (behind, clock) = runtime.block_on(busy);
        // Another process may have had the processor between two polls.
        assert!(behind || clock.idle > before);
        assert!(clock.ready_after >= began && clock.ready_after <= clock.polled);
        let waited = runtime.block_on(observed(
            async {
                tokio::time::sleep(IDLE_TIME * 4).await;
                CLOCK.get()
            },
            spin(Duration::ZERO),
        ));
        assert!(waited.idle > began && waited.ready_after == waited.polled);
        mark_idle();
        assert!(!is_behind(Instant::now()));
    }

    #[test]
    fn what_came_while_another_thread_had_the_processor_waits_since_the_last_poll() {
        let (polled, lost) = (Instant::now(), Duration::from_millis(8));
        let now = polled + lost;
        let ready_after = |has_spun| {
            let (has_read, has_request) = (true, true);
            let mut clock = Clock { ready_after: polled, polled, idle: polled, has_read, has_request };
            clock.begin_poll(now, lost, has_spun);
            assert!(clock.polled == now && clock.idle == now && !clock.has_read && !clock.has_request);
            clock.ready_after
        };
        assert_eq!((ready_after(true), ready_after(false)), (polled, now));
    }

    #[test]
    fn only_a_thread_that_spins_looks_again_before_it_is_woken() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let looks_again = |time| {
            let mut spin = spin(time);
            (0..16).for_each(|_| spin.end_gap(Duration::ZERO, true));
            let mut polls = 0;
            let fifth_poll = std::future::poll_fn(move |_| {
                polls += 1;
                if polls == 5 { Poll::Ready(()) } else { Poll::Pending }
            });
            // It is woken once: at the end of the time.
            let run = async { tokio::time::timeout(INTERVAL, fifth_poll).await.is_ok() };
            runtime.block_on(observed(run, spin))
        };
        assert!(!looks_again(Duration::ZERO));
        // Another process may have the processor meanwhile.
        assert!((0..100).any(|_| looks_again(INTERVAL * 2)));
    }

    #[test]
    fn a_thread_that_spins_finds_what_comes_and_is_idle_meanwhile() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut spin = spin(INTERVAL);
        (0..16).for_each(|_| spin.end_gap(Duration::ZERO, true));
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let other = std::thread::spawn(move || {
            std::thread::sleep(IDLE_TIME * 20);
            sender.send(Instant::now()).unwrap();
        });
        let began = Instant::now();
        let run = async {
            let sent = receiver.recv().await.unwrap();
            (sent, CLOCK.get())
        };
        let (sent, clock) = runtime.block_on(observed(run, spin));
        other.join().unwrap();
        assert!(clock.idle >= began + IDLE_TIME && clock.ready_after <= clock.polled && clock.polled > began);
        assert!(sent >= began);
    }

    #[test]
    fn a_thread_that_spins_is_idle_in_gaps_of_any_length() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let was_idle_in_a_short_gap = || {
            let mut spin = spin(INTERVAL);
            (0..16).for_each(|_| spin.end_gap(Duration::ZERO, true));
            let began = Instant::now();
            let run = async {
                Arrivals::new().read(1);
                tokio::task::yield_now().await;
                // This poll reads nothing.
                tokio::task::yield_now().await;
                CLOCK.get().idle
            };
            let idle = runtime.block_on(observed(run, spin));
            idle > began && began.elapsed() < IDLE_TIME
        };
        // Another process may have the processor meanwhile.
        assert!((0..1000).any(|_| was_idle_in_a_short_gap()));
    }
}
