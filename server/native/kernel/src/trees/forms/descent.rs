//! Descent without branches over codes, for any trees and every processor.
//!
//! A node has eight bytes: a column, a bound and the place of its children, which are side by side. A step is
//! `at = left + (code of column > bound)`; a leaf is its own left child, by a column whose code is always 0. So sixteen
//! descents go down at once, and the processor overlaps the steps of each with the others': those of sixteen trees of
//! one row, or of sixteen rows in one tree. Deep trees go down in waves: some steps of all descents, then some of those
//! that are not at a leaf yet.

mod layout;

use std::ops::{Deref, Range};

use crate::trees::coded::{self, Codings};
use crate::trees::element::Element;
use crate::trees::forms::descent::layout::grow;
use crate::trees::forms::leaves::Leaves;
use crate::trees::forms::{BLOCK_ROWS, Form, FormName};
use crate::trees::prefetch;
use crate::trees::processor::Processor;
use crate::trees::scratch::{Line, Scratch};
use crate::trees::search::pairs::PairCoder;

/// Descents at once.
const LANES: usize = 16;
/// Trees of up to this many levels go down in one wave.
const SHALLOW: u32 = 8;
/// The steps of a wave, and of one among nodes that are far.
const WAVE: u32 = 4;
const FAR_WAVE: u32 = 2;
/// The nodes of larger ensembles are far: each step of a row waits for memory, so they are loaded before their turn.
/// Tests have few, so that some of their ensembles are far.
const FAR_BYTES: usize = if cfg!(test) { 1 << 15 } else { 1 << 20 };
/// From this number of rows on, each tree takes many rows at once: where trees are shallow, deep, or far.
const MANY: [usize; 3] = [12, 32, 96];
/// Pairs of narrow nodes in a cache line.
const LINE: usize = 4;
/// A tree is loaded before its turn where it has at most this many nodes for each row.
const NODES_OF_ROW: usize = 64;
/// The most bytes of the codes of a block of rows.
const BLOCK_BYTES: usize = 1 << 18;
/// Bits of a leaf's vector that are in its bound; the others are in its column.
const BOUND_BITS: u32 = 16;

/// A node of a tree.
pub(crate) trait Node: Copy + Send + Sync {
    /// `None` if a number is too large.
    fn new(column: usize, bound: u16, left: usize) -> Option<Self>;
    fn column(self) -> usize;
    fn bound(self) -> u16;
    fn left(self) -> u32;
}

/// A node of an ensemble with up to 65,536 codes of a row.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct Narrow {
    column: u16,
    bound: u16,
    left: u32,
}

impl Node for Narrow {
    fn new(column: usize, bound: u16, left: usize) -> Option<Self> {
        Some(Self { column: u16::try_from(column).ok()?, bound, left: u32::try_from(left).ok()? })
    }

    #[inline(always)]
    fn column(self) -> usize {
        usize::from(self.column)
    }

    #[inline(always)]
    fn bound(self) -> u16 {
        self.bound
    }

    #[inline(always)]
    fn left(self) -> u32 {
        self.left
    }
}

/// A node of any ensemble.
#[derive(Clone, Copy)]
pub(crate) struct Wide {
    column: u32,
    left: u32,
    bound: u16,
}

impl Node for Wide {
    fn new(column: usize, bound: u16, left: usize) -> Option<Self> {
        Some(Self { column: u32::try_from(column).ok()?, bound, left: u32::try_from(left).ok()? })
    }

    #[inline(always)]
    fn column(self) -> usize {
        self.column as usize
    }

    #[inline(always)]
    fn bound(self) -> u16 {
        self.bound
    }

    #[inline(always)]
    fn left(self) -> u32 {
        self.left
    }
}

/// Nodes from the beginning of a cache line on.
struct Aligned<N> {
    nodes: Vec<N>,
    first: usize,
}

impl<N: Copy> Aligned<N> {
    fn new(nodes: &[N]) -> Self {
        let mut aligned: Vec<N> = Vec::with_capacity(nodes.len() + size_of::<Line>() / size_of::<N>());
        let first = aligned.as_ptr().align_offset(size_of::<Line>());
        let first = if first <= aligned.capacity() - nodes.len() { first } else { 0 };
        aligned.extend(nodes.iter().cycle().take(first));
        aligned.extend_from_slice(nodes);
        Self { nodes: aligned, first }
    }
}

impl<N> Deref for Aligned<N> {
    type Target = [N];

    #[inline(always)]
    fn deref(&self) -> &[N] {
        &self.nodes[self.first..]
    }
}

/// A tree: tree i has its root at node i.
struct Root {
    /// The most steps to a leaf.
    depth: u32,
    /// Where its other nodes are.
    nodes: Range<usize>,
}

/// The form, with nodes of `N`.
pub(crate) struct Descent<I, S, N> {
    coder: PairCoder<I>,
    /// Every left child and its sibling are nodes, and every column is less than `width`.
    nodes: Aligned<N>,
    roots: Vec<Root>,
    leaves: Leaves<S>,
    base: Vec<S>,
    features: usize,
    /// The codes of a row, those from `zero` on being 0.
    width: usize,
    zero: usize,
    is_deep: bool,
}

/// Makes the form with the smallest nodes that do; `None` if there are too many.
pub(crate) fn make<I: Element, S: Element>(
    codings: &Codings<'_>,
    processor: Processor,
) -> Option<Box<dyn Form<I, S>>> {
    match Descent::<I, S, Narrow>::new(codings, processor) {
        Some(narrow) => Some(Box::new(narrow)),
        None => Some(Box::new(Descent::<I, S, Wide>::new(codings, processor)?)),
    }
}

impl<I: Element, S: Element, N: Node> Descent<I, S, N> {
    fn new(codings: &Codings<'_>, processor: Processor) -> Option<Self> {
        let (ensemble, coded) = (codings.ensemble, codings.coded(coded::MOST_IN_16_BITS));
        let coder = PairCoder::new(&coded.columns, processor);
        let zero = coder.width();
        let width = zero + (ensemble.vectors.len() >> BOUND_BITS) + 1;
        // The roots, and a leaf for the lanes that have no descent.
        let rest = coded.trees.len();
        let mut nodes = vec![N::new(zero, 0, rest)?; (rest + 1).next_multiple_of(2 * LINE)];
        let mut roots = Vec::with_capacity(rest);
        for (at, (depth, tree)) in codings.depths.iter().zip(&coded.trees).enumerate() {
            let first = nodes.len();
            grow(&mut nodes, at, tree, zero)?;
            roots.push(Root { depth: *depth as u32, nodes: first..nodes.len() });
        }
        for (at, node) in nodes.iter().enumerate() {
            let left = node.left() as usize;
            assert!(node.column() < width && left < nodes.len());
            assert!(node.column() >= zero || (left != at && left + 1 < nodes.len()));
        }
        let (nodes, leaves, base) = (Aligned::new(&nodes), Leaves::new(codings), ensemble.bases());
        let features = ensemble.features;
        let is_deep = roots.iter().any(|root: &Root| root.depth > SHALLOW);
        Some(Self { coder, nodes, roots, leaves, base, features, width, zero, is_deep })
    }

    fn rest(&self) -> u32 {
        self.roots.len() as u32
    }

    fn is_far(&self) -> bool {
        size_of_val(&self.nodes[..]) > FAR_BYTES
    }

    /// One step of a descent.
    ///
    /// # Safety
    /// `at` is the index of a node, and `codes` has the codes of a row from `from` on, those from `zero` on being 0.
    #[inline(always)]
    unsafe fn step(&self, codes: &[u16], from: usize, at: u32) -> u32 {
        // SAFETY: `at` is an index, and the columns of all nodes are less than the codes of a row. What is returned is
        // an index again: a left child or its sibling, or `at` itself at a leaf, whose code is 0.
        unsafe {
            let node = *self.nodes.get_unchecked(at as usize);
            node.left() + u32::from(*codes.get_unchecked(from + node.column()) > node.bound())
        }
    }

    /// The vector of the leaf at a node.
    #[inline(always)]
    fn leaf(&self, at: u32) -> usize {
        let node = self.nodes[at as usize];
        ((node.column() - self.zero) << BOUND_BITS) + usize::from(node.bound())
    }

    /// Moves descents down to their leaves. `open` lists `count` of them, each a number and in its lower half the place
    /// of a node; `codes` has the codes of the row of descent i from `i * stride` on, also for i = `count`, which rests.
    /// Writes the leaf of descent i to `places[i]`. `open` has room to be filled up to a multiple of `LANES`, and
    /// `places` for one more.
    #[inline(always)]
    fn sink<const STEPS: u32>(
        &self,
        codes: &[u16],
        stride: usize,
        open: &mut [u64],
        count: usize,
        places: &mut [u32],
    ) {
        let nodes = &self.nodes[..];
        let rest = (count as u64) << 32 | u64::from(self.rest());
        let mut count = count;
        while count > 0 {
            open[count..count.next_multiple_of(LANES)].fill(rest);
            let mut kept = 0;
            for from in (0..count).step_by(LANES) {
                let lanes: [u64; LANES] = open[from..from + LANES].try_into().expect("a block of lanes");
                let (mut at, mut before) = (lanes.map(|lane| lane as u32), [0; LANES]);
                let rows = lanes.map(|lane| (lane >> 32) as usize * stride);
                for _ in 0..STEPS {
                    before = at;
                    for lane in 0..LANES {
                        // SAFETY: the places begin at roots, and each row has its codes.
                        at[lane] = unsafe { self.step(codes, rows[lane], at[lane]) };
                    }
                }
                for lane in 0..LANES {
                    if STEPS == FAR_WAVE {
                        prefetch::into_first_cache(&raw const nodes[at[lane] as usize]);
                    }
                    let number = (lanes[lane] >> 32) as usize;
                    places[number] = at[lane];
                    open[kept] = (number as u64) << 32 | u64::from(at[lane]);
                    kept += usize::from(before[lane] != at[lane]);
                }
            }
            count = kept;
        }
    }

    /// Adds the leaves of one row, whose codes these are, to its sums.
    fn add_row(&self, codes: &[u16], open: &mut [u64], places: &mut [u32], sums: &mut [S]) {
        if self.is_deep {
            for (number, open) in (0..self.roots.len() as u64).zip(&mut *open) {
                *open = number << 32 | number;
            }
            if self.is_far() {
                self.sink::<FAR_WAVE>(codes, 0, open, self.roots.len(), places);
            } else {
                self.sink::<WAVE>(codes, 0, open, self.roots.len(), places);
            }
            let leaves = places[..self.roots.len()].iter().map(|at| self.leaf(*at));
            self.leaves.add_trees(0, leaves, sums);
            return;
        }
        for (block, roots) in self.roots.chunks(LANES).enumerate() {
            let mut at = [self.rest(); LANES];
            at[..roots.len()].iter_mut().zip((block * LANES) as u32..).for_each(|(at, root)| *at = root);
            let depth = roots.iter().map(|root| root.depth).max().unwrap_or(0);
            for _ in 0..depth {
                for at in &mut at {
                    // SAFETY: the places begin at roots, and these are the codes of a row.
                    *at = unsafe { self.step(codes, 0, *at) };
                }
            }
            let leaves = at[..roots.len()].iter().map(|at| self.leaf(*at));
            self.leaves.add_trees(block * LANES, leaves, sums);
        }
    }

    /// Adds the leaves of a block of rows, whose codes these are, to their sums. After the codes of the rows there are
    /// those of one more row, of which only those from `zero` on are 0: others may be left from another block.
    fn add_rows(&self, codes: &[u16], open: &mut [u64], places: &mut [u32], sums: &mut [S]) {
        let targets = self.base.len();
        let count = sums.len() / targets;
        for (tree, root) in self.roots.iter().enumerate() {
            if let Some(next) = self.roots.get(tree + 1)
                && next.nodes.len() <= count * NODES_OF_ROW
            {
                let lines = self.nodes[next.nodes.clone()].iter().step_by(2 * LINE);
                lines.for_each(|node| prefetch::into_second_cache(&raw const *node));
            }
            if root.depth > SHALLOW {
                for (number, open) in open[..count].iter_mut().enumerate() {
                    *open = (number as u64) << 32 | tree as u64;
                }
                self.sink::<WAVE>(codes, self.width, open, count, places);
                let leaves = places[..count].iter().map(|at| self.leaf(*at));
                self.leaves.add_rows(tree, leaves, targets, sums);
                continue;
            }
            for (block, sums) in sums.chunks_mut(LANES * targets).enumerate() {
                let first = block * LANES;
                let rows: [usize; LANES] = std::array::from_fn(|lane| (first + lane).min(count) * self.width);
                let mut at = [tree as u32; LANES];
                for _ in 0..root.depth {
                    for lane in 0..LANES {
                        // SAFETY: the places begin at a root, and each row has its codes, also the row after the last.
                        at[lane] = unsafe { self.step(codes, rows[lane], at[lane]) };
                    }
                }
                self.leaves.add_rows(tree, at.into_iter().map(|at| self.leaf(at)), targets, sums);
            }
        }
    }
}

impl<I: Element, S: Element, N: Node> Form<I, S> for Descent<I, S, N> {
    fn name(&self) -> FormName {
        FormName::Descent
    }

    fn bytes(&self) -> usize {
        self.coder.bytes()
            + size_of_val(&self.nodes.nodes[..])
            + size_of_val(&self.roots[..])
            + size_of_val(&self.base[..])
            + self.leaves.bytes()
    }

    fn score(&self, rows: &[I], sums: &mut [S], scratch: &mut Scratch) {
        let targets = self.base.len();
        sums.chunks_exact_mut(targets).for_each(|sums| sums.copy_from_slice(&self.base));
        let count = rows.len() / self.features;
        let [shallow, deep, far] = MANY;
        let many = if !self.is_deep {
            shallow
        } else if self.is_far() {
            far
        } else {
            deep
        };
        let fits = BLOCK_BYTES / size_of::<u16>() / self.width;
        let block = if count < many { 1 } else { count.min(BLOCK_ROWS).min(fits.max(LANES)) };
        let descents = if block == 1 { self.roots.len() } else { block };
        let (codes, open, places) =
            scratch.three::<u16, u64, u32>((block + 1) * self.width, descents + LANES, descents + 1);
        codes.fill(0);
        let blocks = rows.chunks(block * self.features).zip(sums.chunks_mut(block * targets));
        for (rows, sums) in blocks {
            for (row, codes) in rows.chunks_exact(self.features).zip(codes.chunks_exact_mut(self.width)) {
                self.coder.code(row, codes);
            }
            if block == 1 {
                self.add_row(codes, open, places, sums);
            } else {
                self.add_rows(codes, open, places, sums);
            }
        }
    }
}

#[cfg(test)]
mod tests;
