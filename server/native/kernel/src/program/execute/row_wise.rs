//! Steps over all numbers of a row, and those that move numbers.

use crate::program::Failure;
use crate::program::arithmetic::{Fraction, Number, Reduction};
use crate::program::execute::{Block, rows_of};
use crate::program::memory::Stored;
use crate::program::onnx::Data;
use crate::program::plan::{Operand, Run, Step};

pub(super) fn pick<T: Stored>(block: &mut Block<'_, '_, '_>, step: &Step, runs: &[Run]) {
    let width = step.width;
    block.write::<T>(step, |block, out| {
        let mut at = 0;
        for run in runs {
            let from = &block.tensor::<T>(run.place, run.stride)[run.begin..];
            for (row, out) in rows_of(out, width) {
                let from = &from[row * run.stride..];
                if run.length == 1 {
                    out[at] = from[0];
                } else {
                    out[at..at + run.length].copy_from_slice(&from[..run.length]);
                }
            }
            at += run.length;
        }
    });
}

pub(super) fn multiply<T: Stored + Fraction>(
    block: &mut Block<'_, '_, '_>,
    step: &Step,
    of: &Operand,
    inner: usize,
    matrix: &Data,
) {
    let (width, matrix) = (step.width, T::table(matrix).expect("the matrix is of the kind of the product"));
    block.write::<T>(step, |block, out| {
        let a = block.reader::<T>(of);
        for (row, out) in rows_of(out, width) {
            let numbers = a.numbers(row, inner);
            if let [out] = out {
                *out = dot(numbers, matrix);
                continue;
            }
            out.fill(T::default());
            for (number, weights) in numbers.iter().zip(matrix.chunks_exact(width)) {
                for (out, weight) in out.iter_mut().zip(weights) {
                    *out = out.plus(number.times(*weight));
                }
            }
        }
    });
}

/// The sum of products, in eight sums at once.
fn dot<T: Fraction>(a: &[T], b: &[T]) -> T {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [T::default(); 8];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum = sum.plus(a.times(*b));
        }
    }
    for ((sum, a), b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum = sum.plus(a.times(*b));
    }
    sums.into_iter().fold(T::default(), T::plus)
}

pub(super) fn softmax<T: Stored + Fraction>(
    block: &mut Block<'_, '_, '_>,
    step: &Step,
    of: &Operand,
    group: usize,
) {
    in_groups(block, step, of, group, T::softmax);
}

/// Writes the numbers, and lets `change` change each group in its place.
fn in_groups<T: Stored>(
    block: &mut Block<'_, '_, '_>,
    step: &Step,
    of: &Operand,
    group: usize,
    change: impl Fn(&mut [T]),
) {
    let width = step.width;
    block.write::<T>(step, |block, out| {
        let a = block.reader::<T>(of);
        for (row, out) in rows_of(out, width) {
            out.copy_from_slice(a.numbers(row, width));
            out.chunks_exact_mut(group).for_each(&change);
        }
    });
}

pub(super) fn arg_max<T: Stored + Number>(
    block: &mut Block<'_, '_, '_>,
    step: &Step,
    of: &Operand,
    group: usize,
    last: bool,
) {
    by_group(block, step, of, group, |group: &[T]| {
        let (mut best, mut at) = (group[0], 0);
        for (i, value) in group.iter().enumerate().skip(1) {
            if *value > best || (last && *value == best) {
                (best, at) = (*value, i);
            }
        }
        at as i64
    });
}

/// Writes what `reduce` makes of each group.
fn by_group<T: Stored, R: Stored>(
    block: &mut Block<'_, '_, '_>,
    step: &Step,
    of: &Operand,
    group: usize,
    reduce: impl Fn(&[T]) -> R,
) {
    let width = step.width;
    block.write::<R>(step, |block, out| {
        let a = block.reader::<T>(of);
        for (row, out) in rows_of(out, width) {
            let numbers = a.numbers(row, width * group);
            for (i, out) in out.iter_mut().enumerate() {
                *out = reduce(&numbers[i * group..(i + 1) * group]);
            }
        }
    });
}

fn sum<T: Number>(group: &[T]) -> T {
    group.iter().copied().fold(T::default(), T::plus)
}

pub(super) fn reduce_fractions<T: Stored + Fraction>(
    block: &mut Block<'_, '_, '_>,
    step: &Step,
    reduction: Reduction,
    of: &Operand,
    group: usize,
) {
    fn squares<T: Number>(group: &[T]) -> T {
        group.iter().fold(T::default(), |sum, value| sum.plus(value.times(*value)))
    }
    match reduction {
        Reduction::Sum => by_group(block, step, of, group, sum::<T>),
        Reduction::Mean => {
            by_group(block, step, of, group, |group: &[T]| sum(group).over(T::of(group.len() as f64)));
        }
        Reduction::Min | Reduction::Max => unreachable!("the compiler checks kinds"),
        Reduction::SumOfSquares => by_group(block, step, of, group, squares::<T>),
        Reduction::SumOfMagnitudes => by_group(block, step, of, group, |group: &[T]| {
            group.iter().fold(T::default(), |sum, value| sum.plus(value.magnitude()))
        }),
        Reduction::Norm => by_group(block, step, of, group, |group: &[T]| squares(group).sqrt()),
    }
}

pub(super) fn reduce_integers(
    block: &mut Block<'_, '_, '_>,
    step: &Step,
    reduction: Reduction,
    of: &Operand,
    group: usize,
) {
    match reduction {
        Reduction::Min => by_group(block, step, of, group, |group: &[i64]| fold(group, i64::least)),
        Reduction::Max => by_group(block, step, of, group, |group: &[i64]| fold(group, i64::most)),
        _ => by_group(block, step, of, group, sum::<i64>),
    }
}

/// The compiler makes sure that groups for this are not empty.
fn fold<T: Number>(group: &[T], with: impl Fn(T, T) -> T) -> T {
    group.iter().copied().reduce(with).unwrap_or_default()
}

pub(super) fn running_sums<T: Stored + Number>(
    block: &mut Block<'_, '_, '_>,
    step: &Step,
    of: &Operand,
    group: usize,
) {
    in_groups(block, step, of, group, |group: &mut [T]| {
        for i in 1..group.len() {
            group[i] = group[i - 1].plus(group[i]);
        }
    });
}

/// An index, from the end if it is negative; `None` for one that is out of range.
#[inline(always)]
fn place(index: i64, count: usize) -> Option<usize> {
    let place = if index < 0 { index.checked_add(count as i64)? } else { index };
    usize::try_from(place).ok().filter(|place| *place < count)
}

pub(super) fn look_up<T: Stored>(
    block: &mut Block<'_, '_, '_>,
    step: &Step,
    table: &Data,
    rows: usize,
    index: &Operand,
) -> Result<(), Failure> {
    let table = T::table(table).expect("the table is of the kind of the result");
    let (each, width) = (table.len() / rows, step.width);
    let mut lacks = false;
    block.write::<T>(step, |block, out| {
        let index = block.reader::<i64>(index);
        for (row, out) in rows_of(out, width) {
            let indices = index.numbers(row, width / each.max(1));
            for (out, index) in out.chunks_exact_mut(each.max(1)).zip(indices) {
                match place(*index, rows) {
                    Some(place) => out.copy_from_slice(&table[place * each..(place + 1) * each]),
                    None => lacks = true,
                }
            }
        }
    });
    if lacks { Err(Failure::OutOfRange) } else { Ok(()) }
}

pub(super) fn take_by_index<T: Stored>(
    block: &mut Block<'_, '_, '_>,
    step: &Step,
    of: &Operand,
    among: usize,
    index: &Operand,
) -> Result<(), Failure> {
    let width = step.width;
    let mut lacks = false;
    block.write::<T>(step, |block, out| {
        let (a, index) = (block.reader::<T>(of), block.reader::<i64>(index));
        for (row, out) in rows_of(out, width) {
            let values = a.numbers(row, among);
            for (out, index) in out.iter_mut().zip(index.numbers(row, width)) {
                match place(*index, among) {
                    Some(place) => *out = values[place],
                    None => lacks = true,
                }
            }
        }
    });
    if lacks { Err(Failure::OutOfRange) } else { Ok(()) }
}
