//! What runs graphs: onnxruntime's library and sessions, and programs of `scorewire_kernel`; tensors, their binding
//! to a run, and the time limit of runs.

pub(crate) mod backend;
pub(crate) mod binding;
pub(crate) mod library;
pub(crate) mod limit;
pub(crate) mod program;
pub(crate) mod session;
pub(crate) mod tensor;
