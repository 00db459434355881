//! ONNX models, as much as programs need, read from their bytes.
//!
//! Attributes and constants stay bytes until they are asked for. A model that cannot be read is malformed: loaders
//! audit models with the library of ONNX, so the reason is of no use here.
//!
//! What a message has once is malformed where it comes twice: of two attributes of one name, or of two versions of the
//! operators, this reader and onnxruntime could take different ones; Protocol Buffers would take the last of two numbers
//! and merge two messages.

use std::collections::HashSet;

use crate::program::plan::Kind;
use crate::program::protobuf::{Field, Fields, Malformed, chunks};

/// Numbers of element types.
pub(crate) const FLOAT: i32 = 1;
pub(crate) const UINT8: i32 = 2;
pub(crate) const INT8: i32 = 3;
pub(crate) const UINT16: i32 = 4;
pub(crate) const INT16: i32 = 5;
pub(crate) const INT32: i32 = 6;
pub(crate) const INT64: i32 = 7;
pub(crate) const STRING: i32 = 8;
pub(crate) const BOOL: i32 = 9;
pub(crate) const DOUBLE: i32 = 11;
pub(crate) const UINT32: i32 = 12;

/// The most nodes, and the most inputs, outputs and attributes of all nodes together.
const MOST_NODES: usize = 100_000;
const MOST_PARTS: usize = 4_000_000;
/// The most axes of a tensor.
pub(crate) const MOST_AXES: usize = 8;

#[derive(Debug)]
pub(crate) struct Model<'a> {
    /// The versions of the operators, by domain.
    pub opsets: Vec<(&'a str, i64)>,
    pub nodes: Vec<Node<'a>>,
    pub constants: Vec<Tensor<'a>>,
    pub inputs: Vec<Signature<'a>>,
    pub outputs: Vec<Signature<'a>>,
}

#[derive(Debug, Default)]
pub(crate) struct Node<'a> {
    pub domain: &'a str,
    pub operator: &'a str,
    pub inputs: Vec<&'a str>,
    pub outputs: Vec<&'a str>,
    attributes: Vec<Attribute<'a>>,
}

#[derive(Debug)]
struct Attribute<'a> {
    name: &'a str,
    message: &'a [u8],
}

#[derive(Debug, Default)]
pub(crate) struct Tensor<'a> {
    pub name: &'a str,
    pub element: i32,
    pub dims: Vec<usize>,
    message: &'a [u8],
}

/// An input or an output of the graph.
#[derive(Debug, Default)]
pub(crate) struct Signature<'a> {
    pub name: &'a str,
    /// 0 for what is no tensor.
    pub element: i32,
    /// The sizes; `None` for a tensor without a shape.
    pub dims: Option<Vec<Size<'a>>>,
}

/// The size of an axis of an input or an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size<'a> {
    Fixed(usize),
    /// A name, or an empty text.
    Free(&'a str),
}

/// The values of a constant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Data {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I64(Vec<i64>),
    Bool(Vec<bool>),
}

impl Data {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::F32(_) => Kind::F32,
            Self::F64(_) => Kind::F64,
            Self::I64(_) => Kind::I64,
            Self::Bool(_) => Kind::Bool,
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
            Self::I64(values) => values.len(),
            Self::Bool(values) => values.len(),
        }
    }
}

impl<'a> Model<'a> {
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut graph = None;
        let mut opsets = Vec::new();
        for field in Fields::of(bytes) {
            match field? {
                (7, value) => once(&mut graph, value.bytes()?)?,
                (8, value) => opsets.push(opset(value.bytes()?)?),
                // Functions, which may have the names of operators.
                (25, _) => return Err(Malformed),
                _ => {}
            }
        }
        let (mut nodes, mut constants, mut inputs, mut outputs) = (vec![], vec![], vec![], vec![]);
        let mut parts = 0;
        for field in Fields::of(graph.ok_or(Malformed)?) {
            match field? {
                (1, value) => nodes.push(node(value.bytes()?, &mut parts)?),
                (5, value) => constants.push(Tensor::read(value.bytes()?)?),
                (11, value) => inputs.push(signature(value.bytes()?)?),
                (12, value) => outputs.push(signature(value.bytes()?)?),
                // Constants that are sparse.
                (15, _) => return Err(Malformed),
                _ => {}
            }
            parts += 1;
            if nodes.len() > MOST_NODES || parts > MOST_PARTS {
                return Err(Malformed);
            }
        }
        // Two names of one domain are one, too.
        let domains = opsets.iter().map(|(domain, _)| if *domain == "ai.onnx" { "" } else { *domain });
        all_differ(domains)?;
        Ok(Self { opsets, nodes, constants, inputs, outputs })
    }
}

/// Sets what a message has once.
fn once<T>(place: &mut Option<T>, value: T) -> Result<(), Malformed> {
    if place.replace(value).is_some() { Err(Malformed) } else { Ok(()) }
}

fn all_differ<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), Malformed> {
    let mut known = HashSet::new();
    for name in names {
        if !known.insert(name) {
            return Err(Malformed);
        }
    }
    Ok(())
}

fn opset(message: &[u8]) -> Result<(&str, i64), Malformed> {
    let (mut domain, mut version) = (None, None);
    for field in Fields::of(message) {
        match field? {
            (1, value) => once(&mut domain, value.text()?)?,
            (2, value) => once(&mut version, value.integer()?)?,
            _ => {}
        }
    }
    Ok((domain.unwrap_or_default(), version.unwrap_or_default()))
}

fn node<'a>(message: &'a [u8], parts: &mut usize) -> Result<Node<'a>, Malformed> {
    let mut node = Node::default();
    let (mut operator, mut domain) = (None, None);
    for field in Fields::of(message) {
        match field? {
            (1, value) => node.inputs.push(value.text()?),
            (2, value) => node.outputs.push(value.text()?),
            (4, value) => once(&mut operator, value.text()?)?,
            (5, value) => node.attributes.push(Attribute::read(value.bytes()?)?),
            (7, value) => once(&mut domain, value.text()?)?,
            _ => {}
        }
        *parts += 1;
        if *parts > MOST_PARTS {
            return Err(Malformed);
        }
    }
    all_differ(node.attributes.iter().map(|attribute| attribute.name))?;
    Ok(Node { operator: operator.unwrap_or_default(), domain: domain.unwrap_or_default(), ..node })
}

fn signature(message: &[u8]) -> Result<Signature<'_>, Malformed> {
    let (mut name, mut held) = (None, None);
    for field in Fields::of(message) {
        match field? {
            (1, value) => once(&mut name, value.text()?)?,
            (2, value) => once(&mut held, value.bytes()?)?,
            _ => {}
        }
    }
    let mut tensor = None;
    for field in Fields::of(held.unwrap_or_default()) {
        if let (1, value) = field? {
            once(&mut tensor, value.bytes()?)?;
        }
    }
    let (mut element, mut dims) = (None, None);
    for field in Fields::of(tensor.unwrap_or_default()) {
        match field? {
            (1, value) => once(&mut element, element_of(value)?)?,
            (2, value) => once(&mut dims, shape(value.bytes()?)?)?,
            _ => {}
        }
    }
    Ok(Signature { name: name.unwrap_or_default(), element: element.unwrap_or_default(), dims })
}

fn element_of(field: Field<'_>) -> Result<i32, Malformed> {
    i32::try_from(field.integer()?).map_err(|_| Malformed)
}

fn shape(message: &[u8]) -> Result<Vec<Size<'_>>, Malformed> {
    let mut dims = Vec::new();
    for field in Fields::of(message) {
        let (1, value) = field? else { continue };
        let mut size = None;
        for field in Fields::of(value.bytes()?) {
            match field? {
                (1, value) => {
                    let fixed = usize::try_from(value.integer()?).map_err(|_| Malformed)?;
                    once(&mut size, Size::Fixed(fixed))?;
                }
                (2, value) => once(&mut size, Size::Free(value.text()?))?,
                _ => {}
            }
        }
        dims.push(size.unwrap_or(Size::Free("")));
    }
    Ok(dims)
}

impl<'a> Tensor<'a> {
    fn read(message: &'a [u8]) -> Result<Self, Malformed> {
        let (mut element, mut name, mut dims) = (None, None, Vec::new());
        for field in Fields::of(message) {
            match field? {
                (1, value) => value.push_integers(&mut dims)?,
                (2, value) => once(&mut element, element_of(value)?)?,
                (8, value) => once(&mut name, value.text()?)?,
                (14, Field::Varint(0)) => {}
                // Segments, and values that are in other files.
                (3 | 13 | 14, _) => return Err(Malformed),
                _ => {}
            }
        }
        if dims.len() > MOST_AXES {
            return Err(Malformed);
        }
        let sizes = dims.into_iter().map(|size| usize::try_from(size).map_err(|_| Malformed));
        Ok(Self {
            name: name.unwrap_or_default(),
            element: element.unwrap_or_default(),
            dims: sizes.collect::<Result<_, _>>()?,
            message,
        })
    }

    /// The values, as many as the shape says; `None` for other types than float, double, bool and whole numbers.
    pub(crate) fn data(&self) -> Result<Option<Data>, Malformed> {
        // The field in which the type has its integers, and their range. An integer of more bits is cut to its type
        // elsewhere.
        let (field, range) = match self.element {
            INT64 => (7, i64::MIN..=i64::MAX),
            INT32 => (5, i32::MIN.into()..=i32::MAX.into()),
            INT16 => (5, i16::MIN.into()..=i16::MAX.into()),
            INT8 => (5, i8::MIN.into()..=i8::MAX.into()),
            UINT32 => (11, 0..=u32::MAX.into()),
            UINT16 => (5, 0..=u16::MAX.into()),
            UINT8 => (5, 0..=u8::MAX.into()),
            _ => (5, 0..=1),
        };
        let (mut raw, mut floats, mut doubles, mut integers) = (None, vec![], vec![], vec![]);
        for each in Fields::of(self.message) {
            match each? {
                (4, value) => value.push_floats(&mut floats)?,
                (9, value) => once(&mut raw, value.bytes()?)?,
                (10, value) => value.push_doubles(&mut doubles)?,
                (number, value) if number == field => value.push_integers(&mut integers)?,
                _ => {}
            }
        }
        if let Some(raw) = raw {
            match self.element {
                FLOAT => floats = items(raw, f32::from_le_bytes)?,
                DOUBLE => doubles = items(raw, f64::from_le_bytes)?,
                INT64 => integers = items(raw, i64::from_le_bytes)?,
                INT32 => integers = items(raw, |bytes| i64::from(i32::from_le_bytes(bytes)))?,
                UINT32 => integers = items(raw, |bytes| i64::from(u32::from_le_bytes(bytes)))?,
                INT16 => integers = items(raw, |bytes| i64::from(i16::from_le_bytes(bytes)))?,
                UINT16 => integers = items(raw, |bytes| i64::from(u16::from_le_bytes(bytes)))?,
                INT8 => integers = items(raw, |bytes| i64::from(i8::from_le_bytes(bytes)))?,
                UINT8 | BOOL => integers = items(raw, |bytes| i64::from(u8::from_le_bytes(bytes)))?,
                _ => {}
            }
        }
        let data = match self.element {
            FLOAT => Data::F32(floats),
            DOUBLE => Data::F64(doubles),
            BOOL | INT64 | INT32 | INT16 | INT8 | UINT32 | UINT16 | UINT8 => {
                if !integers.iter().all(|value| range.contains(value)) {
                    return Err(Malformed);
                }
                match self.element {
                    BOOL => Data::Bool(integers.into_iter().map(|value| value != 0).collect()),
                    _ => Data::I64(integers),
                }
            }
            _ => return Ok(None),
        };
        let count = self.dims.iter().try_fold(1_usize, |count, size| count.checked_mul(*size));
        if count == Some(data.len()) { Ok(Some(data)) } else { Err(Malformed) }
    }
}

fn items<const N: usize, T>(raw: &[u8], of: impl Fn([u8; N]) -> T) -> Result<Vec<T>, Malformed> {
    Ok(chunks(raw)?.iter().map(|bytes| of(*bytes)).collect())
}

impl<'a> Attribute<'a> {
    fn read(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut name = None;
        // Whether it has had each field that is not a list: a number, a text, a tensor, a graph, its type.
        let mut single = [false; 21];
        for field in Fields::of(message) {
            match field? {
                (1, value) => once(&mut name, value.text()?)?,
                (at @ (2..=6 | 20), _) if std::mem::replace(&mut single[at as usize], true) => {
                    return Err(Malformed);
                }
                _ => {}
            }
        }
        Ok(Self { name: name.ok_or(Malformed)?, message })
    }

    fn fields(&self) -> Fields<'a> {
        Fields::of(self.message)
    }
}

impl<'a> Node<'a> {
    fn attribute(&self, name: &str) -> Option<&Attribute<'a>> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }

    fn single(&self, name: &str, number: u64) -> Result<Option<Field<'a>>, Malformed> {
        let Some(attribute) = self.attribute(name) else { return Ok(None) };
        for field in attribute.fields() {
            match field? {
                (at, value) if at == number => return Ok(Some(value)),
                _ => {}
            }
        }
        Err(Malformed)
    }

    /// An integer, or `default` where the node does not say.
    pub(crate) fn integer(&self, name: &str, default: i64) -> Result<i64, Malformed> {
        self.single(name, 3)?.map_or(Ok(default), Field::integer)
    }

    /// A float, or `default` where the node does not say.
    pub(crate) fn float(&self, name: &str, default: f32) -> Result<f32, Malformed> {
        self.single(name, 2)?.map_or(Ok(default), Field::float)
    }

    pub(crate) fn integers(&self, name: &str) -> Result<Option<Vec<i64>>, Malformed> {
        let Some(attribute) = self.attribute(name) else { return Ok(None) };
        let mut values = Vec::new();
        for field in attribute.fields() {
            let (at, value) = field?;
            if at == 8 {
                value.push_integers(&mut values)?;
            }
        }
        Ok(Some(values))
    }

    pub(crate) fn tensor(&self, name: &str) -> Result<Option<Tensor<'a>>, Malformed> {
        self.single(name, 5)?.map(|field| Tensor::read(field.bytes()?)).transpose()
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<&'a str>, Malformed> {
        self.single(name, 4)?.map(Field::text).transpose()
    }

    /// The names of all attributes.
    pub(crate) fn attribute_names(&self) -> impl Iterator<Item = &'a str> {
        self.attributes.iter().map(|attribute| attribute.name)
    }
}
