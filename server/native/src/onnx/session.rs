//! Graphs that are ready to run, and how a run is told to end.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use ort_sys::{ExecutionMode, OrtRunOptions, OrtSession, OrtSessionOptions};

use crate::onnx::library::{Library, Result, check, library};

/// A graph, ready to run; safe to run from many threads at once.
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
        // SAFETY: this is the only owner, and whatever runs borrows it.
        unsafe { (self.library.api.ReleaseSession)(self.raw) }
    }
}

impl Session {
    /// Makes a session of a graph, on the CPU.
    ///
    /// The graph comes as bytes, so that nothing in it can name a file. `threads` is how many may
    /// work on one run.
    ///
    /// # Errors
    /// onnxruntime does not take the graph.
    pub(crate) fn open(graph: &[u8], threads: i32) -> Result<Self> {
        let library = library()?;
        let api = library.api;
        let mut options: *mut OrtSessionOptions = null_mut();
        let mut raw = null_mut();
        // SAFETY: the arguments are as the header asks; options are created first, released last,
        // and the graph's bytes are copied by the call that reads them.
        unsafe {
            check(api, (api.CreateSessionOptions)(&mut options))?;
            let opened = (|| {
                check(api, (api.SetIntraOpNumThreads)(options, threads))?;
                check(api, (api.SetInterOpNumThreads)(options, 1))?;
                check(api, (api.SetSessionExecutionMode)(options, ExecutionMode::ORT_SEQUENTIAL))?;
                // What fails comes back as a status, and callers must not be able to fill the log.
                check(api, (api.SetSessionLogSeverityLevel)(options, 4))?;
                // A waiting thread would take the core from the workers.
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

/// By which a run is told to end from another thread; for one run.
pub(crate) struct Stop {
    library: &'static Library,
    pub(super) raw: *mut OrtRunOptions,
    stopped: AtomicBool,
}

// SAFETY: onnxruntime documents that a run may be terminated by its options from another thread; this
// owns them alone, and nothing else of them is changed.
unsafe impl Send for Stop {}
// SAFETY: as above.
unsafe impl Sync for Stop {}

impl Drop for Stop {
    fn drop(&mut self) {
        // SAFETY: this is the only owner, and a run that uses it borrows it.
        unsafe { (self.library.api.ReleaseRunOptions)(self.raw) }
    }
}

impl Stop {
    /// # Errors
    /// There is not enough memory.
    pub(crate) fn new() -> Result<Self> {
        let library = library()?;
        let mut raw = null_mut();
        // SAFETY: the result is checked.
        unsafe { check(library.api, (library.api.CreateRunOptions)(&mut raw))? };
        Ok(Self { library, raw, stopped: AtomicBool::new(false) })
    }

    /// Has the run end before its next operator, also within a loop of the graph.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Relaxed);
        // SAFETY: the options live as long as this. Setting a flag does not fail.
        let _ = unsafe { check(self.library.api, (self.library.api.RunOptionsSetTerminate)(self.raw)) };
    }

    /// Whether it was told to end.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Relaxed)
    }
}
