//! How Python says what a version is: named parts, read once when a bundle is loaded.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::counts::CountRegistry;
use crate::encodings::contributions::ContributionsSchema;
use crate::encodings::encoding::WireSchema;
use crate::encodings::positional_schema::PositionalSchema;
use crate::encodings::tensor_schema::{TensorInput, TensorOutput, TensorSchema};
use crate::encodings::typed_explanation::TypedExplanation;
use crate::encodings::typed_schema::{FieldSlot, TypedOutput, TypedSchema};
use crate::onnx::binding::Names;
use crate::protocol::reasons::ROW_REASONS;
use crate::python::bags::{BagParts, bag, fold, part};
use crate::python::explainer::{ExplainerParts, explanation};
use crate::python::graph::{Graph, element};
use crate::routing::version::Version;
use crate::rows::checks::{CheckSource, FeatureCheck, NumberCheck};
use crate::rows::coding::{Coder, GraphColumn, GraphInput};
use crate::rows::explainer::Explainer;
use crate::rows::output::Output;
use crate::rows::runner::{GraphRunner, Model};
use crate::rows::vocabulary::Vocabulary;

/// A version that may be published.
#[pyclass(frozen, name = "Version")]
pub(crate) struct PyVersion(pub Arc<Version>);

#[pymethods]
impl PyVersion {
    /// Whether anything but this object holds the version: a snapshot, a call, a copy.
    fn in_use(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct VocabularyParts {
    /// The position of the text in a row.
    text: usize,
    fold: bool,
    texts: Vec<String>,
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct ColumnParts {
    /// "number", "coded" or "text".
    kind: String,
    /// Of a number or a text in the row; of a vocabulary where the column is coded.
    position: usize,
    /// For a coded column the value of each text, that of unknown ones last.
    values: Vec<f64>,
    fold: bool,
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct InputParts {
    name: String,
    /// ONNX's number of the element type.
    element: i32,
    columns: Vec<ColumnParts>,
    /// The shape of a row.
    dims: Vec<i64>,
    /// Where the input has counts of words: the bag, and which part of its entries.
    entries: Option<(usize, String)>,
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct OutputParts {
    name: String,
    width: usize,
    texts: bool,
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct NumberParts {
    position: usize,
    low: f64,
    high: f64,
    whole: bool,
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct TextParts {
    position: usize,
    /// The vocabularies that must know the text.
    vocabularies: Vec<usize>,
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct CheckParts {
    /// One of these two.
    number: Option<NumberParts>,
    text: Option<TextParts>,
    missing_allowed: bool,
    /// By reason the refusal, empty for what is never refused; and the same as an error of a prediction.
    refusals: [Vec<u8>; ROW_REASONS],
    typed_refusals: [Vec<u8>; ROW_REASONS],
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct FieldParts {
    /// The field's number in a row.
    number: u32,
    text: bool,
    /// Among the numbers or the texts of a row.
    position: usize,
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct TypedOutputParts {
    /// The index of the output.
    output: usize,
    /// The field's number in a prediction.
    number: u32,
    repeated: bool,
    /// The texts of classes; `None` for other outputs.
    labels: Option<Vec<String>>,
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct TensorInputParts {
    name: String,
    texts: bool,
    /// The shape of a row.
    dims: Vec<usize>,
    optional: bool,
    /// The position of the first value in a row.
    start: usize,
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct TensorOutputParts {
    name: String,
    datatype: String,
    /// The shape of a row.
    dims: Vec<usize>,
}

/// All of a version.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(super) struct VersionParts<'py> {
    graph: PyRef<'py, Graph>,
    pub model: String,
    pub version: String,
    major: u64,
    fingerprint: String,
    row_ns: f64,
    max_rows: Option<u32>,
    /// Numbers and texts of a row.
    number_count: usize,
    text_count: usize,
    vocabularies: Vec<VocabularyParts>,
    bags: Vec<BagParts>,
    inputs: Vec<InputParts>,
    outputs: Vec<OutputParts>,
    score_output: Option<usize>,
    row_by_row: bool,
    max_shared_rows: usize,
    checks: Vec<CheckParts>,
    /// The names of the caller's columns, in schema order.
    columns: Vec<String>,
    explainers: Vec<ExplainerParts<'py>>,
    typed_fields: Vec<FieldParts>,
    typed_outputs: Vec<TypedOutputParts>,
    tensor_inputs: Vec<TensorInputParts>,
    tensor_outputs: Vec<TensorOutputParts>,
}

/// Makes a version of its parts, which counts in `counts`: one place for each worker.
pub(super) fn version(parts: VersionParts<'_>, counts: &CountRegistry) -> PyResult<Version> {
    let input_names = parts.inputs.iter().map(|input| input.name.as_str()).collect::<Vec<_>>();
    let output_names = parts.outputs.iter().map(|output| output.name.as_str()).collect::<Vec<_>>();
    let (input_names, output_names) = (Names::new(&input_names)?, Names::new(&output_names)?);
    let output = |OutputParts { name, width, texts }| Output { name, width, texts };
    let outputs: Vec<Output> = parts.outputs.into_iter().map(output).collect();
    let (checks, typed_refusals) = checks(parts.checks)?;
    let (model, version, columns) = (&parts.model, &parts.version, &parts.columns);
    let (mut contributions, mut explanations) = (Vec::new(), Vec::new());
    for parts in &parts.explainers {
        let ExplainerParts { output, link, labels, base, .. } = parts;
        contributions.push(ContributionsSchema::new(output, link, labels, columns, base));
        explanations.push(TypedExplanation::new(output, link, labels, base));
    }
    let wire = WireSchema {
        positional: PositionalSchema::new(model, version, &outputs, contributions),
        typed: typed(version, parts.typed_fields, parts.typed_outputs, typed_refusals, explanations),
        tensors: tensors(model, version, parts.tensor_inputs, parts.tensor_outputs),
    };
    let vocabulary =
        |VocabularyParts { text, fold: folded, texts }| Vocabulary::new(text, fold(folded), texts);
    let coder = Coder::new(
        (parts.number_count, parts.text_count),
        parts.vocabularies.into_iter().map(vocabulary).collect(),
        parts.bags.into_iter().map(bag).collect::<PyResult<_>>()?,
        inputs(parts.inputs, parts.number_count)?,
        checks,
    );
    let coder = Arc::new(coder);
    let graph = Model {
        backend: Arc::clone(&parts.graph.0),
        input_names: input_names.clone(),
        output_names,
        coder: Arc::clone(&coder),
        outputs,
        row_by_row: parts.row_by_row,
        max_shared_rows: parts.max_shared_rows,
    };
    let columns = parts.columns.len();
    let explanation = |parts| explanation(parts, input_names.clone(), &coder, columns);
    let explanations = parts.explainers.into_iter().map(explanation).collect::<PyResult<Vec<_>>>()?;
    // Last, so that a version that is refused counts nowhere.
    let counts = counts.version(model, version);
    let explainers = explanations.into_iter().map(|parts| Explainer::new(parts, counts.len())).collect();
    Ok(Version {
        model: parts.model,
        version: parts.version,
        major: parts.major,
        fingerprint: parts.fingerprint,
        row_ns: parts.row_ns,
        max_rows: parts.max_rows,
        score_output: parts.score_output,
        runner: GraphRunner::new(graph, counts.len()),
        explainers,
        wire,
        counts,
    })
}

fn inputs(parts: Vec<InputParts>, number_count: usize) -> PyResult<Vec<GraphInput>> {
    let column = |ColumnParts { kind, position, values, fold: folded }: ColumnParts| match &*kind {
        "number" => Ok(GraphColumn::Number(position)),
        "coded" => Ok(GraphColumn::Coded(position, values)),
        "text" => Ok(GraphColumn::Text(position, fold(folded))),
        _ => Err(PyValueError::new_err(format!("columns of kind {kind} are not taken"))),
    };
    let input = |input: InputParts| {
        if let Some((bag, name)) = input.entries {
            return Ok(GraphInput::entries(bag, part(&name)?));
        }
        let columns = input.columns.into_iter().map(column).collect::<PyResult<_>>()?;
        Ok(GraphInput::new(element(input.element)?, columns, input.dims, number_count))
    };
    parts.into_iter().map(input).collect()
}

/// The errors of typed predictions, for each check and reason.
type TypedRefusals = Vec<[Vec<u8>; ROW_REASONS]>;

fn checks(parts: Vec<CheckParts>) -> PyResult<(Vec<FeatureCheck>, TypedRefusals)> {
    let check = |parts: CheckParts| {
        let source = match (parts.number, parts.text) {
            (Some(NumberParts { position, low, high, whole }), None) => {
                CheckSource::Number(NumberCheck { position, low, high, whole })
            }
            (None, Some(TextParts { position, vocabularies })) => CheckSource::Text(position, vocabularies),
            _ => return Err(PyValueError::new_err("a check is of a number or of a text")),
        };
        let missing_allowed = parts.missing_allowed;
        Ok((FeatureCheck { source, missing_allowed, refusals: parts.refusals }, parts.typed_refusals))
    };
    parts.into_iter().map(check).collect()
}

fn typed(
    version: &str,
    fields: Vec<FieldParts>,
    outputs: Vec<TypedOutputParts>,
    refusals: TypedRefusals,
    explanations: Vec<TypedExplanation>,
) -> TypedSchema {
    let slot = |FieldParts { number, text, position }| {
        (number, if text { FieldSlot::Text(position) } else { FieldSlot::Number(position) })
    };
    let output = |TypedOutputParts { output, number, repeated, labels }| TypedOutput {
        output,
        number,
        repeated,
        labels,
    };
    let (slots, outputs) = (fields.into_iter().map(slot), outputs.into_iter().map(output));
    TypedSchema::new(version, slots.collect(), outputs.collect(), refusals, explanations)
}

fn tensors(
    model: &str,
    version: &str,
    inputs: Vec<TensorInputParts>,
    outputs: Vec<TensorOutputParts>,
) -> TensorSchema {
    let input = |TensorInputParts { name, texts, dims, optional, start }| TensorInput {
        name,
        texts,
        dims,
        optional,
        start,
    };
    let output = |TensorOutputParts { name, datatype, dims }| TensorOutput { name, datatype, dims };
    let (inputs, outputs) = (inputs.into_iter().map(input), outputs.into_iter().map(output));
    TensorSchema::new((model, version), inputs.collect(), outputs.collect())
}
