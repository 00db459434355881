//! Compiles a graph: each node in turn by the rule of its operator, then what the outputs need.

mod elementwise;
mod finish;
mod fuse;
mod inputs;
mod moving;
mod row_wise;
mod trees;
pub(crate) use trees::named;
#[cfg(test)]
pub(super) use trees::trees_of;
mod view;

use std::cell::OnceCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::program::compile::elementwise::Formula;
use crate::program::compile::view::{Cell, View, common_dims};
use crate::program::memory::{Constants, Widths};
use crate::program::onnx::{self, Data, MOST_AXES, Model, Node, Tensor};
use crate::program::plan::{Action, Kind, Operand, Place, Run, Step};
use crate::program::protobuf::Malformed;
use crate::program::{Options, Port, Unsupported};

/// The versions of the standard operators that the rules are about.
const OPSETS: std::ops::RangeInclusive<i64> = 13..=25;
/// Operators whose results have the same bits in every library: they move, compare or round numbers one by one, as
/// IEEE 754 says. Trees are among them, since their sums have an order. Any other operator adds up numbers in an order
/// of its own, or is a function such as an exponential. The export has these in its list in `exact_inputs.py`, and others.
#[rustfmt::skip]
const EXACT: [&str; 41] = [
    "Abs", "Add", "And", "ArgMax", "Cast", "Ceil", "Clip", "Concat", "Div", "Equal", "Flatten", "Floor", "Gather",
    "GatherElements", "Greater", "GreaterOrEqual", "Identity", "IsNaN", "Less", "LessOrEqual", "Max", "Min", "Mod",
    "Mul", "Neg", "Not", "Or", "Pad", "Relu", "Reshape", "Round", "Sign", "Slice", "Split", "Sqrt", "Squeeze", "Sub",
    "TreeEnsemble", "Unsqueeze", "Where", "Xor",
];
/// The most numbers of a row, of all tensors together.
const MOST_NUMBERS: usize = 1 << 22;

impl From<Malformed> for Unsupported {
    fn from(_: Malformed) -> Self {
        Self("the model cannot be read".into())
    }
}

/// Checks the shape of a constant: so many axes at most, whose sizes are bounded also where one of them is 0.
fn check_dims(dims: &[usize]) -> Result<(), Unsupported> {
    if dims.len() > MOST_AXES {
        return unsupported("a tensor has too many axes");
    }
    let numbers = dims.iter().try_fold(1_usize, |numbers, size| numbers.checked_mul((*size).max(1)));
    match numbers {
        Some(..=MOST_NUMBERS) => Ok(()),
        _ => unsupported("a tensor is too large"),
    }
}

/// Checks the shape of a tensor with rows. Without numbers it would cost a graph nothing, and a large axis much time.
fn check_row_dims(dims: &[usize]) -> Result<(), Unsupported> {
    if dims.contains(&0) {
        return unsupported("a tensor has no numbers");
    }
    check_dims(dims)
}

fn unsupported<T>(reason: impl Into<String>) -> Result<T, Unsupported> {
    Err(Unsupported(reason.into()))
}

/// A compiled graph.
pub(super) struct Compiled {
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    pub constants: Constants,
    pub steps: Vec<Step>,
    pub widths: Widths,
}

/// A tensor of the graph.
#[derive(Debug, Clone)]
enum Value {
    Rows(View),
    Constant(Rc<Constant>),
}

#[derive(Debug)]
struct Constant {
    dims: Vec<usize>,
    data: Arc<Data>,
    /// Whether these are whole numbers of fewer bits than `I64` has.
    narrow: bool,
    /// The constants of the program that have the values, once a step reads them.
    cells: OnceCell<Rc<[Cell]>>,
}

impl Constant {
    fn new(dims: Vec<usize>, data: Data) -> Self {
        Self { dims, data: Arc::new(data), narrow: false, cells: OnceCell::new() }
    }
}

/// The whole numbers of a constant.
struct Integers {
    values: Vec<i64>,
    dims: Vec<usize>,
}

/// Where cells come from: a tensor of `width` numbers, or all constants of a kind.
#[derive(Debug, Clone, Copy)]
struct Source {
    kind: Kind,
    width: usize,
    made: Made,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    Constants,
    Input(usize),
    Step(usize),
}

/// A step whose operands name sources, which become places at the end.
struct Draft {
    action: Action,
    kind: Kind,
    width: usize,
    source: u32,
}

/// The first sources are the constants of each kind.
struct Compiler<'m> {
    options: Options,
    /// Constants that no node has read: they are decoded when one does, since whole numbers then take several times
    /// their bytes in the model.
    undecoded: HashMap<&'m str, Tensor<'m>>,
    values: HashMap<String, Value>,
    sources: Vec<Source>,
    /// The sources of the inputs.
    inputs: Vec<u32>,
    drafts: Vec<Draft>,
    constants: Constants,
    /// Tensors whose last bits differ between libraries, with the operator that is not `EXACT`: its results, and what is
    /// computed from them.
    inexact: HashMap<String, Rc<str>>,
    /// The numbers that formulas gave, by what went in.
    computed: HashMap<(Formula, [Cell; 3]), Cell>,
    /// Tensors that were put together from several sources.
    picked: HashMap<Vec<Cell>, u32>,
    /// The numbers of a row so far.
    numbers: usize,
    /// The weights of the matrices so far.
    weights: usize,
}

pub(super) fn compile(model: &[u8], options: Options) -> Result<Compiled, Unsupported> {
    let Model { opsets, nodes, constants, inputs, outputs } = Model::read(model)?;
    match opsets.iter().find(|(domain, _)| matches!(*domain, "" | "ai.onnx")) {
        Some((_, version)) if OPSETS.contains(version) => {}
        Some((_, version)) => return unsupported(format!("operators of version {version} do not run here")),
        None => return unsupported("the model does not say the version of its operators"),
    }
    let mut compiler = Compiler::new(options);
    for tensor in constants {
        compiler.add_constant(tensor.name, tensor)?;
    }
    let inputs = compiler.add_inputs(&inputs)?;
    for node in &nodes {
        compiler.add_node(node)?;
    }
    compiler.finish(&outputs, inputs)
}

impl<'m> Compiler<'m> {
    fn new(options: Options) -> Self {
        let constants = [Kind::F32, Kind::F64, Kind::I64, Kind::Bool];
        let sources = constants.map(|kind| Source { kind, width: 0, made: Made::Constants }).into();
        Self {
            options,
            undecoded: HashMap::new(),
            values: HashMap::new(),
            sources,
            inputs: Vec::new(),
            drafts: Vec::new(),
            constants: Constants::default(),
            inexact: HashMap::new(),
            computed: HashMap::new(),
            picked: HashMap::new(),
            numbers: 0,
            weights: 0,
        }
    }

    fn add_constant(&mut self, name: &'m str, tensor: Tensor<'m>) -> Result<(), Unsupported> {
        self.check_new(name)?;
        self.undecoded.insert(name, tensor);
        Ok(())
    }

    fn name(&mut self, name: &str, value: Value) -> Result<(), Unsupported> {
        self.check_new(name)?;
        self.values.insert(name.into(), value);
        Ok(())
    }

    fn check_new(&self, name: &str) -> Result<(), Unsupported> {
        if self.undecoded.contains_key(name) || self.values.contains_key(name) {
            return unsupported(format!("two tensors have the name {name}"));
        }
        Ok(())
    }

    /// The tensor of a name; `None` for an unknown name, and for a constant of a type that does not run here.
    fn value(&mut self, name: &str) -> Result<Option<Value>, Unsupported> {
        if let Some(tensor) = self.undecoded.remove(name)
            && let Some(data) = tensor.data()?
        {
            // The sizes of others are bounded by their values.
            if data.len() == 0 {
                check_dims(&tensor.dims)?;
            }
            let narrow = data.kind() == Kind::I64 && tensor.element != onnx::INT64;
            let constant = Constant { narrow, ..Constant::new(tensor.dims, data) };
            self.name(name, Value::Constant(Rc::new(constant)))?;
        }
        Ok(self.values.get(name).cloned())
    }

    fn add_node(&mut self, node: &Node<'m>) -> Result<(), Unsupported> {
        let operator = node.operator;
        let made = match (node.domain, operator) {
            ("" | "ai.onnx", "Constant") => {
                return match (node.tensor("value")?, node.outputs.first()) {
                    (Some(tensor), Some(name)) => self.add_constant(name, tensor),
                    _ => unsupported("a constant is not a tensor"),
                };
            }
            ("" | "ai.onnx", _) => match self.elementwise(node)? {
                Some(value) => Some(vec![value]),
                None => match self.moving(node)? {
                    Some(values) => Some(values),
                    None => self.row_wise(node)?.map(|value| vec![value]),
                },
            },
            ("ai.onnx.ml", "TreeEnsemble") => Some(vec![self.trees(node)?]),
            _ => None,
        };
        let Some(made) = made else {
            return unsupported(format!("the operator {operator} does not run here"));
        };
        if node.outputs.iter().skip(made.len()).any(|name| !name.is_empty()) {
            return unsupported(format!("an output of the operator {operator} does not run here"));
        }
        let inexact = node.inputs.iter().find_map(|name| self.inexact.get(*name).cloned());
        for (name, value) in node.outputs.iter().zip(made).filter(|(name, _)| !name.is_empty()) {
            let mut inexact = inexact.clone();
            if let Value::Rows(view) = &value {
                check_row_dims(&view.dims)?;
                let is_fraction = matches!(view.kind, Kind::F32 | Kind::F64);
                if is_fraction && !EXACT.contains(&operator) {
                    inexact.get_or_insert_with(|| operator.into());
                }
            }
            if let Some(operator) = inexact {
                self.inexact.insert((*name).into(), operator);
            }
            self.name(name, value)?;
        }
        Ok(())
    }

    /// An input of a node, if it has it.
    fn input(&mut self, node: &Node<'_>, at: usize) -> Result<Option<Value>, Unsupported> {
        match node.inputs.get(at) {
            None | Some(&"") => Ok(None),
            Some(name) => match self.value(name)? {
                Some(value) => Ok(Some(value)),
                None => unsupported(format!("the tensor {name} is of a type that does not run here")),
            },
        }
    }

    fn needed(&mut self, node: &Node<'_>, at: usize) -> Result<Value, Unsupported> {
        let lacking = || Unsupported(format!("the operator {} lacks an input", node.operator));
        self.input(node, at)?.ok_or_else(lacking)
    }

    /// An input that has rows.
    fn rows(&mut self, node: &Node<'_>, at: usize) -> Result<View, Unsupported> {
        match self.needed(node, at)? {
            Value::Rows(view) => Ok(view),
            Value::Constant(_) => unsupported(format!("the operator {} gets a constant", node.operator)),
        }
    }

    /// The whole numbers of an input that is a constant, if the node has it.
    fn integers(&mut self, node: &Node<'_>, at: usize) -> Result<Option<Integers>, Unsupported> {
        match self.input(node, at)? {
            None => Ok(None),
            Some(Value::Constant(constant)) => match &*constant.data {
                Data::I64(values) => {
                    self.count(values.len())?;
                    Ok(Some(Integers { values: values.clone(), dims: constant.dims.clone() }))
                }
                _ => unsupported(format!("the operator {} gets sizes of another type", node.operator)),
            },
            Some(_) => unsupported(format!("the operator {} gets sizes that are no constant", node.operator)),
        }
    }

    fn add_source(&mut self, kind: Kind, width: usize, made: Made) -> Result<u32, Unsupported> {
        self.count(width)?;
        self.sources.push(Source { kind, width, made });
        Ok((self.sources.len() - 1) as u32)
    }

    /// Bounds what a graph makes of its rows.
    fn count(&mut self, numbers: usize) -> Result<(), Unsupported> {
        self.numbers = self.numbers.saturating_add(numbers);
        if self.numbers > MOST_NUMBERS {
            unsupported("the graph makes too many numbers of a row")
        } else {
            Ok(())
        }
    }

    /// Checks that a tensor of such a shape may be made.
    fn count_dims(&mut self, dims: &[usize]) -> Result<(), Unsupported> {
        let width = dims.iter().try_fold(1_usize, |width, size| width.checked_mul(*size));
        self.count(width.unwrap_or(usize::MAX))
    }

    /// All numbers of a source.
    fn whole(&self, source: u32, dims: Vec<usize>) -> View {
        let Source { kind, width, .. } = self.sources[source as usize];
        View::new(kind, dims, (0..width as u32).map(|at| Cell { source, at }).collect::<Vec<_>>())
    }

    /// Adds a step; returns the source of what it writes.
    fn step(&mut self, action: Action, kind: Kind, width: usize) -> Result<u32, Unsupported> {
        if width == 0 {
            return unsupported("a tensor has no numbers");
        }
        let source = self.add_source(kind, width, Made::Step(self.drafts.len()))?;
        self.drafts.push(Draft { action, kind, width, source });
        Ok(source)
    }

    /// A constant as a tensor of rows, all alike, for an operator whose other inputs have so many axes.
    fn spread(&mut self, constant: &Constant, axes: usize) -> Result<View, Unsupported> {
        let dims = match constant.dims.split_first() {
            Some((1, rest)) if constant.dims.len() == axes => rest,
            _ if constant.dims.len() < axes => &constant.dims,
            _ => return unsupported("a constant has rows of its own"),
        };
        self.count(constant.data.len())?;
        let cells = constant.cells.get_or_init(|| self.constant_cells(&constant.data).into());
        let kind = constant.data.kind();
        Ok(View { narrow: constant.narrow, ..View::new(kind, dims.to_vec(), Rc::clone(cells)) })
    }

    fn constant_cells(&mut self, data: &Data) -> Vec<Cell> {
        fn add<T: Copy>(bank: &mut Vec<T>, values: &[T]) -> std::ops::Range<usize> {
            let begin = bank.len();
            bank.extend_from_slice(values);
            begin..bank.len()
        }
        let range = match data {
            Data::F32(values) => add(&mut self.constants.f32, values),
            Data::F64(values) => add(&mut self.constants.f64, values),
            Data::I64(values) => add(&mut self.constants.i64, values),
            Data::Bool(values) => add(&mut self.constants.bool, values),
        };
        range.map(|at| Cell { source: data.kind() as u32, at: at as u32 }).collect()
    }

    /// Inputs of an operator as tensors of rows of one shape.
    fn broadcast(&mut self, values: &[Value]) -> Result<(Vec<View>, Vec<usize>), Unsupported> {
        let axes = values.iter().filter_map(|value| match value {
            Value::Rows(view) => Some(view.dims.len()),
            Value::Constant(_) => None,
        });
        let axes: Vec<_> = axes.collect();
        let Some(first) = axes.first() else { return unsupported("an operator gets constants only") };
        if axes.iter().any(|each| each != first) {
            return unsupported("an operator mixes tensors of several shapes");
        }
        let mut views = Vec::new();
        for value in values {
            views.push(match value {
                Value::Rows(view) => view.clone(),
                Value::Constant(constant) => self.spread(constant, first + 1)?,
            });
        }
        let dims = common_dims(views.iter().map(|view| view.dims.as_slice()))?;
        // Each input is spread over all numbers.
        views.iter().try_for_each(|_| self.count_dims(&dims))?;
        let spread = views.iter().map(|view| view.moved(dims.clone(), view.broadcast(&dims)));
        Ok((spread.collect(), dims))
    }

    /// Cells as an operand: for each number one that stands for all, or numbers next to each other.
    fn operand(&mut self, cells: &[Cell]) -> Result<Operand, Unsupported> {
        match cells.first() {
            Some(first) if cells.iter().all(|cell| cell == first) => Ok(self.place(*first, true)),
            _ => self.dense(cells),
        }
    }

    /// Cells as an operand, numbers next to each other.
    fn dense(&mut self, cells: &[Cell]) -> Result<Operand, Unsupported> {
        let first = cells.first().copied().unwrap_or(Cell { source: 0, at: 0 });
        let consecutive =
            cells.iter().zip(first.at..).all(|(cell, at)| cell.source == first.source && cell.at == at);
        if consecutive {
            return Ok(self.place(first, false));
        }
        let source = self.pick(cells)?;
        Ok(self.place(Cell { source, at: 0 }, false))
    }

    /// Where a cell is. Until the end of the compilation slots have the numbers of sources.
    fn place(&self, cell: Cell, one: bool) -> Operand {
        let Source { width, made, .. } = self.sources[cell.source as usize];
        let place = match made {
            Made::Constants => Place::Constants,
            Made::Input(input) => Place::Input(input),
            Made::Step(_) => Place::Slot(cell.source as usize),
        };
        Operand { place, stride: width, begin: cell.at as usize, one }
    }

    /// Cells as a source of their own.
    fn pick(&mut self, cells: &[Cell]) -> Result<u32, Unsupported> {
        if let Some(source) = self.picked.get(cells) {
            return Ok(*source);
        }
        let mut runs: Vec<Run> = Vec::new();
        let mut before: Option<Cell> = None;
        for cell in cells {
            match (before, runs.last_mut()) {
                (Some(before), Some(run)) if before.source == cell.source && before.at + 1 == cell.at => {
                    run.length += 1;
                }
                _ => {
                    let Operand { place, stride, begin, .. } = self.place(*cell, true);
                    runs.push(Run { place, stride, begin, length: 1 });
                }
            }
            before = Some(*cell);
        }
        let kind = cells.first().map_or(Kind::F32, |cell| self.sources[cell.source as usize].kind);
        let source = self.step(Action::Pick(runs.into()), kind, cells.len())?;
        self.picked.insert(cells.to_vec(), source);
        Ok(source)
    }

    /// Cells as a whole source: an input, or what a step writes.
    fn whole_source(&mut self, cells: &[Cell]) -> Result<u32, Unsupported> {
        let all = |source: u32| {
            let Source { width, made, .. } = self.sources[source as usize];
            made != Made::Constants && width == cells.len()
        };
        let in_order =
            cells.iter().zip(0..).all(|(cell, at)| cell.source == cells[0].source && cell.at == at);
        if in_order && !cells.is_empty() && all(cells[0].source) {
            return Ok(cells[0].source);
        }
        self.pick(cells)
    }

    /// The source that is at a place.
    fn source_of(&self, place: Place) -> Option<u32> {
        match place {
            // Until the end of the compilation slots have the numbers of sources.
            Place::Slot(source) => Some(source as u32),
            Place::Input(input) => self.inputs.get(input).copied(),
            Place::Output(_) | Place::Constants => None,
        }
    }

    /// The step that wrote a source.
    fn draft(&self, source: u32) -> Option<&Draft> {
        self.draft_number(source).map(|at| &self.drafts[at])
    }

    fn draft_number(&self, source: u32) -> Option<usize> {
        match self.sources[source as usize].made {
            Made::Step(draft) => Some(draft),
            Made::Constants | Made::Input(_) => None,
        }
    }
}
