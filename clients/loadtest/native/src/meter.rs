//! How much the thread worked, and how long it waited for a core.

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
        // See sched-stats of the kernel's documentation: time on a core, time in the run queue, and slices.
        let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        Self {
            cpu_ns: cpu.tv_sec as u64 * 1_000_000_000 + cpu.tv_nsec as u64,
            queued_ns: told.split_whitespace().nth(1).and_then(|word| word.parse().ok()),
        }
    }

    /// What was added since an earlier reading.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns.saturating_sub(earlier.cpu_ns),
            queued_ns: self.queued_ns.zip(earlier.queued_ns).map(|(now, then)| now.saturating_sub(then)),
        }
    }
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
        assert_eq!(passed.queued_ns.is_some(), std::path::Path::new("/proc/thread-self/schedstat").exists());
    }
}
