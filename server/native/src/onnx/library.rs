//! onnxruntime's shared library, which comes with the Python package, through its C API.
//!
//! The functions of the API are the fields of `ort_sys::OrtApi`. onnxruntime only ever appends to this struct,
//! and returns it for the version of the API that `ort-sys` was written for. Nothing is linked or downloaded at
//! build time.
//!
//! The `unsafe` code of this folder rests on three rules:
//!
//! 1. Every status that the API returns goes through `check`.
//! 2. Each raw pointer has one owner, which releases it when it is dropped.
//! 3. The library is never unloaded, so the API, the environment and the allocator live as long as the process.

use std::ffi::CStr;
use std::path::Path;
use std::ptr::null_mut;
use std::sync::{Mutex, OnceLock};

use ort_sys::{OrtAllocator, OrtApi, OrtApiBase, OrtEnv, OrtLoggingLevel, OrtStatusPtr};

/// An error of onnxruntime in its words, or of a graph's tensors or program in ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GraphError(pub String);

impl std::fmt::Display for GraphError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

pub(super) type Result<T> = std::result::Result<T, GraphError>;

/// The loaded library.
pub(super) struct Library {
    pub(super) api: &'static OrtApi,
    pub(super) env: *mut OrtEnv,
    pub(super) allocator: *mut OrtAllocator,
    version: String,
}

// SAFETY: the API is constant, and onnxruntime documents its environment and its default allocator as usable
// from any thread.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

static LIBRARY: OnceLock<Library> = OnceLock::new();

/// Loads onnxruntime into the process, and returns its version. Only the first call that succeeds loads a
/// library; later calls return the version of that one.
///
/// # Errors
/// `GraphError`: the library cannot be loaded, or is older than the API that this engine uses.
pub(crate) fn load(path: &Path) -> Result<&'static str> {
    static LOADING: Mutex<()> = Mutex::new(());
    let _guard = LOADING.lock();
    if LIBRARY.get().is_none() {
        let _ = LIBRARY.set(open_library(path)?);
    }
    self::library().map(|library| library.version.as_str())
}

/// The loaded library.
///
/// # Errors
/// `GraphError`: `load` has not loaded a library.
pub(super) fn library() -> Result<&'static Library> {
    LIBRARY.get().ok_or_else(|| GraphError("onnxruntime is not loaded".into()))
}

fn open_library(path: &Path) -> Result<Library> {
    let failed = |error: String| GraphError(format!("{} cannot be used: {error}", path.display()));
    // SAFETY: the initialisers of onnxruntime's library are sound to run.
    let library = unsafe { libloading::Library::new(path) }.map_err(|error| failed(error.to_string()))?;
    let library = Box::leak(Box::new(library));
    // SAFETY: the type is the signature of this symbol in onnxruntime_c_api.h.
    let get_base =
        unsafe { library.get::<unsafe extern "system" fn() -> *const OrtApiBase>(b"OrtGetApiBase\0") }
            .map_err(|error| failed(error.to_string()))?;
    // SAFETY: the function takes no argument and returns a pointer to a constant.
    let base = unsafe { &*get_base() };
    // SAFETY: both functions may be called at any time. The version is a constant C string.
    let (api, version) =
        unsafe { ((base.GetApi)(ort_sys::ORT_API_VERSION), CStr::from_ptr((base.GetVersionString)())) };
    let version = version.to_string_lossy().into_owned();
    if api.is_null() {
        let wanted = ort_sys::ORT_API_VERSION;
        return Err(failed(format!("onnxruntime {version} is older than 1.{wanted}")));
    }
    // SAFETY: the pointer is not null, and points to a constant of the library.
    let api = unsafe { &*api };
    let mut env = null_mut();
    let mut allocator = null_mut();
    // SAFETY: the arguments are those that the header asks for, and each status is checked.
    unsafe {
        let level = OrtLoggingLevel::ORT_LOGGING_LEVEL_FATAL;
        check(api, (api.CreateEnv)(level, c"scorewire".as_ptr(), &mut env))?;
        check(api, (api.GetAllocatorWithDefaultOptions)(&mut allocator))?;
    }
    Ok(Library { api, env, allocator, version })
}

/// Turns a status into a result, and releases the status.
///
/// # Errors
/// `GraphError`: the status is an error.
///
/// # Safety
/// The status was returned by a function of this API, and is passed once.
pub(super) unsafe fn check(api: &OrtApi, status: OrtStatusPtr) -> Result<()> {
    if status.0.is_null() {
        return Ok(());
    }
    // SAFETY: the status is not null, so the caller owns it. Its message lives until the status is released.
    unsafe {
        let message = CStr::from_ptr((api.GetErrorMessage)(status.0)).to_string_lossy().into_owned();
        (api.ReleaseStatus)(status.0);
        Err(GraphError(message))
    }
}
