//! A `ModelInferRequest` as it was sent, before the version's schema is known.

use crate::encodings::elements::{Elements, Result, UnsupportedError, read_contents};
use crate::protocol::protobuf::{DEPTH_LIMIT, Kind, Reader, Span};
use crate::rows::request::Request;

/// The most tensors of a request, and the most outputs that it asks for. The control plane answers requests
/// with more.
pub(crate) const MAX_TENSORS: usize = 1 << 12;
/// Tensors for which memory is kept between requests.
const KEPT_TENSORS: usize = 1 << 6;
/// The most sizes of a shape. A caller writes a size in one byte, and it takes eight here.
pub(crate) const MAX_RANK: usize = 32;

/// One tensor of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct SentTensor {
    pub name: Span,
    pub datatype: Span,
    /// The first size of the shape, and the product of the other sizes.
    pub rows: usize,
    pub rest: usize,
    shape: Vec<usize>,
    elements: Option<Elements>,
}

impl SentTensor {
    /// All sizes of the shape but the first.
    pub(crate) fn dims(&self) -> &[usize] {
        self.shape.get(1..).unwrap_or_default()
    }

    /// Where the elements stand, and how many the shape says. Fails where the bytes cannot hold so many.
    pub(crate) fn elements(&self, datatype: &str) -> Result<(Elements, usize)> {
        let found = self.elements.zip(self.rows.checked_mul(self.rest));
        found.filter(|(elements, count)| elements.may_hold(datatype, *count)).ok_or(UnsupportedError)
    }
}

/// The tensors of a `ModelInferRequest`, and the names of the outputs that it asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TensorRequest {
    pub id: Span,
    pub inputs: Vec<SentTensor>,
    pub wanted: Vec<Span>,
}

impl TensorRequest {
    /// Empties the request, and keeps memory for a few tensors.
    pub(crate) fn clear(&mut self) {
        self.id = Span::default();
        self.inputs.clear();
        self.wanted.clear();
        self.inputs.shrink_to(KEPT_TENSORS);
        self.wanted.shrink_to(KEPT_TENSORS);
    }
}

/// Reads a `ModelInferRequest`.
///
/// # Errors
/// `UnsupportedError`: the bytes do not parse, or the request has a form that is not read here.
pub(crate) fn read(request: &mut Request, tensors: &mut TensorRequest, data: &[u8]) -> Result<()> {
    let mut raws = 0;
    let mut reader = Reader::new(data, 0..data.len())?;
    while let Some((field, kind)) = reader.tag()? {
        match (field, kind) {
            (1, Kind::Bytes) => request.model = reader.text()?,
            (2, Kind::Bytes) => request.version = reader.text()?,
            (3, Kind::Bytes) => tensors.id = reader.text()?,
            (4, Kind::Bytes) => {
                let entry = reader.bytes()?;
                request.routing_key = routing_key(data, entry)?;
            }
            (5, Kind::Bytes) => {
                let input = reader.bytes()?;
                let sent = read_input(data, input)?;
                push(&mut tensors.inputs, sent)?;
            }
            (6, Kind::Bytes) => {
                let output = reader.bytes()?;
                let wanted = read_output(data, output)?;
                push(&mut tensors.wanted, wanted)?;
            }
            (7, Kind::Bytes) => {
                let raw = Elements::Raw(reader.bytes()?);
                // Protobuf's writers put raw contents behind all inputs, since their field number is larger.
                let sent = tensors.inputs.get_mut(raws).ok_or(UnsupportedError)?;
                raws += 1;
                if sent.elements.replace(raw).is_some() {
                    return Err(UnsupportedError);
                }
            }
            _ => reader.skip(field, kind, DEPTH_LIMIT)?,
        }
    }
    let inputs = &tensors.inputs;
    let all = raws == 0 || raws == inputs.len();
    let there = inputs.iter().all(|sent| sent.elements.is_some());
    if all && there && !inputs.is_empty() { Ok(()) } else { Err(UnsupportedError) }
}

fn push<T>(list: &mut Vec<T>, one: T) -> Result<()> {
    if list.len() == MAX_TENSORS {
        return Err(UnsupportedError);
    }
    list.push(one);
    Ok(())
}

/// The value of a parameter, which must be the routing key.
fn routing_key(data: &[u8], entry: Span) -> Result<Span> {
    let mut reader = Reader::new(data, entry.range())?;
    let (mut key, mut value) = (None, None);
    while let Some((field, kind)) = reader.tag()? {
        match (field, kind) {
            (1, Kind::Bytes) => key = Some(reader.text()?),
            (2, Kind::Bytes) => {
                let mut parameter = Reader::new(data, reader.bytes()?.range())?;
                match parameter.tag()? {
                    Some((3, Kind::Bytes)) => value = Some(parameter.text()?),
                    _ => return Err(UnsupportedError),
                }
                if parameter.tag()?.is_some() {
                    return Err(UnsupportedError);
                }
            }
            _ => return Err(UnsupportedError),
        }
    }
    match (key, value) {
        (Some(key), Some(value)) if key.text(data) == "routing_key" => Ok(value),
        _ => Err(UnsupportedError),
    }
}

fn read_input(data: &[u8], part: Span) -> Result<SentTensor> {
    let mut reader = Reader::new(data, part.range())?;
    let (mut sent, mut shape) = (SentTensor::default(), Vec::new());
    let mut push_size = |size: u64| {
        let size =
            usize::try_from(size).ok().filter(|&size| size <= u32::MAX as usize).ok_or(UnsupportedError)?;
        if shape.len() == MAX_RANK {
            return Err(UnsupportedError);
        }
        shape.push(size);
        Ok(())
    };
    while let Some((field, kind)) = reader.tag()? {
        match (field, kind) {
            (1, Kind::Bytes) => sent.name = reader.text()?,
            (2, Kind::Bytes) => sent.datatype = reader.text()?,
            (3, Kind::Varint) => push_size(reader.varint()?)?,
            (3, Kind::Bytes) => {
                let range = reader.bytes()?.range();
                let mut sizes = Reader::new(data, range)?;
                while !sizes.is_empty() {
                    push_size(sizes.varint()?)?;
                }
            }
            (5, Kind::Bytes) if sent.elements.is_none() => {
                let contents = reader.bytes()?;
                sent.elements = Some(read_contents(data, contents)?);
            }
            // A tensor with parameters, or with contents in several parts.
            (4 | 5, _) => return Err(UnsupportedError),
            _ => reader.skip(field, kind, DEPTH_LIMIT - 1)?,
        }
    }
    let (&rows, dims) = shape.split_first().ok_or(UnsupportedError)?;
    sent.rows = rows;
    sent.rest =
        dims.iter().try_fold(1_usize, |product, &size| product.checked_mul(size)).ok_or(UnsupportedError)?;
    sent.shape = shape;
    Ok(sent)
}

fn read_output(data: &[u8], part: Span) -> Result<Span> {
    let mut reader = Reader::new(data, part.range())?;
    let mut name = Span::default();
    while let Some((field, kind)) = reader.tag()? {
        match (field, kind) {
            (1, Kind::Bytes) => name = reader.text()?,
            (2, _) => return Err(UnsupportedError),
            _ => reader.skip(field, kind, DEPTH_LIMIT - 1)?,
        }
    }
    Ok(name)
}
