//! Trees that are filled up to the same depth.
//!
//! A node is two bytes: the place that it reads, and its bound. A path to a node has a bit for each level above it: 0
//! where the byte at the place is at most the bound. A leaf above the last level stands for all leaves below it.

use crate::trees::coded::{self, CodedSplit, CodedTree, Codings};
use crate::trees::element::{Element, Real};
use crate::trees::ensemble::{Child, Ensemble, Split};
use crate::trees::scratch::Line;
use crate::trees::search::levels::SixteenNumbers;

/// The trees of a group: the last group is padded.
pub(crate) const GROUP: usize = 8;

/// The most bytes of complete trees, however small the ensemble is.
const SMALL: usize = 1 << 20;

/// How many times the size of a larger ensemble its complete trees may have.
const TIMES: usize = 8;

/// The place to which a path of six bits leads. What is below leaf c of the subtree of field 1 + r is place
/// (7r + 7) ^ c. (The high three of the six bits are r, and the low ones 7 - r, so this is one to one.)
fn place_of(path: usize) -> usize {
    (7 * (path >> 3) + 7) ^ (path & 7)
}

/// The bit of a node less than six levels below the root. The bits are nine fields of seven: the subtree of the three
/// levels from the root, and below it from left to right its eight subtrees of three levels, each in the order of a
/// heap that begins at 0. Field 1 + r begins at bit 7r + 7.
fn bit_of(level: usize, path: usize) -> usize {
    if level < 3 {
        return (1 << level) - 1 + path;
    }
    let below = level - 3;
    7 * (path >> below) + 7 + (1 << below) - 1 + path % (1 << below)
}

/// The trees of an ensemble, those of a target next to each other, in their order.
#[derive(Debug, Clone)]
pub(crate) struct Complete<S> {
    /// Whether there are more than six levels: then what is below the sixth is in `tails`, otherwise in `leaves`.
    pub deep: bool,
    /// Trees, with those that pad the last group, which add -0.0: the sum stays.
    pub count: usize,
    /// For each tree and each node of its first six levels the place that it reads.
    pub places: Vec<Line>,
    /// The same for the bounds.
    pub bounds: Vec<Line>,
    /// For each tree its 64 leaves.
    pub leaves: Vec<SixteenNumbers<S>>,
    /// For each tree what is below its 64 places, in the words of `Tail`.
    pub tails: Vec<u64>,
    /// The first tree after those of each target. The last target has the padding.
    pub ends: Vec<usize>,
    /// Where each target's sum starts.
    pub base: Vec<S>,
}

impl<S: Element> Complete<S> {
    /// The complete trees; `None` where a tree has more than `most_levels` (at most 8), or adds to more than one target,
    /// or where they would need far more memory than the ensemble.
    pub(crate) fn new(
        codings: &Codings<'_>,
        most_levels: usize,
        place: impl Fn(&CodedSplit) -> (u8, u8),
    ) -> Option<Self> {
        let (ensemble, depth) = (codings.ensemble, codings.depth);
        if depth > most_levels {
            return None;
        }
        let deep = depth > 6;
        let count = ensemble.trees.len().next_multiple_of(GROUP);
        let below = if deep { Tail::<S>::WORDS * 8 } else { size_of::<S>() };
        if count * 64 * (2 + below) > SMALL.max(TIMES * ensemble.splits() * size_of::<Split>()) {
            return None;
        }
        let targets = codings.targets.as_ref()?;
        let coded = codings.coded(coded::MOST_IN_BYTE);
        let mut trees: Vec<_> = targets.iter().copied().zip(&coded.trees).collect();
        trees.sort_by_key(|(target, _)| *target);
        let mut ends: Vec<_> = (0..ensemble.base.len())
            .map(|target| trees.partition_point(|(other, _)| *other <= target))
            .collect();
        *ends.last_mut()? = count;
        let mut made = Self {
            deep,
            count,
            places: vec![Line::ZERO; count],
            bounds: vec![Line([u8::MAX; 64]); count],
            leaves: vec![SixteenNumbers([S::of(-0.0); 16]); if deep { 0 } else { count * 4 }],
            tails: if deep { Tail::<S>::empty(count * 64) } else { Vec::new() },
            ends,
            base: ensemble.bases(),
        };
        for (i, (_, tree)) in trees.into_iter().enumerate() {
            made.fill(i, tree, ensemble, &place);
        }
        Some(made)
    }

    /// Writes a tree, as the one of index `i`.
    fn fill(
        &mut self,
        i: usize,
        tree: &CodedTree,
        ensemble: &Ensemble,
        place: &impl Fn(&CodedSplit) -> (u8, u8),
    ) {
        // Nodes, their levels and the bits of their paths.
        let mut open = vec![(tree.root(), 0, 0)];
        while let Some((child, level, path)) = open.pop() {
            match child {
                Child::Split(at) => {
                    let split = &tree.splits[at as usize];
                    let node = place(split);
                    if level < 6 {
                        let bit = bit_of(level, path);
                        (self.places[i].0[bit], self.bounds[i].0[bit]) = node;
                    } else {
                        let at = i * 64 + place_of(path >> (level - 6));
                        Tail::<S>::set_node(
                            &mut self.tails,
                            at,
                            if level == 6 { 0 } else { 1 + path % 2 },
                            node,
                        );
                    }
                    let next = [(split.on_true, 2 * path), (split.on_false, 2 * path + 1)];
                    open.extend(next.map(|(child, path)| (child, level + 1, path)));
                }
                Child::Leaf(leaf) => {
                    let value = S::of(ensemble.vectors.only_value(tree.leaves[leaf as usize]));
                    let last = if self.deep { 8 } else { 6 };
                    for path in path << (last - level)..(path + 1) << (last - level) {
                        if self.deep {
                            let at = i * 64 + place_of(path >> 2);
                            Tail::set_leaf(&mut self.tails, at, path % 4, value);
                        } else {
                            let place = place_of(path);
                            self.leaves[i * 4 + place / 16].0[place % 16] = value;
                        }
                    }
                }
            }
        }
    }

    /// Adds the leaves of a group of trees to `total`, the sum of `target`, and goes on to the next target where the
    /// trees of one end: then its sum is written.
    #[inline(always)]
    pub(crate) fn add(
        &self,
        first: usize,
        leaf: impl Fn(usize) -> S,
        target: &mut usize,
        total: &mut S,
        sums: &mut [S],
    ) {
        if first + GROUP <= self.ends[*target] {
            for i in 0..GROUP {
                *total += leaf(i);
            }
        } else {
            for i in 0..GROUP {
                while first + i >= self.ends[*target] {
                    sums[*target] = *total;
                    *target += 1;
                    *total = sums[*target];
                }
                *total += leaf(i);
            }
        }
    }

    /// The bytes that they hold.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&self.places[..])
            + size_of_val(&self.bounds[..])
            + size_of_val(&self.leaves[..])
            + size_of_val(&self.tails[..])
            + size_of_val(&self.ends[..])
            + size_of_val(&self.base[..])
    }
}

/// What is below one of 64 places: a word with three nodes, the place of each in a byte and from byte 4 on their
/// bounds, and then four leaves.
pub(crate) struct Tail<S>(std::marker::PhantomData<S>);

impl<S: Element> Tail<S> {
    /// Its words.
    const WORDS: usize = 1 + 4 * size_of::<S>() / 8;

    /// Its size in sums.
    pub(crate) const STRIDE: usize = Self::WORDS * 8 / size_of::<S>();

    /// Where its leaves begin, in sums.
    pub(crate) const LEAVES: usize = 8 / size_of::<S>();

    /// Tails without splits, whose leaves are -0.0.
    fn empty(count: usize) -> Vec<u64> {
        let mut tails = vec![0; count * Self::WORDS];
        for at in 0..count {
            // Nothing is above these bounds.
            tails[at * Self::WORDS] = u64::MAX << 32;
            (0..4).for_each(|leaf| Self::set_leaf(&mut tails, at, leaf, S::of(-0.0)));
        }
        tails
    }

    fn set_node(tails: &mut [u64], at: usize, node: usize, (place, bound): (u8, u8)) {
        let word = &mut tails[at * Self::WORDS];
        let mut bytes = word.to_le_bytes();
        (bytes[node], bytes[4 + node]) = (place, bound);
        *word = u64::from_le_bytes(bytes);
    }

    fn set_leaf(tails: &mut [u64], at: usize, leaf: usize, value: S) {
        let words = &mut tails[at * Self::WORDS + 1..];
        match S::REAL {
            Real::F64 => words[leaf] = value.double().to_bits(),
            Real::F32 => {
                let (word, shift) = (&mut words[leaf / 2], leaf % 2 * 32);
                *word &= !(u64::from(u32::MAX) << shift);
                *word |= u64::from((value.double() as f32).to_bits()) << shift;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trees::ensemble::Tree;
    use crate::trees::testing::{self, Shape};

    fn complete(shape: Shape, most_levels: usize) -> Option<Complete<f32>> {
        let ensemble = testing::ensemble(shape, 3);
        Complete::new(&Codings::new(&ensemble), most_levels, |_| (0, 0))
    }

    #[test]
    fn deeper_trees_and_several_targets_of_a_tree_are_refused() {
        let usual = Shape::default();
        let deeper = Shape { depth: 8, leaves: 200, ..usual };
        assert!(complete(usual, 6).is_some_and(|trees| !trees.deep));
        assert!(complete(deeper, 6).is_none());
        assert!(complete(deeper, 8).is_some_and(|trees| trees.deep));
        assert!(complete(Shape { depth: 10, leaves: 500, ..usual }, 8).is_none());
        assert!(complete(Shape { targets: 3, ..usual }, 6).is_some());
        assert!(complete(Shape { targets: 3, vectors: true, ..usual }, 6).is_none());
    }

    #[test]
    fn many_stumps_beside_a_deep_tree_are_refused() {
        for (trees, taken) in [(100, true), (3000, false)] {
            let mut ensemble =
                testing::ensemble(Shape { trees, depth: 8, leaves: 99, ..Shape::default() }, 3);
            for tree in ensemble.trees.iter_mut().skip(10) {
                *tree = Tree { splits: Vec::new(), leaves: vec![0] };
            }
            let made = Complete::<f32>::new(&Codings::new(&ensemble), 8, |_| (0, 0));
            assert_eq!(made.is_some(), taken, "{trees}");
        }
    }

    #[test]
    fn places_of_fields_are_one_to_one() {
        let mut places: Vec<_> = (0..64).map(place_of).collect();
        places.sort_unstable();
        assert_eq!(places, (0..64).collect::<Vec<_>>());
        let nodes = (0..6).flat_map(|level| (0..1 << level).map(move |path| (level, path)));
        let mut bits: Vec<_> = nodes.map(|(level, path)| bit_of(level, path)).collect();
        bits.sort_unstable();
        bits.dedup();
        assert_eq!((bits.len(), bits.last().is_some_and(|last| *last < 64)), (63, true));
    }
}
