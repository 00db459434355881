//! Operators over all numbers of a row, or of an axis of it.

use std::sync::Arc;

use crate::program::Unsupported;
use crate::program::arithmetic::{Binary, Reduction};
use crate::program::compile::elementwise::Formula;
use crate::program::compile::view::View;
use crate::program::compile::{Compiler, Constant, Value, unsupported};
use crate::program::onnx::{Data, Node};
use crate::program::plan::{Action, Kind};

/// The most weights of a graph's matrices together, with which a row takes some microseconds. onnxruntime reads a matrix
/// once for several rows: for one row it is as fast from some 100,000 weights on, for 512 rows from a few hundred on.
const MOST_WEIGHTS: usize = 1 << 13;

impl Compiler<'_> {
    /// Applies an operator of this module; `None` for any other.
    pub(super) fn row_wise(&mut self, node: &Node<'_>) -> Result<Option<Value>, Unsupported> {
        let view = match node.operator {
            "MatMul" => self.mat_mul(node),
            "Gemm" => self.gemm(node),
            "Softmax" => self.softmax(node),
            "ArgMax" => self.arg_max(node),
            "CumSum" => self.running_sums(node),
            "ReduceSum" => self.reduce(node, Reduction::Sum),
            "ReduceMean" => self.reduce(node, Reduction::Mean),
            "ReduceMin" => self.reduce(node, Reduction::Min),
            "ReduceMax" => self.reduce(node, Reduction::Max),
            "ReduceSumSquare" => self.reduce(node, Reduction::SumOfSquares),
            "ReduceL1" => self.reduce(node, Reduction::SumOfMagnitudes),
            "ReduceL2" => self.reduce(node, Reduction::Norm),
            _ => return Ok(None),
        }?;
        Ok(Some(Value::Rows(view)))
    }

    fn matrix(&mut self, node: &Node<'_>, at: usize) -> Result<std::rc::Rc<Constant>, Unsupported> {
        match self.needed(node, at)? {
            Value::Constant(constant) => Ok(constant),
            Value::Rows(_) => unsupported(format!("{} multiplies numbers of a row", node.operator)),
        }
    }

    fn mat_mul(&mut self, node: &Node<'_>) -> Result<View, Unsupported> {
        let (of, matrix) = (self.rows(node, 0)?, self.matrix(node, 1)?);
        match matrix.dims.as_slice() {
            [inner, width] => self.product(&of, *inner, vec![*width], matrix.data.clone()),
            [inner] => self.product(&of, *inner, Vec::new(), matrix.data.clone()),
            _ => unsupported("MatMul has a matrix that does not run here"),
        }
    }

    fn gemm(&mut self, node: &Node<'_>) -> Result<View, Unsupported> {
        let (of, matrix) = (self.rows(node, 0)?, self.matrix(node, 1)?);
        let [rows, columns] = *matrix.dims.as_slice() else { return unsupported("Gemm has no matrix") };
        let scaled = node.float("alpha", 1.0)? != 1.0 || node.float("beta", 1.0)? != 1.0;
        if scaled || node.integer("transA", 0)? != 0 {
            return unsupported("Gemm with factors does not run here");
        }
        let product = if node.integer("transB", 0)? == 0 {
            self.product(&of, rows, vec![columns], matrix.data.clone())?
        } else {
            self.count(matrix.data.len())?;
            self.product(&of, columns, vec![rows], Arc::new(transposed(&matrix.data, rows, columns)))?
        };
        match self.input(node, 2)? {
            None => Ok(product),
            Some(bias) => {
                let (views, _) = self.broadcast(&[Value::Rows(product), bias])?;
                self.formula(Formula::Binary(Binary::Add), &views)
            }
        }
    }

    fn product(
        &mut self,
        of: &View,
        inner: usize,
        dims: Vec<usize>,
        matrix: Arc<Data>,
    ) -> Result<View, Unsupported> {
        let fraction = matches!(of.kind, Kind::F32 | Kind::F64);
        if of.dims != [inner] || matrix.kind() != of.kind || !fraction {
            return unsupported("a product of matrices that do not fit");
        }
        self.weights += matrix.len();
        if self.weights > MOST_WEIGHTS {
            return unsupported("products with so large matrices are faster in onnxruntime");
        }
        self.count(of.width())?;
        let (width, numbers) = (dims.iter().product(), self.dense(&of.cells)?);
        let source = self.step(Action::Multiply { of: numbers, inner, matrix }, of.kind, width)?;
        Ok(self.whole(source, dims))
    }

    fn softmax(&mut self, node: &Node<'_>) -> Result<View, Unsupported> {
        let of = self.rows(node, 0)?;
        let axis = of.axis(node.integer("axis", -1)?)?;
        let (cells, group) = of.grouped(axis);
        if group == 0 || !matches!(of.kind, Kind::F32 | Kind::F64) {
            return unsupported("Softmax gets numbers that do not run here");
        }
        let operand = self.dense(&cells)?;
        let source = self.step(Action::Softmax { of: operand, group }, of.kind, of.width())?;
        let made = self.whole(source, of.dims.clone());
        Ok(of.moved(of.dims.clone(), of.ungrouped(axis, &made.cells)))
    }

    fn arg_max(&mut self, node: &Node<'_>) -> Result<View, Unsupported> {
        let of = self.rows(node, 0)?;
        let axis = of.axis(node.integer("axis", 0)?)?;
        let last = node.integer("select_last_index", 0)? != 0;
        self.count(of.width())?;
        let (cells, group) = of.grouped(axis);
        if group == 0 || of.kind == Kind::Bool {
            return unsupported("ArgMax gets numbers that do not run here");
        }
        let operand = self.dense(&cells)?;
        let action = Action::ArgMax { kind: of.kind, of: operand, group, last };
        let source = self.step(action, Kind::I64, of.width() / group)?;
        Ok(self.whole(source, without(&of, axis, node.integer("keepdims", 1)? != 0)))
    }

    fn running_sums(&mut self, node: &Node<'_>) -> Result<View, Unsupported> {
        let of = self.rows(node, 0)?;
        let axis = match self.integers(node, 1)?.as_ref().map(|axes| axes.values.as_slice()) {
            Some([axis]) => of.axis(*axis)?,
            _ => return unsupported("CumSum lacks its axis"),
        };
        let (cells, group) = of.grouped(axis);
        let plain = node.integer("exclusive", 0)? == 0 && node.integer("reverse", 0)? == 0;
        if group == 0 || of.kind == Kind::Bool || of.narrow || !plain {
            return unsupported("CumSum in a form that does not run here");
        }
        let operand = self.dense(&cells)?;
        let source = self.step(Action::RunningSums { of: operand, group }, of.kind, of.width())?;
        let made = self.whole(source, of.dims.clone());
        Ok(of.moved(of.dims.clone(), of.ungrouped(axis, &made.cells)))
    }

    fn reduce(&mut self, node: &Node<'_>, reduction: Reduction) -> Result<View, Unsupported> {
        let of = self.rows(node, 0)?;
        let axes = match node.integers("axes")? {
            Some(axes) => axes,
            None => self.integers(node, 1)?.map(|axes| axes.values).unwrap_or_default(),
        };
        let [axis] = *axes.as_slice() else {
            return unsupported(format!("{} over several axes does not run here", node.operator));
        };
        let axis = of.axis(axis)?;
        self.count(of.width())?;
        let (cells, group) = of.grouped(axis);
        let fits = match of.kind {
            // Of numbers with NaN among them, what onnxruntime takes for the least depends on where NaN is.
            Kind::F32 | Kind::F64 => !matches!(reduction, Reduction::Min | Reduction::Max),
            Kind::I64 => !of.narrow && matches!(reduction, Reduction::Sum | Reduction::Min | Reduction::Max),
            Kind::Bool => false,
        };
        let needs_one = matches!(reduction, Reduction::Mean | Reduction::Min | Reduction::Max);
        if !fits || (group == 0 && needs_one) {
            return unsupported(format!("{} gets numbers that do not run here", node.operator));
        }
        let dims = without(&of, axis, node.integer("keepdims", 1)? != 0);
        let (width, operand) = (dims.iter().product(), self.dense(&cells)?);
        let source = self.step(Action::Reduce { reduction, of: operand, group }, of.kind, width)?;
        Ok(self.whole(source, dims))
    }
}

/// The shape without an axis, or with size 1 for it.
fn without(of: &View, axis: usize, keep: bool) -> Vec<usize> {
    let mut dims = of.dims.clone();
    if keep {
        dims[axis] = 1;
    } else {
        dims.remove(axis);
    }
    dims
}

fn transposed(matrix: &Data, rows: usize, columns: usize) -> Data {
    fn of<T: Copy>(values: &[T], rows: usize, columns: usize) -> Vec<T> {
        (0..columns).flat_map(|column| (0..rows).map(move |row| values[row * columns + column])).collect()
    }
    match matrix {
        Data::F32(values) => Data::F32(of(values, rows, columns)),
        Data::F64(values) => Data::F64(of(values, rows, columns)),
        Data::I64(values) => Data::I64(of(values, rows, columns)),
        Data::Bool(values) => Data::Bool(of(values, rows, columns)),
    }
}
