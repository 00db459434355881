//! The Open Inference Protocol's tensors: a ModelInferRequest read to positional rows, and the
//! answer to it.
//!
//! What most callers send is read here: tensors of plain types, all of them raw or all as typed
//! contents, without parameters but a routing key. All else, and all that is wrong, is `Unusual`,
//! and goes to the control plane, which knows every way and has the words for failures.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::encodings::elements::{Elements, Result, Unusual, put_raw, read_contents};
use crate::encodings::positional::headed;
use crate::onnx::runtime::{Frame, RuntimeError};
use crate::protocol::protobuf::{self, DEPTH_LIMIT, Kind, Reader, Request, Span};

const DOUBLE: usize = 8;
/// Tensors of a request, and outputs that it asks for; more are left to the control plane.
const MAX_TENSORS: usize = 1 << 12;
/// Tensors for which room is kept.
const KEPT_TENSORS: usize = 1 << 6;

/// Sizes of a shape; a caller writes one in a byte, and more have room made for each.
const MAX_RANK: usize = 32;

/// One tensor of a request.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sent {
    name: Span,
    datatype: Span,
    /// The first size of the shape, and the product of the others.
    rows: usize,
    rest: usize,
    shape: Vec<usize>,
    elements: Option<Elements>,
}

impl Sent {
    /// The sizes behind the first.
    fn dims(&self) -> &[usize] {
        self.shape.get(1..).unwrap_or_default()
    }

    /// Its elements, and how many there must be; its bytes can hold that many.
    fn elements(&self, datatype: &str) -> Result<(Elements, usize)> {
        let found = self.elements.zip(self.rows.checked_mul(self.rest));
        found.filter(|(elements, count)| elements.may_hold(datatype, *count)).ok_or(Unusual)
    }
}

/// What a ModelInferRequest has beside its names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parts {
    pub id: Span,
    inputs: Vec<Sent>,
    wanted: Vec<Span>,
}

impl Parts {
    /// Forgets what was read, and keeps the room for a little of it.
    pub fn clear(&mut self) {
        self.id = Span::default();
        self.inputs.clear();
        self.wanted.clear();
        self.inputs.shrink_to(KEPT_TENSORS);
        self.wanted.shrink_to(KEPT_TENSORS);
    }
}

/// Reads a ModelInferRequest.
///
/// # Errors
/// It is unusual, or none.
pub fn read(request: &mut Request, data: &[u8]) -> Result<()> {
    request.clear();
    let mut raws = 0;
    let mut reader = Reader::new(data, 0..data.len())?;
    while let Some((field, kind)) = reader.tag()? {
        match (field, kind) {
            (1, Kind::Bytes) => request.model = reader.text()?,
            (2, Kind::Bytes) => request.version = reader.text()?,
            (3, Kind::Bytes) => request.tensors.id = reader.text()?,
            (4, Kind::Bytes) => {
                let entry = reader.bytes()?;
                request.routing_key = routing_key(data, entry)?;
            }
            (5, Kind::Bytes) => {
                let input = reader.bytes()?;
                let sent = read_input(data, input)?;
                push(&mut request.tensors.inputs, sent)?;
            }
            (6, Kind::Bytes) => {
                let output = reader.bytes()?;
                let wanted = read_output(data, output)?;
                push(&mut request.tensors.wanted, wanted)?;
            }
            (7, Kind::Bytes) => {
                let raw = Elements::Raw(reader.bytes()?);
                // Raw contents stand behind the inputs, as writers write them.
                let sent = request.tensors.inputs.get_mut(raws).ok_or(Unusual)?;
                raws += 1;
                if sent.elements.replace(raw).is_some() {
                    return Err(Unusual);
                }
            }
            _ => reader.skip(field, kind, DEPTH_LIMIT)?,
        }
    }
    let inputs = &request.tensors.inputs;
    let all = raws == 0 || raws == inputs.len();
    let there = inputs.iter().all(|sent| sent.elements.is_some());
    if all && there && !inputs.is_empty() { Ok(()) } else { Err(Unusual) }
}

fn push<T>(list: &mut Vec<T>, one: T) -> Result<()> {
    if list.len() == MAX_TENSORS {
        return Err(Unusual);
    }
    list.push(one);
    Ok(())
}

/// The value of the only parameter that is usual.
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
                    _ => return Err(Unusual),
                }
                if parameter.tag()?.is_some() {
                    return Err(Unusual);
                }
            }
            _ => return Err(Unusual),
        }
    }
    match (key, value) {
        (Some(key), Some(value)) if key.text(data) == "routing_key" => Ok(value),
        _ => Err(Unusual),
    }
}

fn read_input(data: &[u8], part: Span) -> Result<Sent> {
    let mut reader = Reader::new(data, part.range())?;
    let (mut sent, mut shape) = (Sent::default(), Vec::new());
    let mut push_size = |size: u64| {
        let size = usize::try_from(size).ok().filter(|&size| size <= u32::MAX as usize).ok_or(Unusual)?;
        if shape.len() == MAX_RANK {
            return Err(Unusual);
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
            // Parameters are unusual, and contents in parts.
            (4 | 5, _) => return Err(Unusual),
            _ => reader.skip(field, kind, DEPTH_LIMIT - 1)?,
        }
    }
    let (&rows, dims) = shape.split_first().ok_or(Unusual)?;
    sent.rows = rows;
    sent.rest = dims.iter().try_fold(1_usize, |product, &size| product.checked_mul(size)).ok_or(Unusual)?;
    sent.shape = shape;
    Ok(sent)
}

fn read_output(data: &[u8], part: Span) -> Result<Span> {
    let mut reader = Reader::new(data, part.range())?;
    let mut name = Span::default();
    while let Some((field, kind)) = reader.tag()? {
        match (field, kind) {
            (1, Kind::Bytes) => name = reader.text()?,
            (2, _) => return Err(Unusual),
            _ => reader.skip(field, kind, DEPTH_LIMIT - 1)?,
        }
    }
    Ok(name)
}

/// A tensor that a version takes.
pub struct Input {
    pub name: String,
    pub texts: bool,
    pub dims: Vec<usize>,
    /// Whether a request may lack it.
    pub optional: bool,
    /// Its first value's position in a row, among the numbers or among the texts.
    pub start: usize,
}

/// A tensor that a version answers with.
pub struct Output {
    pub name: String,
    pub datatype: String,
    pub dims: Vec<usize>,
}

/// The tensors of one version.
pub struct Interface {
    inputs: Vec<Input>,
    // Its keys come from the bundle, so that no caller can make them collide.
    by_name: HashMap<Vec<u8>, usize, RandomState>,
    outputs: Vec<Output>,
    number_count: usize,
    text_count: usize,
    /// The fields `model_name` and `model_version` of an answer.
    head: Vec<u8>,
}

impl Interface {
    pub fn new(names: (&str, &str), inputs: Vec<Input>, outputs: Vec<Output>) -> Self {
        let count = |texts: bool| {
            let widths = inputs.iter().filter(|input| input.texts == texts).map(Input::width);
            widths.sum()
        };
        let mut head = Vec::new();
        for (field, text) in [(1, names.0), (2, names.1)] {
            protobuf::put_bytes_head(&mut head, field, text.len());
            head.extend_from_slice(text.as_bytes());
        }
        let by_name =
            inputs.iter().zip(0..).map(|(input, index)| (input.name.clone().into_bytes(), index)).collect();
        Self { number_count: count(false), text_count: count(true), inputs, by_name, outputs, head }
    }

    /// Puts the tensors of a request into its positional rows.
    ///
    /// # Errors
    /// They are unusual, are not those of this version, or have more than `max_rows` rows.
    pub fn fill(&self, request: &mut Request, data: &[u8], max_rows: u32) -> Result<()> {
        let parts = std::mem::take(&mut request.tensors);
        let filled = self.fill_from(&parts, request, data, max_rows);
        request.tensors = parts;
        filled
    }

    fn fill_from(&self, parts: &Parts, request: &mut Request, data: &[u8], max_rows: u32) -> Result<()> {
        let rows = parts.inputs[0].rows;
        request.row_count = u32::try_from(rows).ok().filter(|rows| *rows <= max_rows).ok_or(Unusual)?;
        self.check_wanted(parts, data)?;
        if let ([sent], 0) = (&parts.inputs[..], self.text_count) {
            if !self.by_name.contains_key(sent.name.of(data)) {
                return self.fill_all(request, data, sent);
            }
        }
        // All that is said is checked against what is there, before room is made for the rows.
        let found = self.find(parts, rows, data)?;
        for _ in 0..rows * self.number_count {
            request.gathered.extend_from_slice(&f64::NAN.to_le_bytes());
        }
        request.texts.resize(rows * self.text_count, Span::default());
        for (input, sent) in found.iter().map(|&index| &self.inputs[index]).zip(&parts.inputs) {
            let (width, start) = (input.width(), input.start);
            let datatype = sent.datatype.text(data);
            let (elements, count) = sent.elements(datatype)?;
            if input.texts {
                let (texts, per_row) = (&mut request.texts, self.text_count);
                elements.for_each_text(datatype, data, count, |i, text| {
                    texts[i / width * per_row + start + i % width] = text
                })?;
            } else {
                let (numbers, per_row) = (&mut request.gathered, self.number_count);
                elements.for_each_number(datatype, data, count, |i, number| {
                    let place = (i / width * per_row + start + i % width) * DOUBLE;
                    numbers[place..place + DOUBLE].copy_from_slice(&number.to_le_bytes());
                })?;
            }
        }
        Ok(())
    }

    /// Whether each output that a request asks for is there, and is asked for once.
    fn check_wanted(&self, parts: &Parts, data: &[u8]) -> Result<()> {
        if parts.wanted.len() > self.outputs.len() {
            return Err(Unusual);
        }
        for (i, wanted) in parts.wanted.iter().enumerate() {
            let is = |other: &Span| other.of(data) == wanted.of(data);
            let known = self.outputs.iter().any(|output| output.name.as_bytes() == wanted.of(data));
            if !known || parts.wanted[..i].iter().any(is) {
                return Err(Unusual);
            }
        }
        Ok(())
    }

    /// The index of the input that each tensor of a request is for. All have so many rows and the
    /// elements that their shapes say, and none is there twice or missing.
    fn find(&self, parts: &Parts, rows: usize, data: &[u8]) -> Result<Vec<usize>> {
        let mut seen = vec![false; self.inputs.len()];
        let mut found = Vec::with_capacity(parts.inputs.len());
        for (i, sent) in parts.inputs.iter().enumerate() {
            let name = sent.name.of(data);
            // Most callers send the inputs in their order.
            let in_order = self.inputs.get(i).is_some_and(|input| input.name.as_bytes() == name).then_some(i);
            let index = in_order.or_else(|| self.by_name.get(name).copied()).ok_or(Unusual)?;
            let input = &self.inputs[index];
            let fits = sent.dims() == input.dims || (input.width() == 1 && sent.rest == 1);
            if sent.rows != rows || !fits || std::mem::replace(&mut seen[index], true) {
                return Err(Unusual);
            }
            sent.elements(sent.datatype.text(data))?;
            found.push(index);
        }
        let there = |(input, seen): (&Input, bool)| input.optional || seen;
        if self.inputs.iter().zip(seen).all(there) { Ok(found) } else { Err(Unusual) }
    }

    /// Takes one tensor of all features.
    fn fill_all(&self, request: &mut Request, data: &[u8], sent: &Sent) -> Result<()> {
        if sent.dims() != [self.number_count] {
            return Err(Unusual);
        }
        let datatype = sent.datatype.text(data);
        let (elements, count) = sent.elements(datatype)?;
        if let Some(run) = elements.doubles(datatype, count) {
            request.take_run(run);
            return Ok(());
        }
        let numbers = &mut request.gathered;
        elements.for_each_number(datatype, data, count, |_, number| {
            numbers.extend_from_slice(&number.to_le_bytes());
        })
    }

    /// Writes a ModelInferResponse, in a ModelStreamInferResponse where it is one of a stream.
    ///
    /// # Errors
    /// A text of the model's is not UTF-8.
    pub fn write(
        &self,
        request: &Request,
        data: &[u8],
        frame: &Frame,
        streamed: bool,
    ) -> std::result::Result<Vec<u8>, RuntimeError> {
        let parts = &request.tensors;
        let place = |name: &Span| self.outputs.iter().position(|output| output.name == name.text(data));
        let chosen = if parts.wanted.is_empty() {
            (0..self.outputs.len()).collect()
        } else {
            parts.wanted.iter().filter_map(place).collect::<Vec<_>>()
        };
        let mut out = self.head.clone();
        put_text(&mut out, 3, parts.id.of(data));
        let mut field = Vec::new();
        for &index in &chosen {
            let output = &self.outputs[index];
            field.clear();
            put_text(&mut field, 1, output.name.as_bytes());
            put_text(&mut field, 2, output.datatype.as_bytes());
            let sizes = || std::iter::once(request.row_count as usize).chain(output.dims.iter().copied());
            let length = sizes().map(|size| protobuf::varint_len(size as u64)).sum();
            protobuf::put_bytes_head(&mut field, 3, length);
            sizes().for_each(|size| protobuf::put_varint(&mut field, size as u64));
            protobuf::put_bytes_head(&mut out, 5, field.len());
            out.extend_from_slice(&field);
        }
        for &index in &chosen {
            field.clear();
            put_raw(&mut field, &self.outputs[index].datatype, frame, index)?;
            protobuf::put_bytes_head(&mut out, 6, field.len());
            out.extend_from_slice(&field);
        }
        let length = if streamed { protobuf::bytes_field_len(2, out.len()) } else { out.len() };
        let mut framed = headed(length);
        if streamed {
            protobuf::put_bytes_head(&mut framed, 2, out.len());
        }
        framed.extend_from_slice(&out);
        Ok(framed)
    }
}

impl Input {
    fn width(&self) -> usize {
        self.dims.iter().product()
    }
}

/// Writes a ModelStreamInferResponse that says why there are no tensors.
pub fn encode_stream_error(id: &[u8], message: &str) -> Vec<u8> {
    let (mut out, mut inner) = (Vec::new(), Vec::new());
    put_text(&mut out, 1, message.as_bytes());
    put_text(&mut inner, 3, id);
    protobuf::put_bytes_head(&mut out, 2, inner.len());
    out.extend_from_slice(&inner);
    let mut framed = headed(out.len());
    framed.extend_from_slice(&out);
    framed
}

/// Appends a field of text; "" is not written.
fn put_text(out: &mut Vec<u8>, field: u32, text: &[u8]) {
    if !text.is_empty() {
        protobuf::put_bytes_head(out, field, text.len());
        out.extend_from_slice(text);
    }
}
