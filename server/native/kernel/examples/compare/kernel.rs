//! Programs of the kernel, and their trees alone.

use scorewire_kernel::program::{Memory, Options, Program};
use scorewire_kernel::trees::Scratch;
use scorewire_kernel::values::{Values, ValuesMut};

use crate::rows::{self, Table, Tensor};
use crate::{Fallible, Subject};

/// A program: what a server runs.
pub(crate) struct Compiled<'t> {
    pub program: Program,
    memory: Memory,
    table: &'t Table,
    inputs: Vec<(Tensor, usize)>,
    outputs: Vec<(Tensor, usize)>,
}

impl<'t> Compiled<'t> {
    pub(crate) fn new(graph: &[u8], options: Options, table: &'t Table) -> Fallible<Self> {
        let program = Program::compile(graph, options).map_err(|error| error.to_string())?;
        let inputs = rows::inputs(table, program.inputs())?;
        let outputs = program.outputs().iter();
        let outputs =
            outputs.map(|port| Ok((Tensor::zeros(port.element, table.count * port.width)?, port.width)));
        let outputs = outputs.collect::<Fallible<Vec<_>>>()?;
        if inputs.len().max(outputs.len()) > FEW {
            return Err(format!("the graph has more than {FEW} inputs or outputs"));
        }
        Ok(Self { program, memory: Memory::default(), table, inputs, outputs })
    }

    fn run(&mut self, first: usize, count: usize) {
        let mut read = [Values::F32(&[]); FEW];
        for (to, (tensor, width)) in read.iter_mut().zip(&self.inputs) {
            *to = tensor.part(first * width, (first + count) * width);
        }
        let mut written = std::array::from_fn::<_, FEW, _>(|_| ValuesMut::F32(&mut []));
        let outputs = self.outputs.len();
        for (to, (tensor, width)) in written.iter_mut().zip(&mut self.outputs) {
            *to = tensor.part_mut(count * *width);
        }
        let (read, written) = (&read[..self.inputs.len()], &mut written[..outputs]);
        let ran = self.program.run(count, read, written, &mut self.memory, &|| false);
        ran.expect("nothing stops the run");
    }
}

/// The most inputs and outputs of a graph: the slices of a call are on the stack, as in the engine.
pub(crate) const FEW: usize = 8;

impl Subject for Compiled<'_> {
    fn call(&mut self, first: usize, count: usize) {
        self.run(first, count);
    }

    fn margins(&mut self) -> Option<Vec<f64>> {
        self.run(0, self.table.count);
        let (tensor, width) = self.outputs.first()?;
        Some(tensor.doubles(self.table.count * width))
    }
}

/// The trees of a program whose graph has nothing else.
pub(crate) struct Alone<'t> {
    compiled: Compiled<'t>,
    scratch: Scratch,
}

impl<'t> Alone<'t> {
    /// `None`: the form does not take the trees, or not with this processor.
    pub(crate) fn new(graph: &[u8], options: Options, table: &'t Table) -> Option<Self> {
        let compiled = Compiled::new(graph, options, table).ok()?;
        let is_whole = compiled.program.trees().map(|trees| trees.widths().0).eq([table.features]);
        is_whole.then_some(Self { compiled, scratch: Scratch::default() })
    }

    pub(crate) fn bytes(&self) -> usize {
        self.compiled.program.trees().map(|trees| trees.bytes()).sum()
    }
}

impl Subject for Alone<'_> {
    fn call(&mut self, first: usize, count: usize) {
        let Compiled { program, inputs, outputs, .. } = &mut self.compiled;
        let ((rows, features), (sums, targets)) = (&inputs[0], &mut outputs[0]);
        let rows = rows.part(first * features, (first + count) * features);
        let trees = program.trees().next().expect("there is one");
        trees.score(rows, sums.part_mut(count * *targets), &mut self.scratch);
    }

    fn margins(&mut self) -> Option<Vec<f64>> {
        self.call(0, self.compiled.table.count);
        let (tensor, width) = &self.compiled.outputs[0];
        Some(tensor.doubles(self.compiled.table.count * width))
    }
}
