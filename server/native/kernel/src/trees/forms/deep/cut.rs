//! A tree in two parts: an upper one, and below it subtrees of few leaves.

use std::ops::Range;

use crate::trees::coded::{CodedSplit, CodedTree};
use crate::trees::ensemble::Child;

/// The most leaves of a subtree.
pub(super) const MOST: usize = 8;

/// A tree in two parts.
pub(super) struct Cut {
    /// The upper part: leaf i leads to subtree i.
    pub top: CodedTree,
    /// Their roots: each has up to `MOST` leaves, and its parent has more.
    pub subtrees: Vec<Child>,
}

impl Cut {
    pub(super) fn new(tree: &CodedTree) -> Self {
        let counts = tree.leaf_counts();
        let is_large = |child: Child| matches!(child, Child::Split(at) if counts[at as usize] > MOST);
        let mut top = CodedTree { splits: Vec::new(), leaves: Vec::new() };
        let mut subtrees = Vec::new();
        // Nodes, and the parent in the upper part, with the side, that each has.
        let mut open = vec![(tree.root(), None)];
        while let Some((child, parent)) = open.pop() {
            let new = match child {
                Child::Split(at) if is_large(child) => {
                    let new = top.splits.len();
                    let split = &tree.splits[at as usize];
                    top.splits.push(split.clone());
                    open.extend([(split.on_true, Some((new, true))), (split.on_false, Some((new, false)))]);
                    Child::Split(new as u32)
                }
                _ => {
                    let new = subtrees.len() as u32;
                    subtrees.push(child);
                    top.leaves.push(new);
                    Child::Leaf(new)
                }
            };
            if let Some((parent, on_true)) = parent {
                let parent: &mut CodedSplit = &mut top.splits[parent];
                *(if on_true { &mut parent.on_true } else { &mut parent.on_false }) = new;
            }
        }
        Self { top, subtrees }
    }
}

/// A subtree of up to `MOST` leaves.
#[derive(Debug, Clone, Default)]
pub(super) struct Subtree<'a> {
    /// The tree's leaves, those of `on_true` first.
    pub leaves: Vec<u32>,
    /// Splits, each with the places of the leaves that it rules out where it leads to `on_false`.
    pub splits: Vec<(&'a CodedSplit, Range<usize>)>,
}

impl<'a> Subtree<'a> {
    pub(super) fn new(tree: &'a CodedTree, root: Child) -> Self {
        let mut made = Self::default();
        made.visit(tree, root);
        made
    }

    fn visit(&mut self, tree: &'a CodedTree, child: Child) {
        match child {
            Child::Leaf(leaf) => self.leaves.push(leaf),
            Child::Split(at) => {
                let split = &tree.splits[at as usize];
                let first = self.leaves.len();
                self.visit(tree, split.on_true);
                self.splits.push((split, first..self.leaves.len()));
                self.visit(tree, split.on_false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trees::coded::Coded;
    use crate::trees::testing::{self, Random, Shape};

    /// The leaf of a descent from the root, given to which side each split leads.
    fn descend(tree: &CodedTree, is_true: impl Fn(&CodedSplit) -> bool) -> usize {
        let mut at = tree.root();
        loop {
            match at {
                Child::Leaf(leaf) => return leaf as usize,
                Child::Split(split) => {
                    let split = &tree.splits[split as usize];
                    at = if is_true(split) { split.on_true } else { split.on_false };
                }
            }
        }
    }

    #[test]
    fn both_parts_lead_to_the_leaf_of_the_tree() {
        let mut random = Random(11);
        for (seed, (depth, leaves)) in (1..).zip([(3, 8), (4, 9), (6, 64), (40, 127), (300, 700)]) {
            let ensemble = testing::ensemble(Shape { trees: 20, depth, leaves, ..Shape::default() }, seed);
            let coded = Coded::new(&ensemble, 254);
            for tree in &coded.trees {
                let cut = Cut::new(tree);
                for _ in 0..50 {
                    let codes: Vec<_> = (0..coded.columns.len()).map(|_| random.below(60)).collect();
                    let is_true = |split: &CodedSplit| codes[split.column] <= split.bound;
                    let subtree = Subtree::new(tree, cut.subtrees[descend(&cut.top, is_true)]);
                    assert!(subtree.leaves.len() <= MOST && subtree.splits.len() < MOST);
                    let is_out = |leaf: &usize| {
                        subtree.splits.iter().any(|(split, ruled)| !is_true(split) && ruled.contains(leaf))
                    };
                    let first = (0..subtree.leaves.len()).find(|leaf| !is_out(leaf));
                    let leaf = subtree.leaves[first.expect("a leaf is left")];
                    assert_eq!(leaf as usize, descend(tree, is_true));
                }
            }
        }
    }

    #[test]
    fn subtrees_are_as_large_as_they_may_be() {
        let shape = Shape { trees: 30, depth: 40, leaves: 100, ..Shape::default() };
        for tree in &Coded::new(&testing::ensemble(shape, 3), 254).trees {
            let cut = Cut::new(tree);
            let below = |child| match child {
                Child::Leaf(leaf) => Subtree::new(tree, cut.subtrees[leaf as usize]).leaves.len(),
                Child::Split(_) => MOST + 1,
            };
            let leaves: usize = cut.subtrees.iter().map(|root| Subtree::new(tree, *root).leaves.len()).sum();
            assert_eq!(leaves, tree.leaves.len());
            let mut splits = cut.top.splits.iter();
            assert!(splits.all(|split| below(split.on_true) + below(split.on_false) > MOST));
        }
    }
}
