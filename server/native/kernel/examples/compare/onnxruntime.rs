//! onnxruntime through its C API: one thread that does not spin, tensors over the rows themselves, outputs reused.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::ptr::{null, null_mut};

use ort_sys::{
    ExecutionMode, ONNXTensorElementDataType as Element, OrtAllocatorType, OrtApi, OrtApiBase, OrtEnv,
    OrtLoggingLevel, OrtMemType, OrtMemoryInfo, OrtSession, OrtStatusPtr, OrtValue,
};
use scorewire_kernel::program::Port;

use crate::kernel::FEW;
use crate::rows::{self, Table, Tensor};
use crate::{Fallible, Subject};

/// The library. It is never unloaded, and what it makes is never released: the process ends soon.
#[derive(Clone, Copy)]
pub(crate) struct Library {
    api: &'static OrtApi,
    env: *mut OrtEnv,
    memory: *mut OrtMemoryInfo,
}

impl Library {
    pub(crate) fn load(path: &Path) -> Fallible<Self> {
        // SAFETY: the initialisers of onnxruntime's library are sound to run.
        let library = unsafe { libloading::Library::new(path) }.map_err(|error| error.to_string())?;
        let library = Box::leak(Box::new(library));
        // SAFETY: the types are those of onnxruntime_c_api.h, and each status is checked.
        unsafe {
            let symbol = library.get::<unsafe extern "system" fn() -> *const OrtApiBase>(b"OrtGetApiBase\0");
            let base = symbol.map_err(|error| error.to_string())?();
            let api = ((*base).GetApi)(ort_sys::ORT_API_VERSION).as_ref();
            let api = api.ok_or("this onnxruntime is too old")?;
            let (mut env, mut memory) = (null_mut(), null_mut());
            let level = OrtLoggingLevel::ORT_LOGGING_LEVEL_FATAL;
            check(api, (api.CreateEnv)(level, c"compare".as_ptr(), &mut env))?;
            let (allocator, kind) = (OrtAllocatorType::OrtArenaAllocator, OrtMemType::OrtMemTypeDefault);
            check(api, (api.CreateCpuMemoryInfo)(allocator, kind, &mut memory))?;
            Ok(Self { api, env, memory })
        }
    }
}

/// # Safety
/// The status was returned by a function of this API, and is passed once.
unsafe fn check(api: &OrtApi, status: OrtStatusPtr) -> Fallible<()> {
    if status.0.is_null() {
        return Ok(());
    }
    // SAFETY: the status is an error, whose message lives as long.
    Err(unsafe { CStr::from_ptr((api.GetErrorMessage)(status.0)) }.to_string_lossy().into_owned())
}

/// A session, and its tensors for calls of each size.
pub(crate) struct Session<'t> {
    library: Library,
    raw: *mut OrtSession,
    table: &'t Table,
    inputs: Vec<(Tensor, usize)>,
    names: (Vec<CString>, Vec<CString>),
    by_size: HashMap<usize, Tensors>,
}

/// Input tensors of each call, one call after the other, and the outputs of all.
struct Tensors {
    inputs: Vec<*const OrtValue>,
    outputs: Vec<*mut OrtValue>,
}

impl<'t> Session<'t> {
    /// Opens a graph whose inputs and outputs are these.
    pub(crate) fn open(
        library: Library,
        graph: &[u8],
        ports: (&[Port], &[Port]),
        table: &'t Table,
    ) -> Fallible<Self> {
        let (api, mut options, mut raw) = (library.api, null_mut(), null_mut());
        // SAFETY: the arguments are those that the header asks for, and each status is checked.
        unsafe {
            check(api, (api.CreateSessionOptions)(&mut options))?;
            check(api, (api.SetIntraOpNumThreads)(options, 1))?;
            check(api, (api.SetInterOpNumThreads)(options, 1))?;
            check(api, (api.SetSessionExecutionMode)(options, ExecutionMode::ORT_SEQUENTIAL))?;
            for key in [c"session.intra_op.allow_spinning", c"session.inter_op.allow_spinning"] {
                check(api, (api.AddSessionConfigEntry)(options, key.as_ptr(), c"0".as_ptr()))?;
            }
            let data = graph.as_ptr().cast::<c_void>();
            check(api, (api.CreateSessionFromArray)(library.env, data, graph.len(), options, &mut raw))?;
        }
        let named = |ports: &[Port]| {
            let names = ports.iter().map(|port| CString::new(port.name.as_str()));
            names.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())
        };
        let names = (named(ports.0)?, named(ports.1)?);
        let inputs = rows::inputs(table, ports.0)?;
        Ok(Self { library, raw, table, inputs, names, by_size: HashMap::new() })
    }

    /// Makes the tensors for calls of a size.
    pub(crate) fn prepare(&mut self, count: usize) -> Fallible<()> {
        let mut inputs = Vec::new();
        for first in (0..=self.table.count - count).step_by(count) {
            for (tensor, width) in &mut self.inputs {
                let (from, to, shape) =
                    (first * *width, (first + count) * *width, [count as i64, *width as i64]);
                let (data, bytes, element): (*mut c_void, _, _) = match tensor {
                    Tensor::F32(values) => {
                        let part = &mut values[from..to];
                        let element = Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
                        (part.as_mut_ptr().cast(), size_of_val(part), element)
                    }
                    Tensor::F64(values) => {
                        let part = &mut values[from..to];
                        let element = Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE;
                        (part.as_mut_ptr().cast(), size_of_val(part), element)
                    }
                    Tensor::I64(_) => unreachable!("inputs are no whole numbers"),
                };
                let (api, memory, mut made) = (self.library.api, self.library.memory, null_mut());
                let make = api.CreateTensorWithDataAsOrtValue;
                // SAFETY: the data has the shape, and this session owns it as long as it lives.
                unsafe { check(api, make(memory, data, bytes, shape.as_ptr(), 2, element, &mut made))? };
                inputs.push(made.cast_const());
            }
        }
        let outputs = vec![null_mut(); self.names.1.len()];
        self.by_size.insert(count, Tensors { inputs, outputs });
        Ok(())
    }
}

impl Subject for Session<'_> {
    fn call(&mut self, first: usize, count: usize) {
        let mut names = [null::<c_char>(); 2 * FEW];
        for (to, name) in names.iter_mut().zip(self.names.0.iter().chain(&self.names.1)) {
            *to = name.as_ptr();
        }
        let Tensors { inputs, outputs } = self.by_size.get_mut(&count).expect("the size was prepared");
        let width = self.inputs.len();
        let inputs = &inputs[first / count * width..][..width];
        let api = self.library.api;
        // SAFETY: the lists have the lengths that are passed. The first call of a size makes the outputs, and the
        // others write to them.
        let ran = unsafe {
            let (input_names, output_names) = (names.as_ptr(), names[width..].as_ptr());
            let status = (api.Run)(
                self.raw,
                null(),
                input_names,
                inputs.as_ptr(),
                width,
                output_names,
                outputs.len(),
                outputs.as_mut_ptr(),
            );
            check(api, status)
        };
        ran.expect("onnxruntime runs the graph");
    }
}
