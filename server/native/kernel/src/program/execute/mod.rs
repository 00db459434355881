//! Runs steps over a block of rows.

mod elementwise;
mod row_wise;

use std::mem::take;

use crate::program::Failure;
use crate::program::arithmetic::Logic;
use crate::program::execute::elementwise::{chain, choose, compare};
use crate::program::execute::row_wise::{
    arg_max, look_up, multiply, pick, reduce_fractions, reduce_integers, running_sums, softmax, take_by_index,
};
use crate::program::memory::{Constants, Memory, Stored};
use crate::program::plan::{Action, Kind, Link, Operand, Place, Step};
use crate::trees::Trees;
use crate::values::{Values, ValuesMut};

/// A block of rows, and all tensors for it.
pub(crate) struct Block<'b, 'i, 'o> {
    pub constants: &'b Constants,
    pub inputs: &'b [Values<'i>],
    pub outputs: &'b mut [ValuesMut<'o>],
    pub memory: &'b mut Memory,
    /// The first row, in the inputs and the outputs.
    pub first: usize,
    pub rows: usize,
}

/// Calls a function with the type of a kind's numbers.
macro_rules! with_fraction {
    ($kind:expr, $call:ident($($given:expr),*)) => {
        match $kind {
            Kind::F32 => $call::<f32>($($given),*),
            Kind::F64 => $call::<f64>($($given),*),
            Kind::I64 | Kind::Bool => unreachable!("the compiler checks kinds"),
        }
    };
}

macro_rules! with_number {
    ($kind:expr, $call:ident($($given:expr),*)) => {
        match $kind {
            Kind::F32 => $call::<f32>($($given),*),
            Kind::F64 => $call::<f64>($($given),*),
            Kind::I64 => $call::<i64>($($given),*),
            Kind::Bool => unreachable!("the compiler checks kinds"),
        }
    };
}

macro_rules! with_any {
    ($kind:expr, $call:ident($($given:expr),*)) => {
        match $kind {
            Kind::F32 => $call::<f32>($($given),*),
            Kind::F64 => $call::<f64>($($given),*),
            Kind::I64 => $call::<i64>($($given),*),
            Kind::Bool => $call::<bool>($($given),*),
        }
    };
}

/// The numbers of an operand over a block.
struct Reader<'a, T> {
    values: &'a [T],
    stride: usize,
    one: bool,
}

impl Block<'_, '_, '_> {
    /// The numbers of the block's rows in a tensor.
    #[inline(always)]
    fn tensor<T: Stored>(&self, place: Place, stride: usize) -> &[T] {
        let (begin, length) = (self.first * stride, self.rows * stride);
        match place {
            Place::Slot(slot) => &T::slots(self.memory)[slot][..length],
            Place::Constants => T::constants(self.constants),
            Place::Input(input) => {
                &T::input(self.inputs[input]).expect("the input is of its type")[begin..begin + length]
            }
            Place::Output(output) => match &self.outputs[output] {
                ValuesMut::F32(values) => T::input(Values::F32(values)),
                ValuesMut::F64(values) => T::input(Values::F64(values)),
                ValuesMut::I64(values) => T::input(Values::I64(values)),
            }
            .map(|values| &values[begin..begin + length])
            .expect("the output is of its type"),
        }
    }

    #[inline(always)]
    fn reader<T: Stored>(&self, operand: &Operand) -> Reader<'_, T> {
        let values = &self.tensor::<T>(operand.place, operand.stride)[operand.begin..];
        Reader { values, stride: operand.stride, one: operand.one }
    }

    /// Lets a step write its tensor while it reads others.
    #[inline(always)]
    fn write<T: Stored>(&mut self, step: &Step, fill: impl FnOnce(&mut Self, &mut [T])) {
        let (begin, length) = (self.first * step.width, self.rows * step.width);
        match step.place {
            Place::Slot(slot) => {
                let mut values = take(&mut T::slots_mut(self.memory)[slot]);
                fill(self, &mut values[..length]);
                T::slots_mut(self.memory)[slot] = values;
            }
            Place::Output(output) => {
                let values = take(T::output(&mut self.outputs[output]).expect("the output is of its type"));
                fill(self, &mut values[begin..begin + length]);
                *T::output(&mut self.outputs[output]).expect("the output is of its type") = values;
            }
            Place::Input(_) | Place::Constants => unreachable!("steps write slots and outputs"),
        }
    }

    pub(crate) fn run(&mut self, step: &Step) -> Result<(), Failure> {
        match &step.action {
            Action::Unary(unary, of) => match step.kind {
                Kind::F32 => chain::<f32>(self, step, of, &[Link::Unary(*unary)]),
                Kind::F64 => chain::<f64>(self, step, of, &[Link::Unary(*unary)]),
                Kind::I64 => self.unary_of_integers(step, *unary, of),
                Kind::Bool => unreachable!("the compiler checks kinds"),
            },
            Action::Chain(of, links) => with_fraction!(step.kind, chain(self, step, of, links)),
            Action::Binary(binary, of) => match step.kind {
                Kind::F32 => self.binary_of_fractions::<f32>(step, *binary, of),
                Kind::F64 => self.binary_of_fractions::<f64>(step, *binary, of),
                Kind::I64 => self.binary::<i64>(step, *binary, of),
                Kind::Bool => unreachable!("the compiler checks kinds"),
            },
            Action::Compare { comparison, kind, of } => {
                with_any!(kind, compare(self, step, *comparison, of));
            }
            Action::Logic(logic, of) => match logic {
                Logic::And => self.zip(step, of, |a: bool, b: bool| a & b),
                Logic::Or => self.zip(step, of, |a: bool, b: bool| a | b),
                Logic::Xor => self.zip(step, of, |a: bool, b: bool| a ^ b),
            },
            Action::Not(of) => self.map(step, of, |value: bool| !value),
            Action::IsNan { kind, of } => match kind {
                Kind::F32 => self.map(step, of, f32::is_nan),
                _ => self.map(step, of, f64::is_nan),
            },
            Action::Choose(condition, of) => with_any!(step.kind, choose(self, step, condition, of)),
            Action::Cast { kind, of } => self.cast(step, *kind, of),
            Action::Pick(runs) => with_any!(step.kind, pick(self, step, runs)),
            Action::Score { trees, kind, of, .. } => match (kind, step.kind) {
                (Kind::F32, Kind::F32) => {
                    self.score(step, trees, *of, |rows| Values::F32(rows), |sums| ValuesMut::F32(sums));
                }
                (Kind::F32, _) => {
                    self.score(step, trees, *of, |rows| Values::F32(rows), |sums| ValuesMut::F64(sums));
                }
                _ => self.score(step, trees, *of, |rows| Values::F64(rows), |sums| ValuesMut::F64(sums)),
            },
            Action::Multiply { of, inner, matrix } => {
                with_fraction!(step.kind, multiply(self, step, of, *inner, matrix));
            }
            Action::Softmax { of, group } => with_fraction!(step.kind, softmax(self, step, of, *group)),
            Action::ArgMax { kind, of, group, last } => {
                with_number!(kind, arg_max(self, step, of, *group, *last));
            }
            Action::Reduce { reduction, of, group } => match step.kind {
                Kind::F32 => reduce_fractions::<f32>(self, step, *reduction, of, *group),
                Kind::F64 => reduce_fractions::<f64>(self, step, *reduction, of, *group),
                _ => reduce_integers(self, step, *reduction, of, *group),
            },
            Action::RunningSums { of, group } => {
                with_number!(step.kind, running_sums(self, step, of, *group));
            }
            Action::LookUp { table, rows, index } => {
                with_any!(step.kind, look_up(self, step, table, *rows, index))?;
            }
            Action::Take { of, among, index } => {
                with_any!(step.kind, take_by_index(self, step, of, *among, index))?;
            }
        }
        Ok(())
    }

    /// Writes the sums of trees over rows of `I`.
    fn score<I: Stored, S: Stored>(
        &mut self,
        step: &Step,
        trees: &Trees,
        of: Place,
        rows: impl Fn(&[I]) -> Values<'_>,
        sums: impl Fn(&mut [S]) -> ValuesMut<'_>,
    ) {
        self.write::<S>(step, |block, out| {
            let mut scratch = take(&mut block.memory.scratch);
            let values = block.tensor::<I>(of, trees.widths().0);
            trees.score(rows(values), sums(out), &mut scratch);
            block.memory.scratch = scratch;
        });
    }
}

impl<T: Stored> Reader<'_, T> {
    /// Whether the numbers stand as those of the result do.
    #[inline(always)]
    fn is_flat(&self, width: usize) -> bool {
        self.stride == width && (!self.one || width == 1)
    }

    /// Whether one constant stands for all.
    #[inline(always)]
    fn is_fixed(&self) -> bool {
        self.one && self.stride == 0
    }

    #[inline(always)]
    fn row(&self, row: usize, width: usize) -> &[T] {
        &self.values[row * self.stride..][..width]
    }

    /// The numbers of a row, where one that stands for the whole row is a row of its own.
    fn numbers(&self, row: usize, width: usize) -> &[T] {
        debug_assert!(!self.one || width == 1);
        self.row(row, width)
    }
}

/// The rows of a result, with their numbers.
#[inline(always)]
fn rows_of<T>(out: &mut [T], width: usize) -> impl Iterator<Item = (usize, &mut [T])> {
    out.chunks_exact_mut(width.max(1)).enumerate()
}
