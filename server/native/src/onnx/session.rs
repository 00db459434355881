//! Sessions, which are graphs that onnxruntime has made ready to run, and the way to stop a run.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use ort_sys::{ExecutionMode, OrtRunOptions, OrtSession, OrtSessionOptions};

use crate::onnx::library::{Library, Result, check, library};

/// A graph that is ready to run. Many threads may run it at once.
pub(crate) struct Session {
    pub(super) library: &'static Library,
    pub(super) raw: *mut OrtSession,
}

// SAFETY: onnxruntime documents Run as safe to call from several threads on one session.
unsafe impl Send for Session {}
// SAFETY: as above.
unsafe impl Sync for Session {}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: this is the only owner, and every run borrows the session.
        unsafe { (self.library.api.ReleaseSession)(self.raw) }
    }
}

impl Session {
    /// Makes a session on the CPU. `threads` is the number of threads that one run may use.
    ///
    /// The graph is passed as bytes and not as a path, so that no part of it can refer to a file.
    ///
    /// # Errors
    /// `GraphError`: onnxruntime is not loaded, or refuses the graph.
    pub(crate) fn open(graph: &[u8], threads: i32) -> Result<Self> {
        let library = library()?;
        let api = library.api;
        let mut options: *mut OrtSessionOptions = null_mut();
        let mut raw = null_mut();
        // SAFETY: the arguments are those that the header asks for. The options are created first and released
        // last. The call that reads the bytes of the graph copies them.
        unsafe {
            check(api, (api.CreateSessionOptions)(&mut options))?;
            let opened = (|| {
                check(api, (api.SetIntraOpNumThreads)(options, threads))?;
                check(api, (api.SetInterOpNumThreads)(options, 1))?;
                check(api, (api.SetSessionExecutionMode)(options, ExecutionMode::ORT_SEQUENTIAL))?;
                // Failures come back as a status. Callers must not be able to fill the log with them.
                check(api, (api.SetSessionLogSeverityLevel)(options, 4))?;
                // A thread that spins while it waits would take processor time from the I/O threads.
                for key in [c"session.intra_op.allow_spinning", c"session.inter_op.allow_spinning"] {
                    check(api, (api.AddSessionConfigEntry)(options, key.as_ptr(), c"0".as_ptr()))?;
                }
                let data = graph.as_ptr().cast::<c_void>();
                check(api, (api.CreateSessionFromArray)(library.env, data, graph.len(), options, &mut raw))
            })();
            (api.ReleaseSessionOptions)(options);
            opened?;
        }
        Ok(Self { library, raw })
    }
}

/// Stops one run, from another thread.
pub(crate) struct Stop {
    library: &'static Library,
    pub(super) raw: *mut OrtRunOptions,
    stopped: AtomicBool,
}

// SAFETY: onnxruntime documents that a run may be stopped through its options from another thread. This is
// the only owner of the options, and changes nothing else of them.
unsafe impl Send for Stop {}
// SAFETY: as above.
unsafe impl Sync for Stop {}

impl Drop for Stop {
    fn drop(&mut self) {
        // SAFETY: this is the only owner, and a run that uses the options borrows this.
        unsafe { (self.library.api.ReleaseRunOptions)(self.raw) }
    }
}

impl Stop {
    /// Makes a `Stop` for one run.
    ///
    /// # Errors
    /// `GraphError`: onnxruntime is not loaded, or there is not enough memory.
    pub(crate) fn new() -> Result<Self> {
        let library = library()?;
        let mut raw = null_mut();
        // SAFETY: the status is checked.
        unsafe { check(library.api, (library.api.CreateRunOptions)(&mut raw))? };
        Ok(Self { library, raw, stopped: AtomicBool::new(false) })
    }

    /// Makes the run end before its next operator, also inside a loop of the graph, or before the next rows of a
    /// program.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Relaxed);
        // SAFETY: the options live as long as `self`. Setting the flag does not fail.
        let _ = unsafe { check(self.library.api, (self.library.api.RunOptionsSetTerminate)(self.raw)) };
    }

    /// Whether `stop` was called.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Relaxed)
    }
}
