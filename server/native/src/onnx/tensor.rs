//! Tensors in memory that onnxruntime allocates, and the types of their elements.

use std::ffi::c_void;
use std::ops::Range;
use std::ptr::null_mut;

use ort_sys::{ONNXTensorElementDataType as Onnx, OrtValue};

use crate::onnx::library::{GraphError, Library, Result, check, library};

/// Every whole number up to this magnitude has an exact value as a double.
pub(crate) const LARGEST_WHOLE: u64 = 1 << 53;

/// The element type of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
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
    /// The element type with this number in ONNX. `None`: the engine does not support the type.
    pub(crate) fn from_onnx(code: i32) -> Option<Self> {
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

    /// The number of the type in ONNX.
    pub(crate) fn code(self) -> i32 {
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

/// A tensor in memory that onnxruntime allocates.
pub(crate) struct Tensor {
    library: &'static Library,
    pub(super) raw: *mut OrtValue,
    data: *mut c_void,
    element: Element,
    shape: Vec<i64>,
    count: usize,
}

// SAFETY: a tensor is plain memory, and this is its only owner.
unsafe impl Send for Tensor {}

impl Drop for Tensor {
    fn drop(&mut self) {
        // SAFETY: this is the only owner.
        unsafe { (self.library.api.ReleaseValue)(self.raw) }
    }
}

/// A number type that has the same memory in Rust as in a tensor.
pub(crate) trait Plain: Copy {
    const ELEMENT: Element;
}

macro_rules! plain {
    ($($type:ty => $element:ident),*) => {
        $(impl Plain for $type { const ELEMENT: Element = Element::$element; })*
    };
}
plain!(f32 => F32, f64 => F64, i8 => I8, i16 => I16, i32 => I32, i64 => I64, u8 => U8, u16 => U16, u32 => U32, u64 => U64);

impl Tensor {
    /// A tensor of zeros, or of empty texts.
    ///
    /// # Errors
    /// `GraphError`: onnxruntime is not loaded, or there is not enough memory.
    pub(crate) fn new(element: Element, shape: &[i64]) -> Result<Self> {
        let library = library()?;
        let api = library.api;
        let mut raw = null_mut();
        // SAFETY: the shape has `rank` dimensions, and the status is checked.
        unsafe {
            let (allocator, dims, rank) = (library.allocator, shape.as_ptr(), shape.len());
            check(api, (api.CreateTensorAsOrtValue)(allocator, dims, rank, element.onnx(), &mut raw))?;
        }
        let tensor = Self::adopt(library, raw)?;
        if element != Element::Text {
            let size = tensor.count * element_size(element);
            // SAFETY: the tensor has `size` bytes, and an element whose bytes are all zero is valid.
            unsafe { tensor.data.cast::<u8>().write_bytes(0, size) };
        }
        Ok(tensor)
    }

    /// Takes the ownership of a value that onnxruntime made.
    ///
    /// # Errors
    /// `GraphError`: the value is not a tensor, or its element type is not supported. The value is released then.
    pub(super) fn adopt(library: &'static Library, raw: *mut OrtValue) -> Result<Self> {
        let api = library.api;
        let mut tensor =
            Self { library, raw, data: null_mut(), element: Element::U8, shape: Vec::new(), count: 0 };
        // SAFETY: the value lives, every status is checked, and `info` is released on all paths. The element
        // type is written through a pointer to an integer of the same size, since a newer onnxruntime may have
        // types that the enum does not.
        unsafe {
            let mut is_tensor = 0;
            check(api, (api.IsTensor)(raw, &mut is_tensor))?;
            if is_tensor == 0 {
                return Err(GraphError("an output is not a tensor".into()));
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
                    .ok_or_else(|| GraphError(format!("tensors of the ONNX type {code} are not supported")))
            })();
            (api.ReleaseTensorTypeAndShapeInfo)(info);
            tensor.element = read?;
            if tensor.element != Element::Text {
                check(api, (api.GetTensorMutableData)(raw, &mut tensor.data))?;
            }
        }
        Ok(tensor)
    }

    /// The type of the elements.
    pub(crate) fn element(&self) -> Element {
        self.element
    }

    /// The dimensions.
    pub(crate) fn shape(&self) -> &[i64] {
        &self.shape
    }

    /// The number of elements.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The elements of a tensor of numbers.
    ///
    /// # Panics
    /// `T` is not the element type of the tensor.
    pub(crate) fn values<T: Plain>(&self) -> &[T] {
        assert_eq!(self.element, T::ELEMENT);
        if self.count == 0 {
            return &[];
        }
        // SAFETY: the memory has `count` initialised elements of this type, and is borrowed with the tensor.
        unsafe { std::slice::from_raw_parts(self.data.cast::<T>(), self.count) }
    }

    /// The elements of a tensor of numbers, to be written.
    ///
    /// # Panics
    /// `T` is not the element type of the tensor.
    pub(crate) fn values_mut<T: Plain>(&mut self) -> &mut [T] {
        assert_eq!(self.element, T::ELEMENT);
        if self.count == 0 {
            return &mut [];
        }
        // SAFETY: as in `values`, and the tensor is borrowed by `&mut`.
        unsafe { std::slice::from_raw_parts_mut(self.data.cast::<T>(), self.count) }
    }

    /// The elements of a tensor of booleans.
    ///
    /// # Errors
    /// `GraphError`: a byte is neither 0 nor 1.
    ///
    /// # Panics
    /// The element type is not `Bool`.
    pub(crate) fn bools(&self) -> Result<&[bool]> {
        assert_eq!(self.element, Element::Bool);
        let bytes = self.bytes();
        if bytes.iter().any(|byte| *byte > 1) {
            return Err(GraphError("a boolean is neither true nor false".into()));
        }
        // SAFETY: each byte is 0 or 1, which are the bytes of `bool`.
        Ok(unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) })
    }

    /// The elements of a tensor of booleans, to be written. Only for tensors that `new` made.
    ///
    /// # Panics
    /// The element type is not `Bool`.
    pub(crate) fn bools_mut(&mut self) -> &mut [bool] {
        assert_eq!(self.element, Element::Bool);
        if self.count == 0 {
            return &mut [];
        }
        // SAFETY: as in `values_mut`. Every byte is a valid `bool`: `new` wrote zeros, runs do not write to their
        // inputs, and callers of this function write `bool`s.
        unsafe { std::slice::from_raw_parts_mut(self.data.cast::<bool>(), self.count) }
    }

    /// Copies the elements of a tensor of texts.
    ///
    /// # Errors
    /// `GraphError`: the element type is not `Text`, or a text is not UTF-8.
    pub(crate) fn texts(&self) -> Result<Texts> {
        let api = self.library.api;
        let mut length = 0;
        // SAFETY: onnxruntime checks the type. It writes the length of all texts together.
        unsafe { check(api, (api.GetStringTensorDataLength)(self.raw, &mut length))? };
        let mut bytes = vec![0_u8; length];
        let mut starts = vec![0_usize; self.count];
        if self.count > 0 {
            let (data, offsets) = (bytes.as_mut_ptr().cast::<c_void>(), starts.as_mut_ptr());
            // SAFETY: `data` has room for `length` bytes, and `offsets` for `count` integers.
            unsafe {
                check(api, (api.GetStringTensorContent)(self.raw, data, length, offsets, self.count))?;
            }
        }
        let joined = String::from_utf8(bytes).map_err(|_| GraphError("a text is not UTF-8".into()))?;
        if starts.iter().any(|&start| !joined.is_char_boundary(start)) {
            return Err(GraphError("a text is not UTF-8".into()));
        }
        Ok(Texts { joined, starts })
    }

    /// Calls `take` with the index and the value of each element, as a double. True is 1, false is 0.
    ///
    /// # Errors
    /// `GraphError`: the elements are texts, or a whole number has no exact value as a double.
    pub(crate) fn for_each_f64(&self, take: impl FnMut(usize, f64)) -> Result<()> {
        self.for_each_f64_in(0..self.count, take)
    }

    /// As `for_each_f64`, for a range of elements; the first of them has the index 0.
    ///
    /// # Errors
    /// As of `for_each_f64`.
    ///
    /// # Panics
    /// The tensor has not all elements of the range.
    pub(crate) fn for_each_f64_in(
        &self,
        range: Range<usize>,
        mut take: impl FnMut(usize, f64),
    ) -> Result<()> {
        macro_rules! walk {
            ($type:ty) => {{
                let values = &self.values::<$type>()[range];
                values.iter().enumerate().for_each(|(i, &value)| take(i, value as f64))
            }};
        }
        let exact = |range: Range<usize>| match self.element {
            Element::I64 => {
                self.values::<i64>()[range].iter().all(|value| value.unsigned_abs() <= LARGEST_WHOLE)
            }
            Element::U64 => self.values::<u64>()[range].iter().all(|value| *value <= LARGEST_WHOLE),
            _ => true,
        };
        let is_exact = exact(range.clone());
        if !is_exact {
            return Err(GraphError("an output has whole numbers beyond 2^53".into()));
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
                let bytes = self.bytes()[range].iter().enumerate();
                bytes.for_each(|(i, &b)| take(i, f64::from(u8::from(b != 0))))
            }
            Element::Text => return Err(GraphError("an output has texts, not numbers".into())),
        }
        Ok(())
    }

    /// The memory of the elements; empty for texts.
    pub(crate) fn bytes(&self) -> &[u8] {
        if self.count == 0 || self.element == Element::Text {
            return &[];
        }
        // SAFETY: the memory has `count` elements of this size, all initialised.
        unsafe { std::slice::from_raw_parts(self.data.cast::<u8>(), self.count * element_size(self.element)) }
    }

    /// The memory of the elements, to be written; empty for texts and for booleans, of which not every byte is
    /// valid.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        if self.count == 0 || matches!(self.element, Element::Text | Element::Bool) {
            return &mut [];
        }
        // SAFETY: as in `bytes`. Any bytes are valid elements of the number types.
        unsafe {
            std::slice::from_raw_parts_mut(self.data.cast::<u8>(), self.count * element_size(self.element))
        }
    }

    /// Copies the elements `from` of another tensor to this tensor, beginning at the index `at`.
    ///
    /// # Errors
    /// `GraphError`: onnxruntime refuses a text.
    ///
    /// # Panics
    /// The element types differ, `other` does not have all elements of `from`, or this tensor has no room for
    /// them behind `at`.
    pub(crate) fn copy_from(&mut self, at: usize, other: &Self, from: Range<usize>) -> Result<()> {
        assert_eq!(self.element, other.element);
        assert!(from.start <= from.end && from.end <= other.count);
        assert!(at <= self.count && from.len() <= self.count - at);
        if self.element == Element::Text {
            let texts = other.texts()?;
            return from.enumerate().try_for_each(|(i, j)| self.set_text(at + i, texts.get(j).as_bytes()));
        }
        let size = element_size(self.element);
        // SAFETY: both tensors have this element type, and the elements that were asserted above. Their memory does
        // not overlap.
        unsafe {
            let target = self.data.cast::<u8>().add(at * size);
            let source = other.data.cast::<u8>().add(from.start * size);
            std::ptr::copy_nonoverlapping(source, target, from.len() * size);
        }
        Ok(())
    }

    /// Sets one element of a tensor of texts.
    ///
    /// # Errors
    /// `GraphError`: the element type is not `Text`, the index is beyond the last element, or there is not enough
    /// memory.
    pub(crate) fn set_text(&mut self, index: usize, text: &[u8]) -> Result<()> {
        let api = self.library.api;
        let mut buffer = null_mut();
        // SAFETY: onnxruntime checks the type and the index, and returns room for as many bytes as the text has.
        unsafe {
            check(api, (api.GetResizedStringTensorElementBuffer)(self.raw, index, text.len(), &mut buffer))?;
            std::ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast::<u8>(), text.len());
        }
        Ok(())
    }
}

/// The elements of a tensor of texts, one after the other in one string.
pub(crate) struct Texts {
    joined: String,
    starts: Vec<usize>,
}

impl Texts {
    /// The text with this index.
    ///
    /// # Panics
    /// The tensor has no such element.
    pub(crate) fn get(&self, index: usize) -> &str {
        let end = self.starts.get(index + 1).copied().unwrap_or(self.joined.len());
        &self.joined[self.starts[index]..end]
    }
}

/// The size of an element in bytes; 0 for texts.
fn element_size(element: Element) -> usize {
    match element {
        Element::F64 | Element::I64 | Element::U64 => 8,
        Element::F32 | Element::I32 | Element::U32 => 4,
        Element::I16 | Element::U16 => 2,
        Element::I8 | Element::U8 | Element::Bool => 1,
        Element::Text => 0,
    }
}
