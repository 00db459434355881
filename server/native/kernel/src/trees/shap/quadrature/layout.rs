//! Trees as the quadrature reads them.
//!
//! The splits of a tree are numbered so that those with two leaves come last, and every other one comes after its
//! parent. A slot is the number of a split, or, after all splits, of a leaf: first those beside a split, and then those
//! of the splits with two leaves, two by two.

use crate::trees::coded::CodedSplit;
use crate::trees::ensemble::Child;
use crate::trees::shap::covered::{Covered, Visit};

/// A split.
#[derive(Debug, Clone, Copy)]
pub(super) struct Split {
    /// The shares of its cover that its `on_true` and its `on_false` have.
    pub shares: [f64; 2],
    /// The product of the shares of the player's edges above; 1 without any.
    pub above: f64,
    /// The slots of its children.
    pub children: [u32; 2],
    /// Which entry of `taken` says whether the row takes all edges of the player above: 0, which is always 1, without
    /// any.
    pub same: u32,
    /// The player's number within the group.
    pub player: u32,
    /// Where the row's code is that it compares, and the bound: above it is false.
    pub place: u32,
    pub bound: u16,
}

/// A tree of a group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tree {
    /// Its first split, and first value.
    pub first: usize,
    pub first_value: usize,
    pub splits: usize,
    /// Splits that do not have two leaves.
    pub inner: usize,
    /// Leaves beside a split.
    pub mixed: usize,
    /// The most players on a path.
    pub distinct: usize,
}

impl Tree {
    /// Its leaves, for each target one value each.
    pub(super) fn leaves(&self) -> usize {
        self.mixed + 2 * (self.splits - self.inner)
    }

    /// Splits, and leaves beside a split: the slots of a pass.
    pub(super) fn passed(&self) -> usize {
        self.splits + self.mixed
    }
}

/// Trees that add to the same targets.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub targets: Vec<u32>,
    /// The caller's numbers of the group's players.
    pub players: Vec<u32>,
    pub trees: std::ops::Range<usize>,
    /// Whether a tree has more players on a path than four nodes are exact for.
    pub is_wide: bool,
}

/// All trees with splits.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub groups: Vec<Group>,
    pub trees: Vec<Tree>,
    pub splits: Vec<Split>,
    /// For each tree, target by target, the values of its leaves.
    pub values: Vec<f64>,
}

impl Layout {
    /// Adds a tree of some splits to the last group, whose players are counted by `number`.
    pub(super) fn push(
        &mut self,
        covered: &Covered,
        index: usize,
        coded: &[CodedSplit],
        scale: f64,
        mut number: impl FnMut(&mut Vec<u32>, u32) -> u32,
    ) {
        let (tree, visits) = (&covered.ensemble.trees[index], covered.visits(index));
        let is_leaf = |child: Child| matches!(child, Child::Leaf(_));
        let children = |split: u32| {
            let split = &tree.splits[split as usize];
            [split.on_true, split.on_false]
        };
        let has_two = |split: u32| children(split).into_iter().all(is_leaf);
        let (last, mut order): (Vec<&Visit>, Vec<&Visit>) =
            visits.iter().partition(|visit| has_two(visit.split));
        // Level by level: a split right after its parent would wait for what has just been stored.
        order.sort_by_key(|visit| visit.depth);
        let inner = order.len();
        order.extend(last);
        let mut places = vec![0; tree.splits.len()];
        for (place, visit) in order.iter().enumerate() {
            places[visit.split as usize] = place as u32;
        }
        let group = self.groups.last_mut().expect("a group was begun");
        let (first, first_value) = (self.splits.len(), self.values.len());
        let mut leaves = Vec::with_capacity(tree.leaves.len());
        for visit in &order {
            let at = visit.split as usize;
            let coded = &coded[at];
            let slot = |child: Child| match child {
                Child::Split(at) => places[at as usize],
                Child::Leaf(leaf) => {
                    leaves.push(leaf);
                    (tree.splits.len() + leaves.len() - 1) as u32
                }
            };
            let (copy, more) = if coded.missing_true { (0, 1) } else { (1, 0) };
            let taken = |(split, on_true): (u32, bool)| 2 * places[split as usize] + 2 + u32::from(!on_true);
            self.splits.push(Split {
                shares: covered.shares[index][at],
                above: visit.above,
                children: children(visit.split).map(slot),
                same: visit.same.map_or(0, taken),
                player: number(&mut group.players, covered.player(index, visit.split)),
                place: (2 * coded.column + copy) as u32,
                bound: (coded.bound + more) as u16,
            });
        }
        for target in &group.targets {
            for leaf in &leaves {
                let entries = covered.ensemble.vectors.entries(tree.leaves[*leaf as usize]);
                let own = entries.filter(|(other, _)| *other == *target as usize);
                self.values.push(scale * own.map(|(_, value)| value).sum::<f64>());
            }
        }
        let made = Tree {
            first,
            first_value,
            splits: tree.splits.len(),
            inner,
            mixed: leaves.len() - 2 * (tree.splits.len() - inner),
            distinct: visits.iter().map(|visit| visit.distinct).max().unwrap_or(0),
        };
        group.is_wide |= made.distinct > 8;
        self.trees.push(made);
        group.trees.end = self.trees.len();
    }

    /// The bytes that it holds.
    pub(super) fn bytes(&self) -> usize {
        let group = |group: &Group| {
            size_of::<Group>() + size_of_val(&group.targets[..]) + size_of_val(&group.players[..])
        };
        self.groups.iter().map(group).sum::<usize>()
            + size_of_val(&self.trees[..])
            + size_of_val(&self.splits[..])
            + size_of_val(&self.values[..])
    }
}
