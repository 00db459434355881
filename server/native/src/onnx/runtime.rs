//! onnxruntime through its C API, out of the library that the onnxruntime wheel ships.
//!
//! The table of functions is `ort-sys`': a struct that onnxruntime only ever appends to, asked for
//! at the version that it was written for. Nothing is linked or fetched at build time. This is the
//! only module with `unsafe` code.

use std::ffi::{CStr, CString, c_void};
use std::ops::Range;
use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};

use ort_sys::{
    ExecutionMode, ONNXTensorElementDataType as Onnx, OrtAllocator, OrtApi, OrtApiBase, OrtEnv,
    OrtLoggingLevel, OrtRunOptions, OrtSession, OrtSessionOptions, OrtStatusPtr, OrtValue,
};

/// Whole numbers up to this magnitude are doubles.
pub const LARGEST_WHOLE: u64 = 1 << 53;

/// What onnxruntime says is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeError(pub String);

impl std::fmt::Display for RuntimeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

type Result<T> = std::result::Result<T, RuntimeError>;

/// The element type of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Bool,
    Text,
}

impl Element {
    /// The one of an ONNX number, if this engine takes it.
    pub fn from_onnx(code: i32) -> Option<Self> {
        Some(match code {
            1 => Self::F32,
            2 => Self::U8,
            3 => Self::I8,
            4 => Self::U16,
            5 => Self::I16,
            6 => Self::I32,
            7 => Self::I64,
            8 => Self::Text,
            9 => Self::Bool,
            11 => Self::F64,
            12 => Self::U32,
            13 => Self::U64,
            _ => return None,
        })
    }

    /// Its number in ONNX.
    pub fn code(self) -> i32 {
        self.onnx() as i32
    }

    fn onnx(self) -> Onnx {
        match self {
            Self::F32 => Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
            Self::F64 => Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
            Self::I8 => Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
            Self::I16 => Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16,
            Self::I32 => Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
            Self::I64 => Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
            Self::U8 => Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
            Self::U16 => Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16,
            Self::U32 => Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32,
            Self::U64 => Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64,
            Self::Bool => Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL,
            Self::Text => Onnx::ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING,
        }
    }
}

struct Runtime {
    api: &'static OrtApi,
    env: *mut OrtEnv,
    allocator: *mut OrtAllocator,
    version: String,
}

// SAFETY: the table of functions is constant; onnxruntime documents its environment and its
// default allocator as usable from any thread. All live as long as the process.
unsafe impl Send for Runtime {}
// SAFETY: as above.
unsafe impl Sync for Runtime {}

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// Loads onnxruntime into the process, once; later calls change nothing. Returns its version.
///
/// # Errors
/// The library cannot be loaded, or is older than the API that this engine uses.
pub fn load(library: &Path) -> Result<&'static str> {
    static LOADING: Mutex<()> = Mutex::new(());
    let _turn = LOADING.lock();
    if RUNTIME.get().is_none() {
        let _ = RUNTIME.set(open_library(library)?);
    }
    runtime().map(|runtime| runtime.version.as_str())
}

fn runtime() -> Result<&'static Runtime> {
    RUNTIME.get().ok_or_else(|| RuntimeError("onnxruntime is not loaded".into()))
}

fn open_library(path: &Path) -> Result<Runtime> {
    let failed = |error: String| RuntimeError(format!("{} cannot be used: {error}", path.display()));
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
    Ok(Runtime { api, env, allocator, version })
}

/// Turns a status into a result, and frees it.
///
/// # Safety
/// The status comes from a call of this API, and is handed in once.
unsafe fn check(api: &OrtApi, status: OrtStatusPtr) -> Result<()> {
    if status.0.is_null() {
        return Ok(());
    }
    // SAFETY: not null, hence a status that this caller owns; its message lives until the release.
    unsafe {
        let message = CStr::from_ptr((api.GetErrorMessage)(status.0)).to_string_lossy().into_owned();
        (api.ReleaseStatus)(status.0);
        Err(RuntimeError(message))
    }
}

/// A graph, ready to run; safe to run from many threads at once.
pub struct Session {
    runtime: &'static Runtime,
    raw: *mut OrtSession,
}

// SAFETY: onnxruntime documents Run as safe to call from several threads on one session.
unsafe impl Send for Session {}
// SAFETY: as above.
unsafe impl Sync for Session {}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: this is the only owner, and whatever runs borrows it.
        unsafe { (self.runtime.api.ReleaseSession)(self.raw) }
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
    pub fn open(graph: &[u8], threads: i32) -> Result<Self> {
        let runtime = runtime()?;
        let api = runtime.api;
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
                check(api, (api.CreateSessionFromArray)(runtime.env, data, graph.len(), options, &mut raw))
            })();
            (api.ReleaseSessionOptions)(options);
            opened?;
        }
        Ok(Self { runtime, raw })
    }
}

/// By which a run is told to end from another thread; for one run.
pub struct Stop {
    runtime: &'static Runtime,
    raw: *mut OrtRunOptions,
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
        unsafe { (self.runtime.api.ReleaseRunOptions)(self.raw) }
    }
}

impl Stop {
    /// # Errors
    /// There is not enough memory.
    pub fn new() -> Result<Self> {
        let runtime = runtime()?;
        let mut raw = null_mut();
        // SAFETY: the result is checked.
        unsafe { check(runtime.api, (runtime.api.CreateRunOptions)(&mut raw))? };
        Ok(Self { runtime, raw, stopped: AtomicBool::new(false) })
    }

    /// Has the run end before its next operator, also within a loop of the graph.
    pub fn stop(&self) {
        self.stopped.store(true, Relaxed);
        // SAFETY: the options live as long as this. Setting a flag does not fail.
        let _ = unsafe { check(self.runtime.api, (self.runtime.api.RunOptionsSetTerminate)(self.raw)) };
    }

    /// Whether it was told to end.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Relaxed)
    }
}

/// A tensor in memory of onnxruntime's own.
pub struct Tensor {
    runtime: &'static Runtime,
    raw: *mut OrtValue,
    data: *mut c_void,
    element: Element,
    shape: Vec<i64>,
    count: usize,
}

// SAFETY: a tensor is plain memory, which this owns alone.
unsafe impl Send for Tensor {}

impl Drop for Tensor {
    fn drop(&mut self) {
        // SAFETY: this is the only owner.
        unsafe { (self.runtime.api.ReleaseValue)(self.raw) }
    }
}

/// A Rust type whose memory is that of an element.
pub trait Plain: Copy {
    const ELEMENT: Element;
}

macro_rules! plain {
    ($($type:ty => $element:ident),*) => {
        $(impl Plain for $type { const ELEMENT: Element = Element::$element; })*
    };
}
plain!(f32 => F32, f64 => F64, i8 => I8, i16 => I16, i32 => I32, i64 => I64, u8 => U8, u16 => U16, u32 => U32, u64 => U64);

impl Tensor {
    /// A tensor of zeros or empty texts.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn new(element: Element, shape: &[i64]) -> Result<Self> {
        let runtime = runtime()?;
        let api = runtime.api;
        let mut raw = null_mut();
        // SAFETY: the shape is as long as said; the result is checked.
        unsafe {
            let (allocator, dims, rank) = (runtime.allocator, shape.as_ptr(), shape.len());
            check(api, (api.CreateTensorAsOrtValue)(allocator, dims, rank, element.onnx(), &mut raw))?;
        }
        let tensor = Self::adopt(runtime, raw)?;
        if element != Element::Text {
            let size = tensor.count * element_size(element);
            // SAFETY: the tensor is that large, and any element of zero bytes is valid.
            unsafe { tensor.data.cast::<u8>().write_bytes(0, size) };
        }
        Ok(tensor)
    }

    /// Takes a value that onnxruntime made.
    fn adopt(runtime: &'static Runtime, raw: *mut OrtValue) -> Result<Self> {
        let api = runtime.api;
        let mut tensor =
            Self { runtime, raw, data: null_mut(), element: Element::U8, shape: Vec::new(), count: 0 };
        // SAFETY: the value is live; every result is checked; `info` is released on all paths. The
        // element's type is written through a pointer to an integer of its size, since a newer
        // runtime may know types that the enum does not.
        unsafe {
            let mut is_tensor = 0;
            check(api, (api.IsTensor)(raw, &mut is_tensor))?;
            if is_tensor == 0 {
                return Err(RuntimeError("an output is no tensor".into()));
            }
            let mut info = null_mut();
            check(api, (api.GetTensorTypeAndShape)(raw, &mut info))?;
            let read = (|| {
                let mut code = 0_i32;
                check(api, (api.GetTensorElementType)(info, (&raw mut code).cast()))?;
                let mut rank = 0;
                check(api, (api.GetDimensionsCount)(info, &mut rank))?;
                tensor.shape = vec![0; rank];
                check(api, (api.GetDimensions)(info, tensor.shape.as_mut_ptr(), rank))?;
                check(api, (api.GetTensorShapeElementCount)(info, &mut tensor.count))?;
                Element::from_onnx(code)
                    .ok_or_else(|| RuntimeError(format!("tensors of ONNX type {code} are not taken")))
            })();
            (api.ReleaseTensorTypeAndShapeInfo)(info);
            tensor.element = read?;
            if tensor.element != Element::Text {
                check(api, (api.GetTensorMutableData)(raw, &mut tensor.data))?;
            }
        }
        Ok(tensor)
    }

    /// Its element type.
    pub fn element(&self) -> Element {
        self.element
    }

    /// Its shape.
    pub fn shape(&self) -> &[i64] {
        &self.shape
    }

    /// How many elements it has.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Its elements.
    ///
    /// # Panics
    /// The type is not that of the tensor.
    pub fn values<T: Plain>(&self) -> &[T] {
        assert_eq!(self.element, T::ELEMENT);
        if self.count == 0 {
            return &[];
        }
        // SAFETY: the memory has `count` initialised elements of that type, and is borrowed as
        // long as the tensor is.
        unsafe { std::slice::from_raw_parts(self.data.cast::<T>(), self.count) }
    }

    /// Its elements, to be written.
    ///
    /// # Panics
    /// The type is not that of the tensor.
    pub fn values_mut<T: Plain>(&mut self) -> &mut [T] {
        assert_eq!(self.element, T::ELEMENT);
        if self.count == 0 {
            return &mut [];
        }
        // SAFETY: as in `values`, and the tensor is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.data.cast::<T>(), self.count) }
    }

    /// Its truth values, to be written; only of a tensor that `new` made.
    ///
    /// # Panics
    /// The type is another.
    pub fn bools_mut(&mut self) -> &mut [bool] {
        assert_eq!(self.element, Element::Bool);
        if self.count == 0 {
            return &mut [];
        }
        // SAFETY: as in `values_mut`; `new` wrote zeros, runs do not write to their inputs, and
        // what is written here are bools.
        unsafe { std::slice::from_raw_parts_mut(self.data.cast::<bool>(), self.count) }
    }

    /// Its texts, one after the other, and where each of them ends.
    ///
    /// # Errors
    /// It has none, or one of them is not UTF-8.
    pub fn texts(&self) -> Result<Texts> {
        let api = self.runtime.api;
        let mut length = 0;
        // SAFETY: onnxruntime checks the type; the length is that of all texts together.
        unsafe { check(api, (api.GetStringTensorDataLength)(self.raw, &mut length))? };
        let mut bytes = vec![0_u8; length];
        let mut starts = vec![0_usize; self.count];
        if self.count > 0 {
            let (data, places) = (bytes.as_mut_ptr().cast::<c_void>(), starts.as_mut_ptr());
            // SAFETY: both have as much room as is said.
            unsafe {
                check(api, (api.GetStringTensorContent)(self.raw, data, length, places, self.count))?;
            }
        }
        let joined = String::from_utf8(bytes).map_err(|_| RuntimeError("a text is not UTF-8".into()))?;
        if starts.iter().any(|&start| !joined.is_char_boundary(start)) {
            return Err(RuntimeError("a text is not UTF-8".into()));
        }
        Ok(Texts { joined, starts })
    }

    /// Its elements as doubles, appended; truth counts as 1.
    ///
    /// # Errors
    /// They are texts, or whole numbers that no double is.
    pub fn for_each_f64(&self, mut take: impl FnMut(usize, f64)) -> Result<()> {
        macro_rules! walk {
            ($type:ty) => {
                self.values::<$type>().iter().enumerate().for_each(|(i, &value)| take(i, value as f64))
            };
        }
        let held = match self.element {
            Element::I64 => self.values::<i64>().iter().all(|value| value.unsigned_abs() <= LARGEST_WHOLE),
            Element::U64 => self.values::<u64>().iter().all(|value| *value <= LARGEST_WHOLE),
            _ => true,
        };
        if !held {
            return Err(RuntimeError("an output has whole numbers beyond 2^53".into()));
        }
        match self.element {
            Element::F32 => walk!(f32),
            Element::F64 => walk!(f64),
            Element::I8 => walk!(i8),
            Element::I16 => walk!(i16),
            Element::I32 => walk!(i32),
            Element::I64 => walk!(i64),
            Element::U8 => walk!(u8),
            Element::U16 => walk!(u16),
            Element::U32 => walk!(u32),
            Element::U64 => walk!(u64),
            Element::Bool => {
                self.bytes().iter().enumerate().for_each(|(i, &b)| take(i, f64::from(u8::from(b != 0))))
            }
            Element::Text => return Err(RuntimeError("an output has texts, not numbers".into())),
        }
        Ok(())
    }

    /// Its memory; nothing for texts.
    pub fn bytes(&self) -> &[u8] {
        if self.count == 0 || self.element == Element::Text {
            return &[];
        }
        // SAFETY: the memory has `count` elements of that size, all initialised.
        unsafe { std::slice::from_raw_parts(self.data.cast::<u8>(), self.count * element_size(self.element)) }
    }

    /// Its memory, to be written with elements of its type; nothing for texts and truth values.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        if self.count == 0 || matches!(self.element, Element::Text | Element::Bool) {
            return &mut [];
        }
        // SAFETY: as in `bytes`; any bytes are valid elements of the number types.
        unsafe {
            std::slice::from_raw_parts_mut(self.data.cast::<u8>(), self.count * element_size(self.element))
        }
    }

    /// Copies some elements of another tensor of the same type to a place in this one.
    ///
    /// # Errors
    /// They are texts, and onnxruntime refuses one.
    ///
    /// # Panics
    /// The types differ, there are not as many, or there is not room enough.
    pub fn copy_from(&mut self, at: usize, other: &Self, from: Range<usize>) -> Result<()> {
        assert_eq!(self.element, other.element);
        assert!(from.start <= from.end && from.end <= other.count);
        assert!(at <= self.count && from.len() <= self.count - at);
        if self.element == Element::Text {
            let texts = other.texts()?;
            return from.enumerate().try_for_each(|(i, j)| self.set_text(at + i, texts.get(j).as_bytes()));
        }
        let size = element_size(self.element);
        // SAFETY: both are tensors of this type, and of as many elements as was asserted; each has
        // memory of its own.
        unsafe {
            let place = self.data.cast::<u8>().add(at * size);
            let found = other.data.cast::<u8>().add(from.start * size);
            std::ptr::copy_nonoverlapping(found, place, from.len() * size);
        }
        Ok(())
    }

    /// Sets one text.
    ///
    /// # Errors
    /// The tensor has no texts, or not that many.
    pub fn set_text(&mut self, index: usize, text: &[u8]) -> Result<()> {
        let api = self.runtime.api;
        let mut buffer = null_mut();
        // SAFETY: onnxruntime checks type and index, and returns room for that many bytes.
        unsafe {
            check(api, (api.GetResizedStringTensorElementBuffer)(self.raw, index, text.len(), &mut buffer))?;
            std::ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast::<u8>(), text.len());
        }
        Ok(())
    }
}

/// The texts of a tensor.
pub struct Texts {
    joined: String,
    starts: Vec<usize>,
}

impl Texts {
    /// One of them.
    pub fn get(&self, index: usize) -> &str {
        let end = self.starts.get(index + 1).copied().unwrap_or(self.joined.len());
        &self.joined[self.starts[index]..end]
    }
}

fn element_size(element: Element) -> usize {
    match element {
        Element::F64 | Element::I64 | Element::U64 => 8,
        Element::F32 | Element::I32 | Element::U32 => 4,
        Element::I16 | Element::U16 => 2,
        Element::I8 | Element::U8 | Element::Bool => 1,
        Element::Text => 0,
    }
}

/// The names of a graph's inputs and outputs, as C strings.
pub struct Names(Vec<CString>);

impl Names {
    /// # Errors
    /// A name has a zero byte.
    pub fn new<S: AsRef<str>>(names: &[S]) -> Result<Self> {
        let convert = |name: &S| CString::new(name.as_ref());
        let names = names.iter().map(convert).collect::<std::result::Result<_, _>>();
        names.map(Self).map_err(|_| RuntimeError("the name of an input or output has a zero byte".into()))
    }
}

/// Inputs with the outputs that a run makes of them.
///
/// The outputs of a run are the places where the next one writes, so that runs of one shape
/// allocate nothing.
pub struct Frame {
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    raw_inputs: Vec<*const OrtValue>,
    raw_outputs: Vec<*mut OrtValue>,
    input_names: Vec<*const std::ffi::c_char>,
    output_names: Vec<*const std::ffi::c_char>,
    names: std::sync::Arc<(Names, Names)>,
}

// SAFETY: the raw pointers are to what `inputs`, `outputs` and `names` own, which are Send.
unsafe impl Send for Frame {}

impl Frame {
    /// A frame of tensors in the order of the names.
    pub fn new(inputs: Vec<Tensor>, names: std::sync::Arc<(Names, Names)>) -> Self {
        let pointers = |names: &Names| names.0.iter().map(|name| name.as_ptr()).collect::<Vec<_>>();
        Self {
            raw_inputs: inputs.iter().map(|tensor| tensor.raw.cast_const()).collect(),
            inputs,
            outputs: Vec::new(),
            raw_outputs: Vec::new(),
            input_names: pointers(&names.0),
            output_names: pointers(&names.1),
            names,
        }
    }

    /// The inputs, to be filled.
    pub fn inputs_mut(&mut self) -> &mut [Tensor] {
        &mut self.inputs
    }

    /// Puts another tensor in the place of an input; the outputs must have the shapes that they had.
    pub fn set_input(&mut self, index: usize, tensor: Tensor) {
        self.raw_inputs[index] = tensor.raw.cast_const();
        self.inputs[index] = tensor;
    }

    /// A frame of outputs alone, for what was gathered from several runs.
    pub fn gathered(outputs: Vec<Tensor>, names: std::sync::Arc<(Names, Names)>) -> Self {
        Self { outputs, ..Self::new(Vec::new(), names) }
    }

    /// What the last run made.
    pub fn outputs(&self) -> &[Tensor] {
        &self.outputs
    }

    /// Copies some elements of the outputs of another frame to the beginning of this one's; `from`
    /// says which, by the index of the output.
    ///
    /// # Errors
    /// They are texts, and onnxruntime refuses one.
    ///
    /// # Panics
    /// As of `Tensor::copy_from`.
    pub fn copy_outputs(&mut self, other: &Self, from: impl Fn(usize) -> Range<usize>) -> Result<()> {
        let mut pairs = self.outputs.iter_mut().zip(&other.outputs).enumerate();
        pairs.try_for_each(|(i, (output, other))| output.copy_from(0, other, from(i)))
    }

    /// Runs the graph.
    ///
    /// # Errors
    /// onnxruntime refuses the inputs, the run was told to end, or an output is no tensor of plain
    /// values.
    ///
    /// # Panics
    /// There is not one name for each input.
    pub fn run(&mut self, session: &Session, stop: Option<&Stop>) -> Result<()> {
        assert_eq!(self.names.0.0.len(), self.raw_inputs.len());
        let api = session.runtime.api;
        let first = self.outputs.is_empty();
        if first {
            self.raw_outputs.clear();
            self.raw_outputs.resize(self.output_names.len(), null_mut());
        }
        // SAFETY: every list is as long as said; the names and tensors are owned by this frame;
        // outputs are null, to be made, or tensors of an earlier run over inputs of this shape.
        let ran = unsafe {
            check(
                api,
                (api.Run)(
                    session.raw,
                    stop.map_or(null(), |stop| stop.raw.cast_const()),
                    self.input_names.as_ptr(),
                    self.raw_inputs.as_ptr(),
                    self.raw_inputs.len(),
                    self.output_names.as_ptr(),
                    self.output_names.len(),
                    self.raw_outputs.as_mut_ptr(),
                ),
            )
        };
        if first {
            let made = self.raw_outputs.iter().filter(|raw| !raw.is_null());
            let made = made.map(|&raw| Tensor::adopt(session.runtime, raw)).collect::<Vec<_>>();
            ran?;
            self.outputs = made.into_iter().collect::<Result<Vec<_>>>()?;
            return Ok(());
        }
        ran
    }
}
