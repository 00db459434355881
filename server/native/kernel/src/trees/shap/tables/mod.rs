//! Contributions by tables, for trees of up to six levels.
//!
//! What four neighbouring leaves of a complete tree give to the players above them depends on seven decisions: of the
//! four splits that they share, of the quad's own split, and of the two below that. So it is looked up, by a pattern of
//! seven bits, and a tree is sixteen entries of seven numbers each, which add up along the tree.
//!
//! Entries are computed in double and stored as floats, and so are the sums of up to eight trees; those of all trees are
//! in double again. What the rounding leaves between the base, the contributions and the margin is spread over the
//! contributions by their size, so that they add up. A row has the same bits alone and among others, because both ways
//! add in the same order.

mod build;
#[cfg(target_arch = "x86_64")]
mod columns;
#[cfg(target_arch = "x86_64")]
mod many;
mod single;
#[cfg(target_arch = "x86_64")]
mod slots;

use crate::trees::coded::{Codings, MOST_IN_16_BITS, MOST_IN_BYTE};
use crate::trees::processor::Processor;
use crate::trees::scratch::{Line, Scratch};
#[cfg(target_arch = "x86_64")]
use crate::trees::search::bytes::ByteCoder;
use crate::trees::search::pairs::PairCoder;
use crate::trees::shap::covered::Covered;
use crate::trees::shap::tables::build::Heap;
use crate::trees::shap::{Stopped, Sums};

/// Quads of a tree.
const QUADS: usize = 16;
/// Patterns of a quad.
const ENTRIES: usize = 128;
/// Numbers of an entry: those of the four shared splits from the root on, the quad's own, and the two below; and one
/// that is 0.
const SLOTS: usize = 8;
/// Levels of splits.
const LEVELS: usize = 6;
/// The most trees whose sums are floats.
const GROUP: usize = 8;
/// The sizes of leaves that floats take without loss of range.
const SIZES: std::ops::Range<f64> = 1e-30..1e30;
/// The player of a split that is not there, or is not the first of its player.
const NOBODY: u16 = u16::MAX;

/// An entry.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(32))]
struct Entry([f32; SLOTS]);

/// What adds up to the contribution of a group's player: a number of the buffer of `single`.
#[derive(Debug, Clone, Copy)]
struct Step {
    from: u16,
    player: u16,
}

/// Trees that add to one target.
#[derive(Debug, Clone)]
struct Group {
    target: usize,
    trees: std::ops::Range<usize>,
    /// The caller's numbers of the group's players.
    players: Vec<u32>,
}

/// An ensemble as tables.
pub(crate) struct Tables {
    features: usize,
    first_margin: usize,
    /// For each target where its sum starts, and what is expected of it.
    constants: Vec<f64>,
    expected: Vec<f64>,
    /// Those of a target next to each other.
    groups: Vec<Group>,
    /// For each tree its quads, each with its entries.
    entries: Vec<Entry>,
    /// For each tree the leaves.
    leaves: Vec<[f64; 64]>,
    /// For each tree its steps, in the order in which they are added.
    steps: Vec<Vec<Step>>,
    /// For each tree and place the player within the group.
    players: Vec<[u16; 64]>,
    /// For each tree and place what is compared: the code's place and the bound.
    questions: Vec<[(u32, u16); 64]>,
    coder: PairCoder<f64>,
    #[cfg(target_arch = "x86_64")]
    bytes: Option<Bytes>,
}

/// What is compared, in bytes.
#[cfg(target_arch = "x86_64")]
struct Bytes {
    coder: ByteCoder<f64>,
    /// For each tree and place the place that is read, and the bound.
    places: Vec<Line>,
    bounds: Vec<Line>,
}

/// The places in the order in which they are added: the same for one row and for many. From left to right, each quad's
/// own split and those below it, and after the last quad below another split that one.
fn order() -> impl Iterator<Item = usize> {
    (0..QUADS / 2).flat_map(|pair| {
        let quads =
            [2 * pair, 2 * pair + 1].map(|quad| [QUADS + quad, 2 * (QUADS + quad), 2 * (QUADS + quad) + 1]);
        let above = (1..LEVELS - 1).map(move |up| (up, (QUADS / 2 + pair) >> (up - 1)));
        let ended = above.filter(move |(up, _)| (pair + 1).is_multiple_of(1 << (up - 1)));
        quads.into_iter().flatten().chain(ended.map(|(_, place)| place))
    })
}

impl Tables {
    /// Of the sums times `scale`, of which the first target counts towards `first_margin`. `None` where a tree has more
    /// levels, or adds to several targets, or where the tables would take more than `most_bytes`, or leaves are beyond
    /// what floats take.
    pub(crate) fn new(
        covered: &Covered,
        scale: f64,
        first_margin: usize,
        processor: Processor,
        most_bytes: usize,
    ) -> Option<Self> {
        let ensemble = &covered.ensemble;
        let count = ensemble.trees.iter().filter(|tree| !tree.splits.is_empty()).count();
        let bytes = size_of::<Entry>() * QUADS * ENTRIES + size_of::<[f64; 64]>();
        if count == 0 || count.checked_mul(bytes).is_none_or(|bytes| bytes > most_bytes) {
            return None;
        }
        let codings = Codings::new(ensemble);
        let targets = codings.targets.as_ref()?;
        if codings.depth > LEVELS || !has_sizes_of_floats(covered, scale) {
            return None;
        }
        let coded = codings.coded(MOST_IN_16_BITS);
        let mut constants = ensemble.base.clone();
        let mut order = Vec::with_capacity(count);
        for (i, (tree, target)) in ensemble.trees.iter().zip(targets).enumerate() {
            if tree.splits.is_empty() {
                constants[*target] += ensemble.vectors.only_value(tree.leaves[0]);
            } else {
                order.push((*target, i));
            }
        }
        order.sort_unstable();
        constants.iter_mut().for_each(|constant| *constant *= scale);
        let mut made = Self {
            features: ensemble.features,
            first_margin,
            constants,
            expected: covered.expected().into_iter().map(|expected| scale * expected).collect(),
            groups: Vec::new(),
            entries: Vec::with_capacity(count * QUADS * ENTRIES),
            leaves: Vec::with_capacity(count),
            steps: Vec::with_capacity(count),
            players: Vec::with_capacity(count),
            questions: Vec::with_capacity(count),
            coder: PairCoder::new(&coded.columns, processor),
            #[cfg(target_arch = "x86_64")]
            bytes: None,
        };
        let mut heaps = Vec::with_capacity(count);
        for (target, i) in order {
            let heap = Heap::new(covered, i, scale);
            made.push(target, &heap);
            let question = |split: &Option<u32>| {
                // What is not there sends every row to the left.
                let Some(split) = split else { return (0, u16::MAX) };
                let split = &coded.trees[i].splits[*split as usize];
                let (copy, more) = if split.missing_true { (0, 1) } else { (1, 0) };
                ((2 * split.column + copy) as u32, (split.bound + more) as u16)
            };
            made.questions.push(std::array::from_fn(|place| question(&heap.splits[place])));
            heaps.push((i, heap.splits));
        }
        #[cfg(target_arch = "x86_64")]
        if processor >= Processor::Avx512 && codings.columns(MOST_IN_BYTE) <= 256 {
            let coded = codings.coded(MOST_IN_BYTE);
            made.bytes = ByteCoder::new(coded, ensemble.features).map(|coder| {
                let mut bytes = Bytes {
                    coder,
                    places: vec![Line::ZERO; count],
                    bounds: vec![Line([u8::MAX; 64]); count],
                };
                for (at, (i, splits)) in heaps.iter().enumerate() {
                    for (place, split) in splits.iter().enumerate() {
                        if let Some(split) = split {
                            let split = &coded.trees[*i].splits[*split as usize];
                            (bytes.places[at].0[place], bytes.bounds[at].0[place]) = bytes.coder.place(split);
                        }
                    }
                }
                bytes
            });
        }
        Some(made)
    }

    /// Adds a tree.
    fn push(&mut self, target: usize, heap: &Heap) {
        let at = self.leaves.len();
        let is_full = |group: &Group| group.target != target || group.trees.len() == GROUP;
        if self.groups.last().is_none_or(is_full) {
            self.groups.push(Group { target, trees: at..at, players: Vec::new() });
        }
        let group = self.groups.last_mut().expect("a group was begun");
        group.trees.end = at + 1;
        let mut players = [NOBODY; 64];
        for (place, player) in heap.players.iter().enumerate() {
            if let Some(player) = player {
                let known = group.players.iter().position(|known| known == player);
                players[place] = known.unwrap_or_else(|| {
                    group.players.push(*player);
                    group.players.len() - 1
                }) as u16;
            }
        }
        let steps = order().filter(|place| players[*place] != NOBODY);
        let steps = steps.map(|place| Step { from: single::number_of(place), player: players[place] });
        self.steps.push(steps.collect());
        self.players.push(players);
        self.leaves.push(heap.leaves);
        self.entries.extend(heap.entries.iter().map(|entry| Entry(entry.map(|value| value as f32))));
    }

    /// The bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        #[cfg(target_arch = "x86_64")]
        let bytes = self.bytes.as_ref().map_or(0, |bytes| {
            bytes.coder.bytes() + size_of_val(&bytes.places[..]) + size_of_val(&bytes.bounds[..])
        });
        #[cfg(not(target_arch = "x86_64"))]
        let bytes = 0;
        size_of_val(&self.entries[..])
            + size_of_val(&self.leaves[..])
            + self.steps.iter().map(|steps| size_of_val(&steps[..])).sum::<usize>()
            + size_of_val(&self.players[..])
            + size_of_val(&self.questions[..])
            + self.coder.bytes()
            + bytes
    }

    /// Adds to the sums and contributions of rows. `is_stopped` is asked before each group of trees of a row, or of a
    /// block of rows.
    pub(crate) fn add(
        &self,
        rows: &[f64],
        sums: &mut Sums<'_>,
        scratch: &mut Scratch,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<(), Stopped> {
        #[cfg(target_arch = "x86_64")]
        if let Some(bytes) = &self.bytes {
            let count = rows.len() / self.features;
            let mut first = 0;
            while first < count {
                let together = many::take(count - first, sums.player_count);
                let own = &rows[first * self.features..][..together.max(1) * self.features];
                // SAFETY: there are bytes only where this processor has AVX-512.
                unsafe {
                    if together > 0 {
                        self.add_many(bytes, own, first, sums, scratch, is_stopped)?;
                    } else {
                        self.add_single_avx512(bytes, own, first, sums, scratch, is_stopped)?;
                    }
                }
                first += together.max(1);
            }
            return Ok(());
        }
        for (i, row) in rows.chunks_exact(self.features).enumerate() {
            self.add_single(row, i, sums, scratch, is_stopped)?;
        }
        Ok(())
    }

    /// The groups of each target.
    fn by_target(&self) -> impl Iterator<Item = &[Group]> {
        self.groups.chunk_by(|one, other| one.target == other.target)
    }

    /// Adds what rows have without trees.
    fn begin(&self, rows: std::ops::Range<usize>, sums: &mut Sums<'_>) {
        for row in rows {
            for (constant, margin) in self.constants.iter().zip(&mut sums.margins(row)[self.first_margin..]) {
                *margin += constant;
            }
        }
    }

    /// Adds the sum of a target's trees and its contributions to the sums of a row.
    #[inline(always)]
    fn finish(&self, target: usize, margin: f64, contributions: &mut [f64], row: usize, sums: &mut Sums<'_>) {
        let (mut sum, mut size) = (0.0, 0.0);
        for contribution in &*contributions {
            sum += *contribution;
            size += contribution.abs();
        }
        let rest = self.constants[target] + margin - self.expected[target] - sum;
        let share = if size > 0.0 { rest / size } else { 0.0 };
        let target = self.first_margin + target;
        sums.margins(row)[target] += margin;
        for (value, contribution) in sums.values(row, target).iter_mut().zip(contributions) {
            *value += *contribution + share * contribution.abs();
        }
    }
}

/// Whether the greatest leaf is zero, or of a size that floats take.
fn has_sizes_of_floats(covered: &Covered, scale: f64) -> bool {
    let vectors = &covered.ensemble.vectors;
    let sizes = (0..vectors.len() as u32).map(|vector| (scale * vectors.only_value(vector)).abs());
    let greatest = sizes.fold(0.0, f64::max);
    greatest == 0.0 || SIZES.contains(&greatest)
}
