//! When the bytes of a call came, which may be long before they are read, and whether this thread
//! keeps up.
//!
//! No kernel says when the bytes of a TCP connection came. So three things are noted, each once for
//! many calls: when a connection had nothing more to be read; where one that had was at what time;
//! and when this thread last looked for what is ready. A call is then taken as old as it can be.

use std::cell::Cell;
use std::collections::VecDeque;
use std::pin::pin;
use std::time::{Duration, Instant};

/// A thread that had nothing to do for so long has rested.
const REST: Duration = Duration::from_micros(50);
/// A thread that has not rested for so long does not keep up; of CoDel, where the same time serves.
pub(crate) const INTERVAL: Duration = Duration::from_millis(100);

/// Where one thread is.
#[derive(Clone, Copy)]
struct Clock {
    /// What is found ready now came after this.
    looked: Instant,
    /// When the look before the present one was.
    last_look: Instant,
    rested: Instant,
}

thread_local! {
    static CLOCK: Cell<Clock> = {
        let now = Instant::now();
        Cell::new(Clock { looked: now, last_look: now, rested: now })
    };
}

/// Runs what a thread does; the runtime looks for what is ready before each time it is polled.
pub(crate) async fn watched<T>(run: impl Future<Output = T>) -> T {
    let mut run = pin!(run);
    let mut done = Instant::now();
    std::future::poll_fn(|cx| {
        let now = Instant::now();
        let mut clock = CLOCK.get();
        // One that waited was woken by what came; else that may have come since the look before.
        let rested = now.saturating_duration_since(done) >= REST;
        clock.looked = if rested { now } else { clock.last_look };
        clock.last_look = now;
        if rested {
            clock.rested = now;
        }
        CLOCK.set(clock);
        let polled = run.as_mut().poll(cx);
        done = Instant::now();
        polled
    })
    .await
}

/// This thread had nothing to do until now.
pub(crate) fn rested() {
    CLOCK.set(Clock { rested: Instant::now(), ..CLOCK.get() });
}

/// Whether this thread had something to do all the time for so long that it does not keep up.
pub(crate) fn is_behind(now: Instant) -> bool {
    now.saturating_duration_since(CLOCK.get().rested) >= INTERVAL
}

/// What has come on one connection.
pub(crate) struct Arrivals {
    /// Bytes that were read.
    read: u64,
    /// What is read next came after this.
    since: Instant,
    /// Bytes that had come at a time, with those read before; ascending.
    marks: VecDeque<(u64, Instant)>,
    drained: bool,
}

impl Arrivals {
    pub(crate) fn new() -> Self {
        Self { read: 0, since: Instant::now(), marks: VecDeque::new(), drained: true }
    }

    /// All that has come is read.
    pub(crate) fn drain(&mut self) {
        if !self.drained {
            self.marks.clear();
            self.since = Instant::now();
            self.drained = true;
        }
    }

    /// Notes how many bytes have come and are not read, where some may have been left.
    pub(crate) fn mark(&mut self, unread: impl FnOnce() -> usize) {
        if !self.drained {
            let come = self.read + unread() as u64;
            self.marks.push_back((come, Instant::now()));
        }
    }

    /// So many bytes are read; gives the earliest time at which they can have come.
    pub(crate) fn read(&mut self, count: usize) -> Instant {
        while let Some((_, time)) = self.marks.front().filter(|(come, _)| *come <= self.read) {
            self.since = *time;
            self.marks.pop_front();
        }
        self.read += count as u64;
        let waited = !std::mem::replace(&mut self.drained, false);
        if waited { self.since } else { self.since.max(CLOCK.get().looked) }
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
        // 50 more have come by now, and 30 after that.
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
    fn a_thread_that_waits_has_rested_and_one_that_does_not_is_behind() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (before, began) = (CLOCK.get().rested, Instant::now());
        let busy = watched(async {
            while began.elapsed() < INTERVAL + REST {
                tokio::task::yield_now().await;
            }
            (is_behind(Instant::now()), CLOCK.get())
        });
        let (behind, clock) = runtime.block_on(busy);
        // Another process may have had the processor between two looks.
        assert!(behind || clock.rested > before);
        assert!(clock.looked >= began && clock.looked <= clock.last_look);
        let waited = runtime.block_on(watched(async {
            tokio::time::sleep(REST * 4).await;
            CLOCK.get()
        }));
        assert!(waited.rested > began && waited.looked == waited.last_look);
        rested();
        assert!(!is_behind(Instant::now()));
    }
}
