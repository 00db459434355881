//! The methods of the hot path. Every other method is answered by the control plane.

use crate::encodings::encoding::Encoding;
use crate::encodings::positional::{Positional, PositionalStream};
use crate::encodings::tensors::Tensors;
use crate::encodings::typed::{TypedRow, TypedRows};
use crate::statistics::MAX_METHODS;

/// The path of a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    Fixed(&'static str),
    /// The name of a method that each typed service has.
    Typed(&'static str),
}

/// One method.
pub(crate) struct Method {
    /// Its place in `METHODS`, by which it is counted.
    pub index: usize,
    /// What it is counted as.
    pub name: &'static str,
    pub path: Path,
    pub encoding: &'static dyn Encoding,
    /// Whether its calls are streams.
    pub streams: bool,
}

const fn unary(index: usize, name: &'static str, path: Path, encoding: &'static dyn Encoding) -> Method {
    Method { index, name, path, encoding, streams: false }
}

const fn stream(index: usize, name: &'static str, path: Path, encoding: &'static dyn Encoding) -> Method {
    Method { index, name, path, encoding, streams: true }
}

const PREDICT: Path = Path::Fixed("/scorewire.v1.PredictionService/Predict");
const PREDICT_STREAM: Path = Path::Fixed("/scorewire.v1.PredictionService/PredictStream");
const MODEL_INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
const MODEL_STREAM_INFER: &str = "/inference.GRPCInferenceService/ModelStreamInfer";

/// All methods of the hot path: what each is counted as, its path and its encoding.
pub(crate) static METHODS: [Method; 7] = [
    unary(0, "Predict", PREDICT, &Positional),
    stream(1, "PredictStream", PREDICT_STREAM, &PositionalStream),
    unary(2, "TypedPredict", Path::Typed("Predict"), &TypedRow { fails_call: true }),
    unary(3, "TypedPredictBatch", Path::Typed("PredictBatch"), &TypedRows),
    stream(4, "TypedPredictStream", Path::Typed("PredictStream"), &TypedRow { fails_call: false }),
    unary(5, "ModelInfer", Path::Fixed(MODEL_INFER), &Tensors { path: MODEL_INFER, streamed: false }),
    stream(
        6,
        "ModelStreamInfer",
        Path::Fixed(MODEL_STREAM_INFER),
        &Tensors { path: MODEL_STREAM_INFER, streamed: true },
    ),
];

const _: () = assert!(METHODS.len() <= MAX_METHODS);

/// The method of a path that is the same whatever models there are.
#[inline]
pub(crate) fn fixed_method(path: &[u8]) -> Option<&'static Method> {
    METHODS.iter().find(|method| matches!(method.path, Path::Fixed(fixed) if fixed.as_bytes() == path))
}

impl std::fmt::Debug for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_method_stands_at_its_index() {
        assert!(METHODS.iter().enumerate().all(|(i, method)| method.index == i));
    }

    #[test]
    fn only_fixed_paths_are_found_without_a_model() {
        assert_eq!(fixed_method(b"/inference.GRPCInferenceService/ModelInfer").unwrap().name, "ModelInfer");
        assert!(fixed_method(b"Predict").is_none());
    }
}
