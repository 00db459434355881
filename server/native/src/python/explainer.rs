//! How Python says how the outputs of a version are explained.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::onnx::binding::Names;
use crate::python::contributions::Contributions;
use crate::python::graph::Graph;
use crate::rows::coding::Coder;
use crate::rows::explainer::{Explanation, LinearTerm};
use crate::rows::output::Output;
use crate::rows::runner::{MAX_SHARED_ROWS, Model};

/// How one output is explained.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(super) struct ExplainerParts<'py> {
    pub output: String,
    pub link: String,
    /// For an output of classes the class of each margin.
    pub labels: Vec<String>,
    graph: PyRef<'py, Graph>,
    trees: PyRef<'py, Contributions>,
    /// The outputs of the graph that the trees read, and their widths.
    tree_inputs: Vec<(String, usize)>,
    /// The outputs of the graph that are contributions, and their columns.
    linear: Vec<(String, Vec<u32>)>,
    /// For each margin what neither trees nor linear terms have, and the expected value.
    constants: Vec<f64>,
    pub base: Vec<f64>,
    row_ns: f64,
    is_joint: bool,
}

/// How an output is explained, for a version whose rows `coder` codes to the inputs of these names.
pub(super) fn explanation(
    parts: ExplainerParts<'_>,
    input_names: Names,
    coder: &Arc<Coder>,
    columns: usize,
) -> PyResult<Explanation> {
    let (margins, trees) = (parts.constants.len(), &parts.trees.0);
    let widths = parts.tree_inputs.iter().map(|(_, width)| *width);
    let fits = [trees.base().len(), parts.base.len()] == [margins; 2]
        && trees.features() == columns
        && widths.eq(trees.widths());
    if !fits || parts.linear.iter().any(|(_, of)| of.iter().any(|&column| column as usize >= columns)) {
        return Err(PyValueError::new_err("the parts of an explanation do not fit each other"));
    }
    // Several terms may read the same output.
    let mut outputs: Vec<Output> = Vec::new();
    let mut place = |name: &str, width| match outputs.iter().position(|output| output.name == name) {
        Some(known) if outputs[known].width == width => Ok(known),
        Some(_) => Err(PyValueError::new_err("an output of an explanation has two widths")),
        None => {
            outputs.push(Output { name: name.to_owned(), width, texts: false });
            Ok(outputs.len() - 1)
        }
    };
    let tree_inputs = parts.tree_inputs.iter().map(|(name, width)| place(name, *width));
    let tree_inputs = tree_inputs.collect::<PyResult<_>>()?;
    let linear = parts.linear.into_iter().map(|(name, columns)| {
        let output = place(&name, margins * columns.len())?;
        Ok(LinearTerm { output, columns })
    });
    let linear = linear.collect::<PyResult<_>>()?;
    let names = outputs.iter().map(|output| &*output.name).collect::<Vec<_>>();
    let graph = Model {
        backend: Arc::clone(&parts.graph.0),
        input_names,
        output_names: Names::new(&names)?,
        coder: Arc::clone(coder),
        outputs,
        row_by_row: false,
        max_shared_rows: if parts.is_joint { MAX_SHARED_ROWS } else { 1 },
    };
    Ok(Explanation {
        output: parts.output,
        graph,
        trees: Arc::clone(trees),
        tree_inputs,
        linear,
        constants: parts.constants,
        columns,
        row_ns: parts.row_ns,
    })
}
