//! The blocks of rows that are being built, one for each source.

use std::collections::HashMap;
use std::sync::Arc;

use crate::columns::{Columns, Shape};
use crate::record::Record;

/// Blocks of rows have at most so many bytes, unless one record has more.
const BLOCK_BYTES: usize = 1 << 20;
/// The most bytes of the memory that is kept to be used again.
const POOL_BYTES: usize = 4 << 20;

/// A block of rows that is being built.
pub(crate) struct Block {
    pub shape: Arc<Shape>,
    pub columns: Columns,
}

impl Block {
    /// Whether the block takes the record and stays within its bounds, or is empty.
    pub(crate) fn has_room(&self, record: &Record<'_>) -> bool {
        let columns = &self.columns;
        columns.predictions == 0
            || (columns.bytes() + self.shape.most_bytes(record) <= BLOCK_BYTES
                && columns.rows.checked_add(record.row_count).is_some())
    }

    /// Forgets the rows.
    pub(crate) fn clear(&mut self) {
        self.columns.begin(&self.shape);
    }
}

/// The blocks of all sources that have rows. Memory is used again.
#[derive(Default)]
pub(crate) struct Blocks {
    blocks: Vec<Block>,
    /// Where in `blocks` each source is.
    places: HashMap<u32, usize>,
    /// The source of the last record, and its place: most records are of the same source as the one before.
    last: Option<(u32, usize)>,
    /// Empty columns, and the bytes of their memory.
    pool: Vec<Columns>,
    pooled: usize,
}

impl Blocks {
    /// Where the block of a source is. `shape` finds what the source is; `None` if it does not.
    pub(crate) fn place(
        &mut self,
        source: u32,
        shape: impl FnOnce(u32) -> Option<Arc<Shape>>,
    ) -> Option<usize> {
        let place = match self.last {
            Some((last, place)) if last == source => return Some(place),
            _ => match self.places.get(&source) {
                Some(&place) => place,
                None => self.begin(source, shape(source)?),
            },
        };
        self.last = Some((source, place));
        Some(place)
    }

    fn begin(&mut self, source: u32, shape: Arc<Shape>) -> usize {
        let mut columns = Columns::default();
        if let Some(pooled) = self.pool.pop() {
            columns = pooled;
            self.pooled -= columns.capacity();
        }
        columns.begin(&shape);
        let place = self.blocks.len();
        self.places.insert(source, place);
        self.blocks.push(Block { shape, columns });
        place
    }

    /// The block at a place that `place` returned since the last `clear`.
    pub(crate) fn at(&mut self, place: usize) -> &mut Block {
        &mut self.blocks[place]
    }

    pub(crate) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Forgets all blocks.
    pub(crate) fn clear(&mut self) {
        self.places.clear();
        self.last = None;
        for Block { mut columns, .. } in self.blocks.drain(..) {
            let capacity = columns.capacity();
            if self.pooled + capacity <= POOL_BYTES {
                self.pooled += capacity;
                self.pool.push(columns);
            }
        }
    }
}
