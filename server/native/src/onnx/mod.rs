//! onnxruntime: its library, sessions, tensors, the binding of tensors to a run, and the time limit of runs.

pub(crate) mod binding;
pub(crate) mod library;
pub(crate) mod limit;
pub(crate) mod session;
pub(crate) mod tensor;
