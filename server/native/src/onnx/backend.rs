//! What runs a graph: a program of `scorewire_kernel`, or a session of onnxruntime.

use scorewire_kernel::program::{Options, Program, Unsupported};

use crate::onnx::library::Result;
use crate::onnx::session::Session;

/// What runs a graph. Many threads may use it at once.
pub(crate) enum Backend {
    Program(Box<Program>),
    Session(Session),
}

impl Backend {
    /// Compiles a graph that was audited.
    ///
    /// # Errors
    /// `Unsupported`: only onnxruntime can run the graph.
    pub(crate) fn compile(graph: &[u8]) -> std::result::Result<Self, Unsupported> {
        Program::compile(graph, Options::default()).map(|program| Self::Program(Box::new(program)))
    }

    /// Opens a session of onnxruntime, whose runs may use `threads` threads.
    ///
    /// # Errors
    /// `GraphError`: as of `Session::open`.
    pub(crate) fn open(graph: &[u8], threads: i32) -> Result<Self> {
        Session::open(graph, threads).map(Self::Session)
    }
}
