//! How much the thread worked, and how long it waited for a core.

use std::ops::Range;

/// Readings of the thread's counters since its start, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Time on a core.
    pub(crate) cpu_ns: u64,
    /// Time in the run queue: ready to run, but without a core. `None`: this system does not tell.
    pub(crate) queued_ns: Option<u64>,
}

impl Reading {
    /// Reads the counters of the calling thread.
    pub(crate) fn now() -> Self {
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        Self { cpu_ns: cpu.tv_sec as u64 * 1_000_000_000 + cpu.tv_nsec as u64, queued_ns: queued_ns(&told) }
    }

    /// What was added since an earlier reading.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns.saturating_sub(earlier.cpu_ns),
            queued_ns: self.queued_ns.map(|now| now.saturating_sub(earlier.queued_ns.unwrap_or(0))),
        }
    }
}

/// Measures the measured part of a run. Waiting for the last calls is no part of it.
#[derive(Default)]
pub(crate) struct Meter {
    /// The readings at the begin and at the end, and when each was.
    begun: Option<(Reading, u64)>,
    ended: Option<(Reading, u64)>,
}

impl Meter {
    /// Reads the counters if the measured part, which may be cut short, has begun or ended.
    pub(crate) fn tick(&mut self, now_ns: u64, measured: Range<u64>) {
        if self.begun.is_none() && measured.contains(&now_ns) {
            self.begun = Some((Reading::now(), now_ns));
        }
        if self.ended.is_none() && now_ns >= measured.end {
            self.ended = Some((Reading::now(), now_ns));
        }
    }

    /// What the thread did, and in how many nanoseconds. A run that was over before has neither.
    pub(crate) fn read(self, now_ns: u64) -> (Reading, u64) {
        let Some((begun, begun_ns)) = self.begun else { return (Reading::default(), 0) };
        let (ended, ended_ns) = self.ended.unwrap_or_else(|| (Reading::now(), now_ns));
        (ended.since(begun), ended_ns - begun_ns)
    }
}

/// The time in the run queue, by a text as in /proc/thread-self/schedstat. See sched-stats of the kernel's
/// documentation: time on a core, time in the run queue, and slices. A kernel that does not count them says
/// zeros, and a thread has always been on a core.
fn queued_ns(text: &str) -> Option<u64> {
    let mut words = text.split_whitespace().map(|word| word.parse().ok());
    let (on_core_ns, queued_ns): (u64, u64) = (words.next()??, words.next()??);
    (on_core_ns > 0).then_some(queued_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_measured() {
        let before = Reading::now();
        let mut sum = 0u64;
        while Reading::now().since(before).cpu_ns < 2_000_000 {
            sum = std::hint::black_box(sum + 1);
        }
        let passed = Reading::now().since(before);
        assert!(passed.cpu_ns >= 2_000_000);
    }

    #[test]
    fn the_measured_part_alone_is_measured() {
        let read = |ticks: &[(u64, Range<u64>)]| {
            let mut meter = Meter::default();
            ticks.iter().for_each(|(now_ns, measured)| meter.tick(*now_ns, measured.clone()));
            meter.read(90)
        };
        assert_eq!(read(&[(0, 10..50), (11, 10..50), (49, 10..50), (52, 10..50), (80, 10..50)]).1, 52 - 11);
        // Few calls.
        assert_eq!(read(&[(0, 10..50), (11, 10..50)]).1, 90 - 11);
        assert_eq!(read(&[(0, 10..50)]), (Reading::default(), 0));
        // Stopped in the warm-up.
        assert_eq!(read(&[(0, 10..50), (5, 5..5)]), (Reading::default(), 0));
    }

    #[test]
    fn a_kernel_that_counts_no_run_queue_tells_nothing() {
        assert_eq!(
            ["5 7 1\n", "5 0 1\n", "0 0 1\n", "5", ""].map(queued_ns),
            [Some(7), Some(0), None, None, None]
        );
        let reading = |queued_ns| Reading { cpu_ns: 0, queued_ns };
        assert_eq!(reading(Some(7)).since(reading(Some(2))).queued_ns, Some(5));
        // A thread that has just begun.
        assert_eq!(reading(Some(7)).since(reading(None)).queued_ns, Some(7));
        assert_eq!(reading(None).since(reading(None)).queued_ns, None);
    }
}
