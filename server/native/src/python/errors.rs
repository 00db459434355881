//! Errors on their way between Rust and Python.

use bytes::Bytes;
use pyo3::create_exception;
use pyo3::exceptions::{PyRuntimeError, PyTimeoutError, PyValueError};
use pyo3::prelude::*;

use crate::onnx::library::GraphError;
use crate::onnx::limit::RunError;
use crate::protocol::reasons::REASONS;
use crate::protocol::status::{FixedErrors, RpcError};

create_exception!(
    scorewire_native,
    UnsupportedError,
    PyValueError,
    "Only onnxruntime runs a graph; the message tells why."
);

impl From<GraphError> for PyErr {
    fn from(error: GraphError) -> Self {
        PyRuntimeError::new_err(error.0)
    }
}

impl From<RunError> for PyErr {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Stopped => PyTimeoutError::new_err(error.to_string()),
            RunError::Failed(error) => error.into(),
        }
    }
}

/// A failure: code, reason, message, google.rpc.Status as bytes.
pub(super) type FailureParts = (u32, u32, String, Vec<u8>);

pub(super) fn rpc_error((code, reason, message, status): FailureParts) -> PyResult<RpcError> {
    if reason as usize >= REASONS {
        return Err(PyValueError::new_err(format!("failures of reason {reason} are not counted")));
    }
    Ok(RpcError { code, reason, message, status: Bytes::from(status) })
}

/// The failures that are always the same, by name.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(super) struct FixedParts {
    malformed: FailureParts,
    too_many_in_flight: FailureParts,
    too_many_failing: FailureParts,
    expired: FailureParts,
    overloaded: FailureParts,
    over_share: FailureParts,
    run_stopped: FailureParts,
    draining: FailureParts,
    internal: FailureParts,
    unauthenticated: FailureParts,
    permission_denied: FailureParts,
    caller_limit: FailureParts,
}

impl FixedParts {
    pub(super) fn fixed(self) -> PyResult<FixedErrors> {
        Ok(FixedErrors {
            malformed: rpc_error(self.malformed)?,
            too_many_in_flight: rpc_error(self.too_many_in_flight)?,
            too_many_failing: rpc_error(self.too_many_failing)?,
            expired: rpc_error(self.expired)?,
            overloaded: rpc_error(self.overloaded)?,
            over_share: rpc_error(self.over_share)?,
            run_stopped: rpc_error(self.run_stopped)?,
            draining: rpc_error(self.draining)?,
            internal: rpc_error(self.internal)?,
            unauthenticated: rpc_error(self.unauthenticated)?,
            permission_denied: rpc_error(self.permission_denied)?,
            caller_limit: rpc_error(self.caller_limit)?,
        })
    }
}
