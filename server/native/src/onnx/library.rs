//! onnxruntime's library, out of the wheel that ships it, through its C API.
//!
//! The table of functions is that of `ort-sys`: a struct that onnxruntime only ever appends to, asked for
//! at the version that it was written for. Nothing is linked or fetched at build time. The modules of this
//! folder share three rules of `unsafe`: every result of the API goes through `check`; each raw pointer has
//! one owner, which releases it when dropped; the library is never unloaded.

use std::ffi::CStr;
use std::path::Path;
use std::ptr::null_mut;
use std::sync::{Mutex, OnceLock};

use ort_sys::{OrtAllocator, OrtApi, OrtApiBase, OrtEnv, OrtLoggingLevel, OrtStatusPtr};

/// What onnxruntime says is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OrtError(pub String);

impl std::fmt::Display for OrtError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

pub(super) type Result<T> = std::result::Result<T, OrtError>;

pub(super) struct Library {
    pub(super) api: &'static OrtApi,
    pub(super) env: *mut OrtEnv,
    pub(super) allocator: *mut OrtAllocator,
    version: String,
}

// SAFETY: the table of functions is constant; onnxruntime documents its environment and its
// default allocator as usable from any thread. All live as long as the process.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

static LIBRARY: OnceLock<Library> = OnceLock::new();

/// Loads onnxruntime into the process, once; later calls change nothing. Returns its version.
///
/// # Errors
/// The library cannot be loaded, or is older than the API that this engine uses.
pub(crate) fn load(library: &Path) -> Result<&'static str> {
    static LOADING: Mutex<()> = Mutex::new(());
    let _turn = LOADING.lock();
    if LIBRARY.get().is_none() {
        let _ = LIBRARY.set(open_library(library)?);
    }
    self::library().map(|library| library.version.as_str())
}

pub(super) fn library() -> Result<&'static Library> {
    LIBRARY.get().ok_or_else(|| OrtError("onnxruntime is not loaded".into()))
}

fn open_library(path: &Path) -> Result<Library> {
    let failed = |error: String| OrtError(format!("{} cannot be used: {error}", path.display()));
    // SAFETY: the initialisers of onnxruntime's library are sound to run; it is never unloaded,
    // so what it hands out stays valid.
    let library = unsafe { libloading::Library::new(path) }.map_err(|error| failed(error.to_string()))?;
    let library = Box::leak(Box::new(library));
    // SAFETY: this is the signature of that symbol in onnxruntime_c_api.h.
    let get_base =
        unsafe { library.get::<unsafe extern "system" fn() -> *const OrtApiBase>(b"OrtGetApiBase\0") }
            .map_err(|error| failed(error.to_string()))?;
    // SAFETY: the function takes nothing and returns a pointer to a constant.
    let base = unsafe { &*get_base() };
    // SAFETY: both functions may be called at any time; the version is a constant C string.
    let (api, version) =
        unsafe { ((base.GetApi)(ort_sys::ORT_API_VERSION), CStr::from_ptr((base.GetVersionString)())) };
    let version = version.to_string_lossy().into_owned();
    if api.is_null() {
        let wanted = ort_sys::ORT_API_VERSION;
        return Err(failed(format!("onnxruntime {version} is older than 1.{wanted}")));
    }
    // SAFETY: not null, and a constant of the library, which is never unloaded.
    let api = unsafe { &*api };
    let mut env = null_mut();
    let mut allocator = null_mut();
    // SAFETY: the arguments are as the header asks; each result is checked.
    unsafe {
        let level = OrtLoggingLevel::ORT_LOGGING_LEVEL_FATAL;
        check(api, (api.CreateEnv)(level, c"scorewire".as_ptr(), &mut env))?;
        check(api, (api.GetAllocatorWithDefaultOptions)(&mut allocator))?;
    }
    Ok(Library { api, env, allocator, version })
}

/// Turns a status into a result, and frees it.
///
/// # Safety
/// The status comes from a call of this API, and is handed in once.
pub(super) unsafe fn check(api: &OrtApi, status: OrtStatusPtr) -> Result<()> {
    if status.0.is_null() {
        return Ok(());
    }
    // SAFETY: not null, hence a status that this caller owns; its message lives until the release.
    unsafe {
        let message = CStr::from_ptr((api.GetErrorMessage)(status.0)).to_string_lossy().into_owned();
        (api.ReleaseStatus)(status.0);
        Err(OrtError(message))
    }
}
