//! Memory that scoring uses, kept between calls.

use crate::trees::element::Element;

/// A cache line, and a vector of AVX-512.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line(pub [u8; 64]);

impl Line {
    pub(crate) const ZERO: Self = Self([0; 64]);
}

/// Memory for scoring, of one thread. It grows to what the largest form needs, and stays.
#[derive(Debug, Default)]
pub struct Scratch {
    lines: Vec<Line>,
}

impl Scratch {
    /// `count` lines, with whatever is in them.
    pub(crate) fn lines(&mut self, count: usize) -> &mut [Line] {
        if self.lines.len() < count {
            self.lines.resize(count, Line::ZERO);
        }
        &mut self.lines[..count]
    }

    /// The bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&self.lines[..])
    }

    /// Overwrites what calls have left in it, which no call may rely on.
    #[cfg(test)]
    pub(crate) fn overwrite(&mut self) {
        self.lines.fill(Line([0xff; 64]));
    }
}

/// Numbers whose bits may be any.
///
/// # Safety
/// Every pattern of bits is a value, there is no padding, and the alignment is at most that of a `Line`.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: they are integers, or arrays of them.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for u16 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for u64 {}
// SAFETY: as above.
unsafe impl<const N: usize> Plain for [u64; N] {}
// SAFETY: the elements are f32 and f64.
unsafe impl<T: Element> Plain for T {}

/// The lines as numbers.
pub(crate) fn numbers<T: Plain>(lines: &[Line]) -> &[T] {
    // SAFETY: `T` is plain and needs no greater alignment; the length in bytes is at most that of the lines.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), size_of_val(lines) / size_of::<T>()) }
}

/// The lines as numbers that are written.
pub(crate) fn numbers_mut<T: Plain>(lines: &mut [Line]) -> &mut [T] {
    // SAFETY: as in `numbers`; the lines are borrowed by nobody else.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), size_of_val(lines) / size_of::<T>()) }
}

impl Scratch {
    /// Three slices of numbers, with whatever is in them, each from the beginning of a line on.
    pub(crate) fn three<A: Plain, B: Plain, C: Plain>(
        &mut self,
        a: usize,
        b: usize,
        c: usize,
    ) -> (&mut [A], &mut [B], &mut [C]) {
        let (first, second) = (lines_of::<A>(a), lines_of::<B>(b));
        let lines = self.lines(first + second + lines_of::<C>(c));
        let (first, rest) = lines.split_at_mut(first);
        let (second, third) = rest.split_at_mut(second);
        (&mut numbers_mut(first)[..a], &mut numbers_mut(second)[..b], &mut numbers_mut(third)[..c])
    }
}

fn lines_of<T>(count: usize) -> usize {
    (count * size_of::<T>()).div_ceil(size_of::<Line>())
}
