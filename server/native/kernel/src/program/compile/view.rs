//! Tensors while a graph is compiled: for each number of a row, where it comes from.
//!
//! So operators that only move numbers (Gather, Concat, Split, Reshape and others) cost nothing by themselves, and a
//! number that a graph computes several times over is seen as one.

use std::rc::Rc;

use crate::program::compile::Unsupported;
use crate::program::plan::Kind;

/// A number of a row: the number at a place of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Cell {
    pub source: u32,
    pub at: u32,
}

/// A tensor with an axis of rows, and the axes `dims` of each row.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub kind: Kind,
    /// Whether these are whole numbers of fewer bits than `I64` has: arithmetic would overflow elsewhere.
    pub narrow: bool,
    pub dims: Vec<usize>,
    pub cells: Rc<[Cell]>,
}

impl View {
    pub(super) fn new(kind: Kind, dims: Vec<usize>, cells: impl Into<Rc<[Cell]>>) -> Self {
        Self { kind, narrow: false, dims, cells: cells.into() }
    }

    pub(super) fn width(&self) -> usize {
        self.cells.len()
    }

    /// The same numbers under another shape.
    pub(super) fn reshaped(&self, dims: Vec<usize>) -> Self {
        debug_assert_eq!(dims.iter().product::<usize>(), self.width());
        Self { dims, ..self.clone() }
    }

    /// Other cells of the same kind.
    pub(super) fn moved(&self, dims: Vec<usize>, cells: Vec<Cell>) -> Self {
        Self { kind: self.kind, narrow: self.narrow, dims, cells: cells.into() }
    }

    /// The axis of a row that ONNX calls `axis`, where 0 is the rows.
    pub(super) fn axis(&self, axis: i64) -> Result<usize, Unsupported> {
        axis_of(axis, self.dims.len() + 1)?
            .checked_sub(1)
            .ok_or_else(|| Unsupported("an operator works across rows".into()))
    }

    /// The sizes before, at and after an axis.
    pub(super) fn around(&self, axis: usize) -> (usize, usize, usize) {
        let (before, rest) = self.dims.split_at(axis);
        (before.iter().product(), rest[0], rest[1..].iter().product())
    }

    /// The numbers at some places of an axis; `None` is what `pad` says.
    pub(super) fn select(&self, axis: usize, places: &[Option<usize>], pad: Option<Cell>) -> Vec<Cell> {
        let (before, size, after) = self.around(axis);
        let mut cells = Vec::with_capacity(before * places.len() * after);
        for outer in 0..before {
            for place in places {
                for inner in 0..after {
                    let cell = place.map(|place| self.cells[(outer * size + place) * after + inner]);
                    cells.push(cell.or(pad).expect("a pad where places are missing"));
                }
            }
        }
        cells
    }

    /// The cells with one axis innermost, and the size of it.
    pub(super) fn grouped(&self, axis: usize) -> (Vec<Cell>, usize) {
        let (before, size, after) = self.around(axis);
        let mut cells = Vec::with_capacity(self.width());
        for outer in 0..before {
            for inner in 0..after {
                cells.extend((0..size).map(|place| self.cells[(outer * size + place) * after + inner]));
            }
        }
        (cells, size)
    }

    /// Cells in the order of `grouped`, back in this one's order.
    pub(super) fn ungrouped(&self, axis: usize, grouped: &[Cell]) -> Vec<Cell> {
        let (before, size, after) = self.around(axis);
        let mut cells = Vec::with_capacity(self.width());
        for outer in 0..before {
            for place in 0..size {
                cells.extend((0..after).map(|inner| grouped[(outer * after + inner) * size + place]));
            }
        }
        cells
    }

    /// The cells for a greater shape: axes of size 1, and missing ones, are repeated.
    pub(super) fn broadcast(&self, dims: &[usize]) -> Vec<Cell> {
        if self.dims == dims {
            return self.cells.to_vec();
        }
        let mut steps = vec![0; dims.len()];
        let (mut step, lacking) = (1, dims.len() - self.dims.len());
        for (i, size) in self.dims.iter().enumerate().rev() {
            if *size > 1 {
                steps[lacking + i] = step;
            }
            step *= size;
        }
        let count = dims.iter().product();
        let cell = |mut number: usize| {
            let mut at = 0;
            for (size, step) in dims.iter().zip(&steps).rev() {
                at += number % size * step;
                number /= size;
            }
            self.cells[at]
        };
        (0..count).map(cell).collect()
    }
}

/// An axis of a tensor of so many axes.
pub(super) fn axis_of(axis: i64, axes: usize) -> Result<usize, Unsupported> {
    let from_start = if axis < 0 { axis + axes as i64 } else { axis };
    let found = usize::try_from(from_start).ok().filter(|found| *found < axes);
    found.ok_or_else(|| Unsupported("an operator names an axis that there is not".into()))
}

/// The shape to which several are broadcast.
pub(super) fn common_dims<'a>(all: impl Iterator<Item = &'a [usize]>) -> Result<Vec<usize>, Unsupported> {
    let mut common: Vec<usize> = Vec::new();
    for dims in all {
        if dims.len() > common.len() {
            common.splice(0..0, std::iter::repeat_n(1, dims.len() - common.len()));
        }
        let lacking = common.len() - dims.len();
        for (common, size) in common[lacking..].iter_mut().zip(dims) {
            if *common == 1 {
                *common = *size;
            } else if *size != 1 && size != common {
                return Err(Unsupported("the shapes of an operator's inputs do not fit".into()));
            }
        }
    }
    Ok(common)
}
