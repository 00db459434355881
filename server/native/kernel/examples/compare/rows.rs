//! The rows that are scored, as the inputs of a graph.

use std::path::Path;

use scorewire_kernel::program::Port;
use scorewire_kernel::values::{Values, ValuesMut};

use crate::Fallible;

/// The element types of ONNX.
pub(crate) const FLOAT: i32 = 1;
pub(crate) const INT64: i32 = 7;
pub(crate) const DOUBLE: i32 = 11;

/// Rows of numbers, one after the other.
pub(crate) struct Table {
    pub features: usize,
    pub count: usize,
    pub doubles: Vec<f64>,
    pub floats: Vec<f32>,
}

impl Table {
    /// Reads doubles, lowest byte first.
    pub(crate) fn read(path: &Path, features: usize) -> Fallible<Self> {
        let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let doubles: Vec<_> = bytes.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
        let floats = doubles.iter().map(|value| *value as f32).collect();
        Ok(Self { features, count: doubles.len() / features, doubles, floats })
    }
}

/// Values of a tensor.
pub(crate) enum Tensor {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I64(Vec<i64>),
}

impl Tensor {
    pub(crate) fn zeros(element: i32, count: usize) -> Fallible<Self> {
        Ok(match element {
            FLOAT => Self::F32(vec![0.0; count]),
            DOUBLE => Self::F64(vec![0.0; count]),
            INT64 => Self::I64(vec![0; count]),
            other => return Err(format!("the ONNX type {other} is not taken")),
        })
    }

    pub(crate) fn part(&self, from: usize, to: usize) -> Values<'_> {
        match self {
            Self::F32(values) => Values::F32(&values[from..to]),
            Self::F64(values) => Values::F64(&values[from..to]),
            Self::I64(values) => Values::I64(&values[from..to]),
        }
    }

    pub(crate) fn part_mut(&mut self, count: usize) -> ValuesMut<'_> {
        match self {
            Self::F32(values) => ValuesMut::F32(&mut values[..count]),
            Self::F64(values) => ValuesMut::F64(&mut values[..count]),
            Self::I64(values) => ValuesMut::I64(&mut values[..count]),
        }
    }

    /// The values as doubles, and so the same bits only where the numbers are the same.
    pub(crate) fn doubles(&self, count: usize) -> Vec<f64> {
        match self {
            Self::F32(values) => values[..count].iter().map(|value| f64::from(*value)).collect(),
            Self::F64(values) => values[..count].to_vec(),
            Self::I64(values) => values[..count].iter().map(|value| *value as f64).collect(),
        }
    }
}

/// The inputs of a graph, each with its width: the columns of the table, in order.
pub(crate) fn inputs(table: &Table, ports: &[Port]) -> Fallible<Vec<(Tensor, usize)>> {
    if ports.iter().map(|port| port.width).sum::<usize>() != table.features {
        return Err("the rows have not as many values as the inputs of the graph".into());
    }
    let mut first = 0;
    let mut tensors = Vec::new();
    for port in ports {
        let mut tensor = Tensor::zeros(port.element, table.count * port.width)?;
        let rows = table.doubles.chunks_exact(table.features);
        let values = rows.flat_map(|row| &row[first..first + port.width]);
        match &mut tensor {
            Tensor::F32(places) => places.iter_mut().zip(values).for_each(|(to, from)| *to = *from as f32),
            Tensor::F64(places) => places.iter_mut().zip(values).for_each(|(to, from)| *to = *from),
            Tensor::I64(_) => return Err("a graph with whole numbers as inputs is not compared".into()),
        }
        first += port.width;
        tensors.push((tensor, port.width));
    }
    Ok(tensors)
}
