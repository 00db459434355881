//! Memory for the runs of programs, and the kinds of numbers that it holds.

use crate::program::BLOCK_BYTES;
use crate::program::onnx::Data;
use crate::program::plan::Kind;
use crate::trees::Scratch;
use crate::values::{Values, ValuesMut};

/// Memory for the runs of programs, of one thread. What it has beyond `BLOCK_BYTES` is given back before the next run.
#[derive(Debug, Default)]
pub struct Memory {
    slots: Slots,
    pub(crate) scratch: Scratch,
}

#[derive(Debug, Default)]
struct Slots {
    f32: Vec<Vec<f32>>,
    f64: Vec<Vec<f64>>,
    i64: Vec<Vec<i64>>,
    bool: Vec<Vec<bool>>,
    /// The bytes of all.
    bytes: usize,
}

/// The constants of a program.
#[derive(Debug, Default)]
pub(crate) struct Constants {
    pub f32: Vec<f32>,
    pub f64: Vec<f64>,
    pub i64: Vec<i64>,
    pub bool: Vec<bool>,
}

/// A number of one of the kinds.
pub(crate) trait Stored: Copy + Default + 'static {
    fn slots(memory: &Memory) -> &[Vec<Self>];
    fn slots_mut(memory: &mut Memory) -> &mut Vec<Vec<Self>>;
    fn constants(constants: &Constants) -> &[Self];
    fn table(data: &Data) -> Option<&[Self]>;
    fn input<'a>(values: Values<'a>) -> Option<&'a [Self]>;
    fn output<'a, 'v>(values: &'a mut ValuesMut<'v>) -> Option<&'a mut &'v mut [Self]>;
}

macro_rules! stored {
    ($type:ty, $field:ident, $variant:ident, |$values:ident| $output:expr) => {
        impl Stored for $type {
            #[inline(always)]
            fn slots(memory: &Memory) -> &[Vec<Self>] {
                &memory.slots.$field
            }
            #[inline(always)]
            fn slots_mut(memory: &mut Memory) -> &mut Vec<Vec<Self>> {
                &mut memory.slots.$field
            }
            #[inline(always)]
            fn constants(constants: &Constants) -> &[Self] {
                &constants.$field
            }
            #[inline(always)]
            fn table(data: &Data) -> Option<&[Self]> {
                if let Data::$variant(values) = data { Some(values) } else { None }
            }
            #[inline(always)]
            fn input<'a>(values: Values<'a>) -> Option<&'a [Self]> {
                if let Values::$variant(values) = values { Some(values) } else { None }
            }
            #[inline(always)]
            fn output<'a, 'v>($values: &'a mut ValuesMut<'v>) -> Option<&'a mut &'v mut [Self]> {
                $output
            }
        }
    };
}

stored!(f32, f32, F32, |values| if let ValuesMut::F32(values) = values { Some(values) } else { None });
stored!(f64, f64, F64, |values| if let ValuesMut::F64(values) = values { Some(values) } else { None });
stored!(i64, i64, I64, |values| if let ValuesMut::I64(values) = values { Some(values) } else { None });
stored!(bool, bool, Bool, |_values| None);

impl Memory {
    /// Makes room for `rows` rows in each slot, with whatever numbers.
    pub(crate) fn fit(&mut self, widths: &Widths, rows: usize) {
        // Each program has slots of its own widths, so those of several together may have any size.
        if self.slots.bytes > BLOCK_BYTES {
            *self = Self::default();
        }
        let Slots { f32, f64, i64, bool, bytes } = &mut self.slots;
        *bytes += grow(f32, &widths.f32, rows);
        *bytes += grow(f64, &widths.f64, rows);
        *bytes += grow(i64, &widths.i64, rows);
        *bytes += grow(bool, &widths.bool, rows);
    }
}

/// The widths of the slots of a program.
#[derive(Debug, Default)]
pub(crate) struct Widths {
    pub f32: Vec<usize>,
    pub f64: Vec<usize>,
    pub i64: Vec<usize>,
    pub bool: Vec<usize>,
}

impl Widths {
    pub(crate) fn of_mut(&mut self, kind: Kind) -> &mut Vec<usize> {
        match kind {
            Kind::F32 => &mut self.f32,
            Kind::F64 => &mut self.f64,
            Kind::I64 => &mut self.i64,
            Kind::Bool => &mut self.bool,
        }
    }

    /// Bytes of a row.
    pub(crate) fn bytes(&self) -> usize {
        let sum = |widths: &[usize]| widths.iter().sum::<usize>();
        4 * sum(&self.f32) + 8 * sum(&self.f64) + 8 * sum(&self.i64) + sum(&self.bool)
    }
}

/// Makes slots larger where they are too small; returns by how many bytes.
fn grow<T: Copy + Default>(slots: &mut Vec<Vec<T>>, widths: &[usize], rows: usize) -> usize {
    if slots.len() < widths.len() {
        slots.resize(widths.len(), Vec::new());
    }
    let mut more = 0;
    for (slot, width) in slots.iter_mut().zip(widths) {
        if slot.len() < width * rows {
            more += (width * rows - slot.len()) * size_of::<T>();
            *slot = vec![T::default(); width * rows];
        }
    }
    more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_large_is_given_back_before_the_next_run() {
        let mut memory = Memory::default();
        let wide = |kind| {
            let mut widths = Widths::default();
            widths.of_mut(kind).extend([1 << 19, 1 << 19]);
            widths
        };
        memory.fit(&wide(Kind::F32), 1);
        memory.fit(&wide(Kind::F32), 2);
        assert_eq!(memory.slots.bytes, 8 << 20);
        // Both programs fit, but not together.
        memory.fit(&wide(Kind::F64), 1);
        assert_eq!((memory.slots.bytes, memory.slots.f32.len()), (16 << 20, 2));
        memory.fit(&Widths { i64: vec![3], ..Widths::default() }, 1);
        assert_eq!((memory.slots.bytes, memory.slots.f32.len(), memory.slots.f64.len()), (24, 0, 0));
    }
}
