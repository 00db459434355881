//! Steps that make each number from the numbers at the same place.

use crate::program::arithmetic::{Binary, Comparison, Fraction, Number, Unary, sigmoid};
use crate::program::execute::{Block, Reader, rows_of};
use crate::program::memory::Stored;
use crate::program::plan::{Kind, Link, Operand, Place, Step};
use crate::values::Values;

impl Block<'_, '_, '_> {
    /// Writes a function of each number.
    #[inline(always)]
    pub(super) fn map<A: Stored, T: Stored>(&mut self, step: &Step, of: &Operand, function: impl Fn(A) -> T) {
        let width = step.width;
        self.write::<T>(step, |block, out| {
            let a = block.reader::<A>(of);
            if a.is_flat(width) {
                for (out, a) in out.iter_mut().zip(a.values) {
                    *out = function(*a);
                }
                return;
            }
            for (row, out) in rows_of(out, width) {
                if a.one {
                    out.fill(function(a.values[row * a.stride]));
                } else {
                    for (out, a) in out.iter_mut().zip(a.row(row, width)) {
                        *out = function(*a);
                    }
                }
            }
        });
    }

    /// Writes a function of each two numbers.
    #[inline(always)]
    pub(super) fn zip<A: Stored, T: Stored>(
        &mut self,
        step: &Step,
        of: &[Operand; 2],
        function: impl Fn(A, A) -> T,
    ) {
        let width = step.width;
        self.write::<T>(step, |block, out| {
            let (a, b) = (block.reader::<A>(&of[0]), block.reader::<A>(&of[1]));
            if a.is_flat(width) && b.is_flat(width) {
                for ((out, a), b) in out.iter_mut().zip(a.values).zip(b.values) {
                    *out = function(*a, *b);
                }
            } else if a.is_flat(width) && b.is_fixed() {
                let b = b.values[0];
                for (out, a) in out.iter_mut().zip(a.values) {
                    *out = function(*a, b);
                }
            } else if a.is_fixed() && b.is_flat(width) {
                let a = a.values[0];
                for (out, b) in out.iter_mut().zip(b.values) {
                    *out = function(a, *b);
                }
            } else {
                for (row, out) in rows_of(out, width) {
                    zip_row(out, &a, &b, row, &function);
                }
            }
        });
    }

    pub(super) fn unary_of_integers(&mut self, step: &Step, unary: Unary, of: &Operand) {
        match unary {
            Unary::Neg => self.map(step, of, i64::negated),
            Unary::Abs => self.map(step, of, i64::magnitude),
            _ => self.map(step, of, i64::sign),
        }
    }

    pub(super) fn binary<T: Stored + Number>(&mut self, step: &Step, binary: Binary, of: &[Operand; 2]) {
        match binary {
            Binary::Add => self.zip(step, of, T::plus),
            Binary::Sub => self.zip(step, of, T::minus),
            Binary::Mul => self.zip(step, of, T::times),
            Binary::Min => self.zip(step, of, T::least),
            Binary::Max => self.zip(step, of, T::most),
            Binary::Div | Binary::Remainder | Binary::Pow => unreachable!("the compiler checks kinds"),
        }
    }

    pub(super) fn binary_of_fractions<T: Stored + Fraction>(
        &mut self,
        step: &Step,
        binary: Binary,
        of: &[Operand; 2],
    ) {
        match binary {
            Binary::Div => self.zip(step, of, T::over),
            Binary::Remainder => self.zip(step, of, T::remainder),
            Binary::Pow => self.zip(step, of, T::power),
            _ => self.binary::<T>(step, binary, of),
        }
    }

    pub(super) fn cast(&mut self, step: &Step, kind: Kind, of: &Operand) {
        if let Place::Input(input) = of.place {
            // The only numbers of other types are those of inputs.
            match self.inputs[input] {
                Values::I32(values) => return self.widen(step, of, values),
                Values::I16(values) => return self.widen(step, of, values),
                Values::I8(values) => return self.widen(step, of, values),
                Values::U32(values) => return self.widen(step, of, values),
                Values::U16(values) => return self.widen(step, of, values),
                Values::U8(values) => return self.widen(step, of, values),
                Values::F32(_) | Values::F64(_) | Values::I64(_) | Values::Bool(_) => {}
            }
        }
        match (kind, step.kind) {
            (Kind::F32, Kind::F64) => self.map(step, of, |value: f32| f64::from(value)),
            (Kind::F32, Kind::I64) => self.map(step, of, f32::whole),
            (Kind::F32, Kind::Bool) => self.map(step, of, |value: f32| value != 0.0),
            (Kind::F64, Kind::F32) => self.map(step, of, |value: f64| value as f32),
            (Kind::F64, Kind::I64) => self.map(step, of, f64::whole),
            (Kind::F64, Kind::Bool) => self.map(step, of, |value: f64| value != 0.0),
            (Kind::I64, Kind::F32) => self.map(step, of, |value: i64| value as f32),
            (Kind::I64, Kind::F64) => self.map(step, of, |value: i64| value as f64),
            (Kind::I64, Kind::Bool) => self.map(step, of, |value: i64| value != 0),
            (Kind::Bool, Kind::F32) => self.map(step, of, |value: bool| f32::from(u8::from(value))),
            (Kind::Bool, Kind::F64) => self.map(step, of, |value: bool| f64::from(u8::from(value))),
            (Kind::Bool, Kind::I64) => self.map(step, of, |value: bool| i64::from(value)),
            (Kind::F32, Kind::F32) => self.map(step, of, |value: f32| value),
            (Kind::F64, Kind::F64) => self.map(step, of, |value: f64| value),
            (Kind::I64, Kind::I64) => self.map(step, of, |value: i64| value),
            (Kind::Bool, Kind::Bool) => self.map(step, of, |value: bool| value),
        }
    }

    /// Writes the whole numbers of an input of another type.
    fn widen<A: Copy + Into<i64>>(&mut self, step: &Step, of: &Operand, values: &[A]) {
        let begin = self.first * of.stride;
        self.write::<i64>(step, |_, out| {
            for (out, value) in out.iter_mut().zip(&values[begin..]) {
                *out = (*value).into();
            }
        });
    }
}

#[inline(always)]
fn zip_row<A: Stored, T: Stored>(
    out: &mut [T],
    a: &Reader<'_, A>,
    b: &Reader<'_, A>,
    row: usize,
    function: &impl Fn(A, A) -> T,
) {
    let width = out.len();
    match (a.one, b.one) {
        (false, false) => {
            for ((out, a), b) in out.iter_mut().zip(a.row(row, width)).zip(b.row(row, width)) {
                *out = function(*a, *b);
            }
        }
        (false, true) => {
            let b = b.values[row * b.stride];
            for (out, a) in out.iter_mut().zip(a.row(row, width)) {
                *out = function(*a, b);
            }
        }
        (true, false) => {
            let a = a.values[row * a.stride];
            for (out, b) in out.iter_mut().zip(b.row(row, width)) {
                *out = function(a, *b);
            }
        }
        (true, true) => out.fill(function(a.values[row * a.stride], b.values[row * b.stride])),
    }
}

pub(super) fn chain<T: Stored + Fraction>(
    block: &mut Block<'_, '_, '_>,
    step: &Step,
    of: &Operand,
    links: &[Link],
) {
    let width = step.width;
    block.write::<T>(step, |block, out| {
        let a = block.reader::<T>(of);
        if a.is_flat(width) {
            out.copy_from_slice(a.values);
        } else {
            for (row, out) in rows_of(out, width) {
                if a.one {
                    out.fill(a.values[row * a.stride]);
                } else {
                    out.copy_from_slice(a.row(row, width));
                }
            }
        }
        links.iter().for_each(|link| apply(*link, out));
    });
}

/// Applies a function in place.
fn apply<T: Fraction>(link: Link, out: &mut [T]) {
    #[inline(always)]
    fn each<T: Copy>(out: &mut [T], function: impl Fn(T) -> T) {
        for value in out {
            *value = function(*value);
        }
    }
    match link {
        Link::Unary(unary) => match unary {
            Unary::Neg => each(out, T::negated),
            Unary::Abs => each(out, T::magnitude),
            Unary::Sign => each(out, T::sign),
            Unary::Exp => each(out, T::exp),
            Unary::Log => each(out, T::log),
            Unary::Log1p => each(out, T::log1p),
            Unary::Sqrt => each(out, T::sqrt),
            Unary::Reciprocal => each(out, |value| T::ONE.over(value)),
            Unary::Floor => each(out, T::floor),
            Unary::Ceil => each(out, T::ceil),
            Unary::Round => each(out, T::round),
            Unary::Tanh => each(out, T::tanh),
            Unary::Sigmoid => each(out, sigmoid::<T>),
            Unary::Relu => each(out, |value| value.most(T::default())),
        },
        Link::With(binary, second) => {
            let second = T::of(second);
            match binary {
                Binary::Add => each(out, |value| value.plus(second)),
                Binary::Sub => each(out, |value| value.minus(second)),
                Binary::Mul => each(out, |value| value.times(second)),
                Binary::Min => each(out, |value| value.least(second)),
                Binary::Max => each(out, |value| value.most(second)),
                Binary::Div => each(out, |value| value.over(second)),
                Binary::Remainder => each(out, |value| value.remainder(second)),
                Binary::Pow => each(out, |value| value.power(second)),
            }
        }
        Link::After(first, binary) => {
            let first = T::of(first);
            match binary {
                Binary::Add => each(out, |value| first.plus(value)),
                Binary::Sub => each(out, |value| first.minus(value)),
                Binary::Mul => each(out, |value| first.times(value)),
                Binary::Min => each(out, |value| first.least(value)),
                Binary::Max => each(out, |value| first.most(value)),
                Binary::Div => each(out, |value| first.over(value)),
                Binary::Remainder => each(out, |value| first.remainder(value)),
                Binary::Pow => each(out, |value| first.power(value)),
            }
        }
    }
}

pub(super) fn compare<T: Stored + PartialOrd>(
    block: &mut Block<'_, '_, '_>,
    step: &Step,
    comparison: Comparison,
    of: &[Operand; 2],
) {
    match comparison {
        Comparison::Equal => block.zip(step, of, |a: T, b: T| a == b),
        Comparison::Less => block.zip(step, of, |a: T, b: T| a < b),
        Comparison::LessOrEqual => block.zip(step, of, |a: T, b: T| a <= b),
        Comparison::Greater => block.zip(step, of, |a: T, b: T| a > b),
        Comparison::GreaterOrEqual => block.zip(step, of, |a: T, b: T| a >= b),
    }
}

pub(super) fn choose<T: Stored>(
    block: &mut Block<'_, '_, '_>,
    step: &Step,
    condition: &Operand,
    of: &[Operand; 2],
) {
    let width = step.width;
    block.write::<T>(step, |block, out| {
        let (a, b) = (block.reader::<T>(&of[0]), block.reader::<T>(&of[1]));
        let condition = block.reader::<bool>(condition);
        for (row, out) in rows_of(out, width) {
            if condition.one {
                let chosen = if condition.values[row * condition.stride] { &a } else { &b };
                if chosen.one {
                    out.fill(chosen.values[row * chosen.stride]);
                } else {
                    out.copy_from_slice(chosen.row(row, width));
                }
                continue;
            }
            let conditions = condition.row(row, width);
            match (a.one, b.one) {
                (false, false) => {
                    let pairs = a.row(row, width).iter().zip(b.row(row, width));
                    for ((out, holds), (a, b)) in out.iter_mut().zip(conditions).zip(pairs) {
                        *out = if *holds { *a } else { *b };
                    }
                }
                (true, false) => {
                    let a = a.values[row * a.stride];
                    for ((out, holds), b) in out.iter_mut().zip(conditions).zip(b.row(row, width)) {
                        *out = if *holds { a } else { *b };
                    }
                }
                (false, true) => {
                    let b = b.values[row * b.stride];
                    for ((out, holds), a) in out.iter_mut().zip(conditions).zip(a.row(row, width)) {
                        *out = if *holds { *a } else { b };
                    }
                }
                (true, true) => {
                    let (a, b) = (a.values[row * a.stride], b.values[row * b.stride]);
                    for (out, holds) in out.iter_mut().zip(conditions) {
                        *out = if *holds { a } else { b };
                    }
                }
            }
        }
    });
}
