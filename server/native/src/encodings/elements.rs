//! The elements of the Open Inference Protocol's tensors: raw bytes, and typed contents.

use crate::onnx::binding::IoBinding;
use crate::onnx::library::GraphError;
use crate::onnx::tensor::LARGEST_WHOLE;
use crate::protocol::protobuf::{self, Kind, MalformedError, Reader, Span};

const DOUBLE: usize = 8;
const BYTES: &str = "BYTES";
/// The fields of typed contents.
const BOOL: u32 = 1;
const INT: u32 = 2;
const INT64: u32 = 3;
const UINT: u32 = 4;
const UINT64: u32 = 5;
const FP32: u32 = 6;
const FP64: u32 = 7;
const TEXTS: u32 = 8;

/// The control plane has to answer this request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnsupportedError;

impl From<MalformedError> for UnsupportedError {
    fn from(_: MalformedError) -> Self {
        Self
    }
}

pub(crate) type Result<T> = std::result::Result<T, UnsupportedError>;

/// Where the elements of a tensor stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Elements {
    Raw(Span),
    /// In a field of typed contents, by its number: the packed run, or for texts the whole contents.
    Typed(u32, Span),
}

/// Finds the field of typed contents that has the elements.
///
/// # Errors
/// `UnsupportedError`: there is no such field, or more than one.
pub(crate) fn read_contents(data: &[u8], part: Span) -> Result<Elements> {
    let mut reader = Reader::new(data, part.range())?;
    let mut found = None;
    while let Some((field, kind)) = reader.tag()? {
        found = match (found, field, kind) {
            (None, 1..TEXTS, Kind::Bytes) => Some((field, reader.bytes()?)),
            (None | Some((TEXTS, _)), TEXTS, Kind::Bytes) => {
                reader.bytes()?;
                Some((TEXTS, part))
            }
            _ => return Err(UnsupportedError),
        };
    }
    found.map(|(field, place)| Elements::Typed(field, place)).ok_or(UnsupportedError)
}

impl Elements {
    /// Whether the bytes are enough for `count` elements of a datatype. To be asked before memory is allocated:
    /// the count is what a caller claims.
    pub(crate) fn may_hold(self, datatype: &str, count: usize) -> bool {
        let (place, least) = match (self, datatype) {
            (Self::Raw(place), BYTES) => (place, 4),
            (Self::Typed(TEXTS, place), _) => (place, 2),
            (Self::Raw(place), "FP64" | "INT64" | "UINT64") | (Self::Typed(FP64, place), _) => (place, 8),
            (Self::Raw(place), "FP32" | "INT32" | "UINT32") | (Self::Typed(FP32, place), _) => (place, 4),
            (Self::Raw(place), "INT16" | "UINT16") => (place, 2),
            (Self::Raw(place) | Self::Typed(_, place), _) => (place, 1),
        };
        count <= place.range().len() / least
    }

    /// The run of exactly `count` doubles, if the elements are one.
    pub(crate) fn doubles(self, datatype: &str, count: usize) -> Option<Span> {
        let (Self::Raw(run) | Self::Typed(FP64, run)) = self else { return None };
        (datatype == "FP64" && count.checked_mul(DOUBLE) == Some(run.range().len())).then_some(run)
    }

    /// Calls `take` with the index and the place of each text.
    ///
    /// # Errors
    /// `UnsupportedError`: the elements are not `count` texts in UTF-8.
    pub(crate) fn for_each_text(
        self,
        datatype: &str,
        data: &[u8],
        count: usize,
        mut take: impl FnMut(usize, Span),
    ) -> Result<()> {
        let (place, raw) = match self {
            Self::Raw(place) => (place, true),
            Self::Typed(TEXTS, place) => (place, false),
            Self::Typed(..) => return Err(UnsupportedError),
        };
        if datatype != BYTES {
            return Err(UnsupportedError);
        }
        let mut reader = Reader::new(data, place.range())?;
        for i in 0..count {
            let text = if raw {
                let mut length = [0; 4];
                length.copy_from_slice(reader.take(4)?.of(data));
                let text = reader.take(u32::from_le_bytes(length) as usize)?;
                if !protobuf::is_text(text.of(data)) {
                    return Err(UnsupportedError);
                }
                text
            } else {
                reader.tag()?;
                reader.text()?
            };
            take(i, text);
        }
        if reader.is_empty() { Ok(()) } else { Err(UnsupportedError) }
    }

    /// Calls `take` with the index and the value of each number.
    ///
    /// # Errors
    /// `UnsupportedError`: the elements are not `count` numbers of the datatype, or a number is not exact as a
    /// double.
    pub(crate) fn for_each_number(
        self,
        datatype: &str,
        data: &[u8],
        count: usize,
        take: impl FnMut(usize, f64),
    ) -> Result<()> {
        match self {
            Self::Raw(place) => for_each_raw(datatype, place.of(data), count, take),
            Self::Typed(field, place) => match (datatype, field) {
                ("FP64", FP64) | ("FP32", FP32) => for_each_raw(datatype, place.of(data), count, take),
                _ => for_each_varint(datatype, field, data, place, count, take),
            },
        }
    }
}

/// `for_each_number` of a packed run of varints.
fn for_each_varint(
    datatype: &str,
    field: u32,
    data: &[u8],
    place: Span,
    count: usize,
    mut take: impl FnMut(usize, f64),
) -> Result<()> {
    let largest = LARGEST_WHOLE as i64;
    let (low, high) = match (datatype, field) {
        ("BOOL", BOOL) => (0, 1),
        ("INT8", INT) => (i8::MIN.into(), i8::MAX.into()),
        ("INT16", INT) => (i16::MIN.into(), i16::MAX.into()),
        ("INT32", INT) => (i32::MIN.into(), i32::MAX.into()),
        ("INT64", INT64) => (-largest, largest),
        ("UINT8", UINT) => (0, u8::MAX.into()),
        ("UINT16", UINT) => (0, u16::MAX.into()),
        ("UINT32", UINT) => (0, u32::MAX.into()),
        ("UINT64", UINT64) => (0, largest),
        _ => return Err(UnsupportedError),
    };
    let mut reader = Reader::new(data, place.range())?;
    for i in 0..count {
        let varint = reader.varint()?;
        // As everywhere in protobuf, a number of 32 bits is the low half of the varint.
        let value = match field {
            BOOL => i64::from(varint != 0),
            INT => i64::from(varint as i32),
            UINT => i64::from(varint as u32),
            UINT64 => i64::try_from(varint).map_err(|_| UnsupportedError)?,
            _ => varint as i64,
        };
        if value < low || value > high {
            return Err(UnsupportedError);
        }
        take(i, value as f64);
    }
    if reader.is_empty() { Ok(()) } else { Err(UnsupportedError) }
}

/// `for_each_number` of raw bytes.
fn for_each_raw(datatype: &str, raw: &[u8], count: usize, mut take: impl FnMut(usize, f64)) -> Result<()> {
    macro_rules! each {
        ($type:ty, $convert:expr) => {{
            const SIZE: usize = size_of::<$type>();
            if count.checked_mul(SIZE) != Some(raw.len()) {
                return Err(UnsupportedError);
            }
            for (i, chunk) in raw.chunks_exact(SIZE).enumerate() {
                let mut bytes = [0; SIZE];
                bytes.copy_from_slice(chunk);
                let convert: fn($type) -> Option<f64> = $convert;
                take(i, convert(<$type>::from_le_bytes(bytes)).ok_or(UnsupportedError)?);
            }
        }};
    }
    match datatype {
        "FP64" => each!(f64, Some),
        "FP32" => each!(f32, |v| Some(v.into())),
        "INT8" => each!(i8, |v| Some(v.into())),
        "INT16" => each!(i16, |v| Some(v.into())),
        "INT32" => each!(i32, |v| Some(v.into())),
        "INT64" => each!(i64, |v| (v.unsigned_abs() <= LARGEST_WHOLE).then_some(v as f64)),
        "UINT8" => each!(u8, |v| Some(v.into())),
        "UINT16" => each!(u16, |v| Some(v.into())),
        "UINT32" => each!(u32, |v| Some(v.into())),
        "UINT64" => each!(u64, |v| (v <= LARGEST_WHOLE).then_some(v as f64)),
        "BOOL" => each!(u8, |v| (v <= 1).then_some(v.into())),
        _ => return Err(UnsupportedError),
    }
    Ok(())
}

/// Appends an output's values as raw bytes of a datatype.
///
/// # Errors
/// `GraphError`: the output has no values of that kind.
pub(crate) fn put_raw(
    out: &mut Vec<u8>,
    datatype: &str,
    binding: &IoBinding,
    index: usize,
) -> std::result::Result<(), GraphError> {
    let tensor = &binding.outputs()[index];
    if datatype == BYTES {
        let texts = tensor.texts()?;
        for text in (0..tensor.count()).map(|i| texts.get(i)) {
            out.extend_from_slice(&(text.len() as u32).to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        return Ok(());
    }
    macro_rules! put {
        ($type:ty) => {
            tensor.for_each_f64(|_, value| out.extend_from_slice(&(value as $type).to_le_bytes()))
        };
    }
    match datatype {
        "FP64" => put!(f64),
        "FP32" => put!(f32),
        "INT8" => put!(i8),
        "INT16" => put!(i16),
        "INT32" => put!(i32),
        "INT64" => put!(i64),
        "UINT8" => put!(u8),
        "UINT16" => put!(u16),
        "UINT32" => put!(u32),
        "UINT64" => put!(u64),
        "BOOL" => tensor.for_each_f64(|_, value| out.push(u8::from(value != 0.0))),
        _ => Err(GraphError(format!("outputs of {datatype} are not written here"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::protobuf::put_bytes_head;

    #[test]
    fn whole_numbers_beyond_doubles_are_unusual() {
        for (number, taken) in [(1_i64 << 53, true), (-(1 << 53), true), ((1 << 53) + 1, false)] {
            let found = for_each_raw("INT64", &number.to_le_bytes(), 1, |_, value| {
                assert_eq!(value as i64, number);
            });
            assert_eq!(found.is_ok(), taken);
        }
        assert!(for_each_raw("BOOL", &[2], 1, |_, _| ()).is_err());
    }

    #[test]
    fn elements_that_the_bytes_cannot_hold_are_known_by_their_number() {
        let mut data = Vec::new();
        put_bytes_head(&mut data, 1, 8);
        data.extend_from_slice(&[0; 8]);
        let mut reader = Reader::new(&data, 0..data.len()).unwrap();
        let place = reader.tag().and_then(|_| reader.bytes()).unwrap();
        for (elements, datatype, most) in [
            (Elements::Raw(place), "FP64", 1),
            (Elements::Raw(place), "INT32", 2),
            (Elements::Raw(place), "UINT16", 4),
            (Elements::Raw(place), "BOOL", 8),
            (Elements::Raw(place), "BYTES", 2),
            (Elements::Typed(FP64, place), "FP64", 1),
            (Elements::Typed(FP32, place), "FP32", 2),
            (Elements::Typed(INT, place), "INT32", 8),
            (Elements::Typed(TEXTS, place), "BYTES", 4),
        ] {
            assert!(elements.may_hold(datatype, most), "{elements:?} {datatype}");
            assert!(!elements.may_hold(datatype, most + 1), "{elements:?} {datatype}");
            assert!(!elements.may_hold(datatype, usize::MAX), "{elements:?} {datatype}");
        }
        assert_eq!(Elements::Raw(place).doubles("FP64", usize::MAX), None);
        assert!(for_each_raw("FP64", &[0; 8], usize::MAX, |_, _| ()).is_err());
    }
}
