//! The Open Inference Protocol's tensors: a ModelInferRequest read to positional rows, and the
//! answer to it.
//!
//! What most callers send is read here: tensors of plain types, all of them raw or all as typed
//! contents, without parameters but a routing key. All else, and all that is wrong, is `Unusual`,
//! and goes to the control plane, which knows every way and has the words for failures.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::answer::headed;
use crate::elements::{Elements, Result, Unusual, put_raw, read_contents};
use crate::runtime::{Frame, RuntimeError};
use crate::wire::{self, DEPTH_LIMIT, Kind, Reader, Request, Span};

const DOUBLE: usize = 8;

/// One tensor of a request.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sent {
    name: Span,
    datatype: Span,
    /// The first size of the shape, and the product of the others.
    rows: usize,
    rest: usize,
    /// The sizes behind the first.
    dims: Vec<usize>,
    elements: Option<Elements>,
}

impl Sent {
    /// Its elements, and how many there must be.
    fn elements(&self) -> Result<(Elements, usize)> {
        self.elements.zip(self.rows.checked_mul(self.rest)).ok_or(Unusual)
    }
}

/// What a ModelInferRequest has beside its names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parts {
    pub id: Span,
    inputs: Vec<Sent>,
    wanted: Vec<Span>,
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
                request.tensors.inputs.push(sent);
            }
            (6, Kind::Bytes) => {
                let output = reader.bytes()?;
                let wanted = read_output(data, output)?;
                request.tensors.wanted.push(wanted);
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
    let size =
        |size: u64| usize::try_from(size).ok().filter(|&size| size <= u32::MAX as usize).ok_or(Unusual);
    while let Some((field, kind)) = reader.tag()? {
        match (field, kind) {
            (1, Kind::Bytes) => sent.name = reader.text()?,
            (2, Kind::Bytes) => sent.datatype = reader.text()?,
            (3, Kind::Varint) => shape.push(size(reader.varint()?)?),
            (3, Kind::Bytes) => {
                let range = reader.bytes()?.range();
                let mut sizes = Reader::new(data, range)?;
                while !sizes.is_empty() {
                    shape.push(size(sizes.varint()?)?);
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
    sent.dims = dims.to_vec();
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
    by_name: HashMap<String, usize, RandomState>,
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
            wire::put_bytes_head(&mut head, field, text.len());
            head.extend_from_slice(text.as_bytes());
        }
        let by_name = inputs.iter().zip(0..).map(|(input, index)| (input.name.clone(), index)).collect();
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
        let known = |name: &Span| self.outputs.iter().any(|output| output.name == name.text(data));
        if !parts.wanted.iter().all(known) {
            return Err(Unusual);
        }
        if let ([sent], 0) = (&parts.inputs[..], self.text_count) {
            if !self.by_name.contains_key(sent.name.text(data)) {
                return self.fill_all(request, data, sent);
            }
        }
        for _ in 0..rows * self.number_count {
            request.gathered.extend_from_slice(&f64::NAN.to_le_bytes());
        }
        request.texts.resize(rows * self.text_count, Span::default());
        let mut seen = vec![false; self.inputs.len()];
        for (i, sent) in parts.inputs.iter().enumerate() {
            let name = sent.name.text(data);
            // Most callers send the inputs in their order.
            let in_order = self.inputs.get(i).is_some_and(|input| input.name == name).then_some(i);
            let index = in_order.or_else(|| self.by_name.get(name).copied()).ok_or(Unusual)?;
            let input = &self.inputs[index];
            let fits = sent.dims == input.dims || (input.width() == 1 && sent.rest == 1);
            if sent.rows != rows || !fits || std::mem::replace(&mut seen[index], true) {
                return Err(Unusual);
            }
            let (width, start) = (input.width(), input.start);
            let ((elements, count), datatype) = (sent.elements()?, sent.datatype.text(data));
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
        let there = |(input, seen): (&Input, bool)| input.optional || seen;
        if self.inputs.iter().zip(seen).all(there) { Ok(()) } else { Err(Unusual) }
    }

    /// Takes one tensor of all features.
    fn fill_all(&self, request: &mut Request, data: &[u8], sent: &Sent) -> Result<()> {
        if sent.dims != [self.number_count] {
            return Err(Unusual);
        }
        let (elements, count) = sent.elements()?;
        let datatype = sent.datatype.text(data);
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
            let length = sizes().map(|size| wire::varint_len(size as u64)).sum();
            wire::put_bytes_head(&mut field, 3, length);
            sizes().for_each(|size| wire::put_varint(&mut field, size as u64));
            wire::put_bytes_head(&mut out, 5, field.len());
            out.extend_from_slice(&field);
        }
        for &index in &chosen {
            field.clear();
            put_raw(&mut field, &self.outputs[index].datatype, frame, index)?;
            wire::put_bytes_head(&mut out, 6, field.len());
            out.extend_from_slice(&field);
        }
        let length = if streamed { wire::bytes_field_len(out.len()) } else { out.len() };
        let mut framed = headed(length);
        if streamed {
            wire::put_bytes_head(&mut framed, 2, out.len());
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
    wire::put_bytes_head(&mut out, 2, inner.len());
    out.extend_from_slice(&inner);
    let mut framed = headed(out.len());
    framed.extend_from_slice(&out);
    framed
}

/// Appends a field of text; "" is not written.
fn put_text(out: &mut Vec<u8>, field: u8, text: &[u8]) {
    if !text.is_empty() {
        wire::put_bytes_head(out, field, text.len());
        out.extend_from_slice(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        wire::put_bytes_head(&mut out, number, content.len());
        out.extend_from_slice(content);
        out
    }

    fn tensor(name: &str, datatype: &str, shape: &[u8]) -> Vec<u8> {
        field(5, &[field(1, name.as_bytes()), field(2, datatype.as_bytes()), field(3, shape)].concat())
    }

    fn interface() -> Interface {
        let input = |name: &str, texts, start| Input {
            name: name.into(),
            texts,
            dims: vec![1],
            optional: name == "b",
            start,
        };
        Interface::new(
            ("m", "1"),
            vec![input("a", false, 0), input("t", true, 0), input("b", false, 1)],
            vec![],
        )
    }

    fn filled(data: &[u8]) -> Result<(Vec<f64>, Vec<String>)> {
        let mut request = Request::default();
        read(&mut request, data)?;
        interface().fill(&mut request, data, 10)?;
        let chunks = request.numbers(data).chunks_exact(DOUBLE);
        let numbers = chunks.map(|chunk| f64::from_le_bytes(chunk.try_into().unwrap())).collect();
        Ok((numbers, request.texts.iter().map(|text| text.text(data).to_owned()).collect()))
    }

    fn usual() -> Vec<Vec<u8>> {
        vec![
            field(1, b"m"),
            tensor("t", "BYTES", &[2, 1]),
            tensor("a", "INT32", &[2]),
            field(7, b"\x02\0\0\0de\0\0\0\0"),
            field(7, &[1, 0, 0, 0, 255, 255, 255, 255]),
        ]
    }

    #[test]
    fn tensors_become_rows() {
        let (numbers, texts) = filled(&usual().concat()).unwrap();
        assert_eq!((numbers[0], numbers[2]), (1.0, -1.0));
        assert!(numbers[1].is_nan() && numbers[3].is_nan());
        assert_eq!(texts, ["de", ""]);
    }

    #[test]
    fn typed_contents_are_rows_as_raw_ones_are() {
        let sent = |name: &str, datatype: &str, contents: &[u8]| {
            let parts = [field(1, name.as_bytes()), field(2, datatype.as_bytes()), field(3, &[2])];
            field(5, &[parts.concat(), field(5, contents)].concat())
        };
        let texts = [field(8, b"de"), field(8, b"")].concat();
        let minus_one = [&[0xff; 9][..], &[1]].concat();
        let numbers = field(2, &[&[1][..], &minus_one].concat());
        let words = sent("t", "BYTES", &texts);
        let beside = |parts: Vec<u8>| filled(&[&words[..], &parts].concat());
        let (found, words) = beside(sent("a", "INT32", &numbers)).unwrap();
        assert_eq!((found[0], found[2], words), (1.0, -1.0, vec!["de".into(), String::new()]));
        let run: Vec<u8> = [1.5_f64, 2.5].iter().flat_map(|number| number.to_le_bytes()).collect();
        assert_eq!(beside(sent("a", "FP64", &field(7, &run))).unwrap().0[2], 2.5);
        let raw = field(7, &[0; 16]);
        for unusual in [
            sent("a", "FP32", &field(7, &run)),
            sent("a", "INT32", &field(2, &[1])),
            sent("a", "INT8", &field(2, &[1, 0x80, 1])),
            sent("a", "INT32", &[field(2, &[1]), field(2, &[1])].concat()),
            sent("a", "INT32", &[]),
            [sent("a", "FP64", &field(7, &run)), raw.clone()].concat(),
            tensor("a", "FP64", &[2]),
            [tensor("a", "FP64", &[2]), raw].concat(),
        ] {
            assert_eq!(beside(unusual.clone()).err(), Some(Unusual), "{unusual:?}");
        }
    }

    #[test]
    fn no_change_of_a_byte_and_no_cut_makes_it_panic() {
        let contents = field(5, &field(8, b"de"));
        let typed = field(5, &[field(1, b"t"), field(2, b"BYTES"), field(3, &[1, 1]), contents].concat());
        let numbers = field(5, &field(2, &[0x80, 1]));
        let typed_numbers = field(5, &[field(1, b"a"), field(2, b"INT32"), field(3, &[1]), numbers].concat());
        for message in [usual().concat(), [typed, typed_numbers].concat()] {
            assert!(filled(&message).is_ok());
            for at in 0..message.len() {
                let _ = filled(&message[..at]);
                for byte in [0, 1, 0x7f, 0x80, 0xff, message[at] ^ 1, message[at] ^ 0x20] {
                    let mut changed = message.clone();
                    changed[at] = byte;
                    let _ = filled(&changed);
                }
            }
        }
    }

    #[test]
    fn a_hundred_inputs_are_found_in_any_order() {
        let input =
            |i: usize| Input { name: format!("x{i}"), texts: false, dims: vec![], optional: false, start: i };
        let interface = Interface::new(("m", "1"), (0..100).map(input).collect(), vec![]);
        let order: Vec<usize> = (0..100).rev().collect();
        let inputs = order.iter().map(|i| tensor(&format!("x{i}"), "UINT8", &[1]));
        let raws = order.iter().map(|&i| field(7, &[i as u8]));
        let data: Vec<u8> = inputs.chain(raws).flatten().collect();
        let mut request = Request::default();
        read(&mut request, &data).unwrap();
        interface.fill(&mut request, &data, 10).unwrap();
        let numbers = request.numbers(&data).chunks_exact(DOUBLE);
        assert!(numbers.enumerate().all(|(i, number)| number == (i as f64).to_le_bytes()));
        let twice: Vec<u8> = [tensor("x0", "UINT8", &[1]), field(7, &[0])].concat();
        read(&mut request, &twice).unwrap();
        assert_eq!(interface.fill(&mut request, &twice, 10), Err(Unusual));
    }

    #[test]
    fn what_is_unusual_is_left_to_others() {
        let change = |index: usize, part: Vec<u8>| {
            let mut parts = usual();
            parts[index] = part;
            filled(&parts.concat()).err()
        };
        assert_eq!(change(0, b"\xff".to_vec()), Some(Unusual));
        assert_eq!(change(1, tensor("u", "BYTES", &[2, 1])), Some(Unusual));
        assert_eq!(change(1, tensor("a", "INT32", &[2])), Some(Unusual));
        assert_eq!(change(1, tensor("t", "BYTES", &[2, 2])), Some(Unusual));
        assert_eq!(change(2, tensor("a", "INT32", &[3])), Some(Unusual));
        assert_eq!(change(2, tensor("a", "FP16", &[2])), Some(Unusual));
        assert_eq!(change(3, field(7, b"\x03\0\0\0de\0\0\0\0")), Some(Unusual));
        assert_eq!(change(3, field(7, b"\x02\0\0\0d\xff\0\0\0\0")), Some(Unusual));
        assert_eq!(change(4, Vec::new()), Some(Unusual));
        assert_eq!(change(0, field(4, &field(1, b"priority"))), Some(Unusual));
        assert_eq!(change(0, field(6, &field(1, b"none"))), Some(Unusual));
    }

    #[test]
    fn a_routing_key_is_a_parameter() {
        let mut request = Request::default();
        let value = field(2, &field(3, b"user-7"));
        let data = [usual().concat(), field(4, &[field(1, b"routing_key"), value].concat())].concat();
        read(&mut request, &data).unwrap();
        assert_eq!(request.routing_key.text(&data), "user-7");
    }
}
