//! The CPU time of a thread, which other work on the machine changes less than the time of day.

/// Seconds of CPU time of this thread.
#[cfg(target_os = "linux")]
pub(crate) fn cpu() -> f64 {
    #[repr(C)]
    struct Time {
        seconds: std::ffi::c_long,
        nanoseconds: std::ffi::c_long,
    }
    unsafe extern "C" {
        fn clock_gettime(clock: i32, time: *mut Time) -> i32;
    }
    const CLOCK_THREAD_CPUTIME_ID: i32 = 3;
    let mut time = Time { seconds: 0, nanoseconds: 0 };
    // SAFETY: `Time` is C's `struct timespec` on Linux, and the function writes one.
    assert_eq!(unsafe { clock_gettime(CLOCK_THREAD_CPUTIME_ID, &raw mut time) }, 0);
    time.seconds as f64 + time.nanoseconds as f64 * 1e-9
}

/// Seconds, where the CPU time of a thread is not known.
#[cfg(not(target_os = "linux"))]
pub(crate) fn cpu() -> f64 {
    use std::sync::OnceLock;
    use std::time::Instant;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64()
}
