//! A small writer of ONNX models, for tests.

use crate::program::onnx::Data;
use crate::program::{Failure, Memory, Options, Program, Unsupported};
use crate::trees::FormName;
use crate::values::{Values, ValuesMut};

/// An attribute of a node.
#[derive(Debug, Clone)]
pub(super) enum Attribute {
    Int(i64),
    Ints(Vec<i64>),
    Tensor(Vec<usize>, Data),
    Modes(Vec<u8>),
}

/// A graph under construction.
#[derive(Debug, Clone, Default)]
pub(super) struct Graph {
    bytes: Vec<u8>,
}

/// Values of an output.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I64(Vec<i64>),
}

fn varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn integer(to: &mut Vec<u8>, number: u64, value: i64) {
    varint(to, number << 3);
    varint(to, value as u64);
}

fn bytes(to: &mut Vec<u8>, number: u64, value: &[u8]) {
    varint(to, number << 3 | 2);
    varint(to, value.len() as u64);
    to.extend(value);
}

fn tensor(name: &str, dims: &[usize], data: &Data) -> Vec<u8> {
    let mut made = Vec::new();
    for size in dims {
        integer(&mut made, 1, *size as i64);
    }
    let (element, raw): (i64, Vec<u8>) = match data {
        Data::F32(values) => (1, values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        Data::F64(values) => (11, values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        Data::I64(values) => (7, values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        Data::Bool(values) => (9, values.iter().map(|value| u8::from(*value)).collect()),
    };
    integer(&mut made, 2, element);
    bytes(&mut made, 8, name.as_bytes());
    bytes(&mut made, 9, &raw);
    made
}

fn signature(name: &str, element: i64, rows: &str, width: usize) -> Vec<u8> {
    let (mut first, mut second, mut shape, mut kind) = (vec![], vec![], vec![], vec![]);
    bytes(&mut first, 2, rows.as_bytes());
    integer(&mut second, 1, width as i64);
    bytes(&mut shape, 1, &first);
    bytes(&mut shape, 1, &second);
    integer(&mut kind, 1, element);
    bytes(&mut kind, 2, &shape);
    let (mut held, mut made) = (vec![], vec![]);
    bytes(&mut held, 1, &kind);
    bytes(&mut made, 1, name.as_bytes());
    bytes(&mut made, 2, &held);
    made
}

impl Graph {
    /// A graph with one input, `x`.
    pub(super) fn over(element: i64, width: usize) -> Self {
        Self::default().input("x", element, width)
    }

    pub(super) fn input(mut self, name: &str, element: i64, width: usize) -> Self {
        bytes(&mut self.bytes, 11, &signature(name, element, "rows", width));
        self
    }

    pub(super) fn input_of_rows(mut self, name: &str, element: i64, rows: &str) -> Self {
        bytes(&mut self.bytes, 11, &signature(name, element, rows, 1));
        self
    }

    pub(super) fn constant(mut self, name: &str, dims: &[usize], data: Data) -> Self {
        bytes(&mut self.bytes, 5, &tensor(name, dims, &data));
        self
    }

    pub(super) fn doubles(self, name: &str, dims: &[usize], values: &[f64]) -> Self {
        self.constant(name, dims, Data::F64(values.to_vec()))
    }

    pub(super) fn integers(self, name: &str, values: &[i64]) -> Self {
        self.constant(name, &[values.len()], Data::I64(values.to_vec()))
    }

    /// A constant of whole numbers that are not raw, but in a field of the tensor.
    pub(super) fn listed(mut self, name: &str, element: i64, field: u64, values: &[i64]) -> Self {
        let mut made = Vec::new();
        integer(&mut made, 1, values.len() as i64);
        integer(&mut made, 2, element);
        values.iter().for_each(|value| integer(&mut made, field, *value));
        bytes(&mut made, 8, name.as_bytes());
        bytes(&mut self.bytes, 5, &made);
        self
    }

    /// Adds a field to the graph.
    pub(super) fn field(mut self, number: u64, message: &[u8]) -> Self {
        bytes(&mut self.bytes, number, message);
        self
    }

    /// Adds a node; inputs and outputs are names with spaces between.
    pub(super) fn node(self, operator: &str, inputs: &str, outputs: &str) -> Self {
        self.node_with(operator, inputs, outputs, &[])
    }

    pub(super) fn node_with(
        mut self,
        operator: &str,
        inputs: &str,
        outputs: &str,
        attributes: &[(&str, Attribute)],
    ) -> Self {
        let mut node = Vec::new();
        for name in inputs.split_whitespace() {
            bytes(&mut node, 1, name.trim_matches('_').as_bytes());
        }
        for name in outputs.split_whitespace() {
            bytes(&mut node, 2, name.as_bytes());
        }
        bytes(&mut node, 4, operator.as_bytes());
        if operator == "TreeEnsemble" {
            bytes(&mut node, 7, b"ai.onnx.ml");
        }
        for (name, attribute) in attributes {
            let mut made = Vec::new();
            bytes(&mut made, 1, name.as_bytes());
            match attribute {
                Attribute::Int(value) => integer(&mut made, 3, *value),
                Attribute::Ints(values) => values.iter().for_each(|value| integer(&mut made, 8, *value)),
                Attribute::Tensor(dims, data) => bytes(&mut made, 5, &tensor("", dims, data)),
                Attribute::Modes(modes) => {
                    let mut tensor = Vec::new();
                    integer(&mut tensor, 1, modes.len() as i64);
                    integer(&mut tensor, 2, 2);
                    bytes(&mut tensor, 9, modes);
                    bytes(&mut made, 5, &tensor);
                }
            }
            bytes(&mut node, 5, &made);
        }
        bytes(&mut self.bytes, 1, &node);
        self
    }

    /// Adds a node whose attribute is an axis.
    pub(super) fn node_on_axis(self, operator: &str, inputs: &str, outputs: &str, axis: i64) -> Self {
        self.node_with(operator, inputs, outputs, &[("axis", Attribute::Int(axis))])
    }

    pub(super) fn output(mut self, name: &str, element: i64, width: usize) -> Self {
        bytes(&mut self.bytes, 12, &signature(name, element, "rows", width));
        self
    }

    pub(super) fn model(&self) -> Vec<u8> {
        let (mut made, mut opset) = (vec![], vec![]);
        integer(&mut opset, 2, 17);
        bytes(&mut made, 8, &opset);
        bytes(&mut made, 7, &self.bytes);
        made
    }

    pub(super) fn compile(&self) -> Result<Program, Unsupported> {
        Program::compile(&self.model(), Options { form: Some(FormName::Naive), ..Options::default() })
    }

    /// Why the graph does not run here.
    pub(super) fn refusal(&self) -> String {
        self.compile().expect_err("the graph is refused").0
    }

    /// The outputs for rows, which are the same for all rows at once and one by one.
    pub(super) fn run(&self, inputs: &[Values<'_>]) -> Vec<Answer> {
        run(&self.compile().expect("the graph runs"), inputs)
    }

    /// The only output for doubles, in double.
    pub(super) fn of_doubles(&self, x: &[f64]) -> Vec<f64> {
        match self.run(&[Values::F64(x)]).remove(0) {
            Answer::F64(values) => values,
            other => panic!("{other:?} are not doubles"),
        }
    }
}

fn run(program: &Program, inputs: &[Values<'_>]) -> Vec<Answer> {
    let rows = inputs[0].len() / program.inputs()[0].width;
    let mut memory = Memory::default();
    let all = run_rows(program, rows, inputs, &mut memory);
    let mut joined: Option<Vec<Answer>> = None;
    for row in 0..rows {
        let own = inputs.iter().zip(program.inputs()).map(|(values, port)| part(*values, row, port.width));
        let answers = run_rows(program, 1, &own.collect::<Vec<_>>(), &mut memory);
        match &mut joined {
            None => joined = Some(answers),
            Some(joined) => joined.iter_mut().zip(answers).for_each(|(joined, own)| append(joined, own)),
        }
    }
    if let Some(joined) = joined {
        assert_eq!(format!("{joined:?}"), format!("{all:?}"), "rows one by one and all at once");
    }
    all
}

pub(super) fn run_rows(
    program: &Program,
    rows: usize,
    inputs: &[Values<'_>],
    memory: &mut Memory,
) -> Vec<Answer> {
    try_rows(program, rows, inputs, memory).expect("it is not stopped")
}

pub(super) fn try_rows(
    program: &Program,
    rows: usize,
    inputs: &[Values<'_>],
    memory: &mut Memory,
) -> Result<Vec<Answer>, Failure> {
    let answers = program.outputs().iter().map(|port| {
        let count = rows * port.width;
        match port.element {
            1 => Answer::F32(vec![0.0; count]),
            11 => Answer::F64(vec![0.0; count]),
            _ => Answer::I64(vec![0; count]),
        }
    });
    let mut answers: Vec<_> = answers.collect();
    let mut outputs: Vec<_> = answers
        .iter_mut()
        .map(|answer| match answer {
            Answer::F32(values) => ValuesMut::F32(values),
            Answer::F64(values) => ValuesMut::F64(values),
            Answer::I64(values) => ValuesMut::I64(values),
        })
        .collect();
    program.run(rows, inputs, &mut outputs, memory, &|| false)?;
    Ok(answers)
}

fn part(values: Values<'_>, row: usize, width: usize) -> Values<'_> {
    let range = row * width..(row + 1) * width;
    match values {
        Values::F32(values) => Values::F32(&values[range]),
        Values::F64(values) => Values::F64(&values[range]),
        Values::I64(values) => Values::I64(&values[range]),
        Values::I32(values) => Values::I32(&values[range]),
        Values::I16(values) => Values::I16(&values[range]),
        Values::I8(values) => Values::I8(&values[range]),
        Values::U32(values) => Values::U32(&values[range]),
        Values::U16(values) => Values::U16(&values[range]),
        Values::U8(values) => Values::U8(&values[range]),
        Values::Bool(values) => Values::Bool(&values[range]),
    }
}

fn append(joined: &mut Answer, own: Answer) {
    match (joined, own) {
        (Answer::F32(joined), Answer::F32(own)) => joined.extend(own),
        (Answer::F64(joined), Answer::F64(own)) => joined.extend(own),
        (Answer::I64(joined), Answer::I64(own)) => joined.extend(own),
        _ => panic!("answers of two types"),
    }
}

/// Runs a program over rows of zeros.
pub(super) fn run_zeros(program: &Program, rows: usize) {
    let widest = program.inputs().iter().map(|port| port.width).max().unwrap_or(0) * rows;
    let (floats, doubles) = (vec![0.0_f32; widest], vec![0.0_f64; widest]);
    let (integers, truths) = (vec![0_i64; widest], vec![false; widest]);
    let bytes = vec![0_i32; widest];
    let inputs: Option<Vec<_>> = program
        .inputs()
        .iter()
        .map(|port| match port.element {
            1 => Some(Values::F32(&floats[..rows * port.width])),
            6 => Some(Values::I32(&bytes[..rows * port.width])),
            7 => Some(Values::I64(&integers[..rows * port.width])),
            9 => Some(Values::Bool(&truths[..rows * port.width])),
            11 => Some(Values::F64(&doubles[..rows * port.width])),
            _ => None,
        })
        .collect();
    if let Some(inputs) = inputs {
        run_rows(program, rows, &inputs, &mut Memory::default());
    }
}
