//! The clock, and a timer that wakes the poll at a time of it.
//!
//! A poll waits whole milliseconds, which is longer than a call takes. Linux has timerfd: it fires within some
//! tens of microseconds. On other systems the poll's own timeout is used.

use std::io;
use std::time::Duration;

use mio::{Registry, Token};

/// The time in nanoseconds, by a clock that never goes back.
pub(crate) fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

#[cfg(target_os = "linux")]
mod system {
    use std::os::fd::{AsRawFd, OwnedFd};

    use mio::Interest;
    use mio::unix::SourceFd;
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };

    use super::*;

    /// A timer for one time at a time.
    pub(crate) struct Timer {
        file: OwnedFd,
        set_ns: u64,
    }

    impl Timer {
        /// # Errors
        /// `io::Error`: the system gives no timer.
        pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
            let file =
                timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
            registry.register(&mut SourceFd(&file.as_raw_fd()), token, Interest::READABLE)?;
            Ok(Self { file, set_ns: 0 })
        }

        /// Wakes the poll at `due_ns`. Returns the timeout of the poll.
        ///
        /// # Errors
        /// `io::Error`: the timer cannot be set.
        pub(crate) fn wake_at(&mut self, due_ns: u64) -> io::Result<Option<Duration>> {
            if due_ns <= now_ns() {
                return Ok(Some(Duration::ZERO));
            }
            if due_ns != self.set_ns {
                self.set_ns = due_ns;
                let value = Timespec {
                    tv_sec: (due_ns / 1_000_000_000) as i64,
                    tv_nsec: (due_ns % 1_000_000_000) as _,
                };
                let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
                timerfd_settime(&self.file, TimerfdTimerFlags::ABSTIME, &once)?;
            }
            Ok(None)
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::*;

    /// Stands for the poll's timeout.
    pub(crate) struct Timer;

    impl Timer {
        pub(crate) fn new(_: &Registry, _: Token) -> io::Result<Self> {
            Ok(Self)
        }

        pub(crate) fn wake_at(&mut self, due_ns: u64) -> io::Result<Option<Duration>> {
            Ok(Some(Duration::from_nanos(due_ns.saturating_sub(now_ns()))))
        }
    }
}

pub(crate) use system::Timer;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_wakes_when_it_is_time_and_not_before() {
        let mut poll = mio::Poll::new().unwrap();
        let mut events = mio::Events::with_capacity(4);
        let mut timer = Timer::new(poll.registry(), Token(7)).unwrap();
        for wait_ns in [3_000_000, 200_000, 1_500_000] {
            let due_ns = now_ns() + wait_ns;
            while now_ns() < due_ns {
                let timeout = timer.wake_at(due_ns).unwrap();
                poll.poll(&mut events, timeout).unwrap();
            }
        }
        assert_eq!(timer.wake_at(now_ns() - 1).unwrap(), Some(Duration::ZERO));
    }
}
