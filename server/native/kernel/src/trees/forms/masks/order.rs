//! The order of a tree's leaves, and what its splits rule out.

use std::ops::Range;

use crate::trees::coded::CodedTree;
use crate::trees::ensemble::Child;

/// A tree's leaves in an order in which the smaller side of each split comes first.
pub(crate) struct Order {
    /// The tree's leaves in their new order.
    pub leaves: Vec<u32>,
    /// For each split.
    pub ruled: Vec<Ruled>,
}

/// The leaves of a split's smaller side, which are ruled out where a row goes to the other one.
#[derive(Debug, Clone)]
pub(crate) struct Ruled {
    /// In the new order.
    pub leaves: Range<usize>,
    /// Whether `on_true` rules them out, and not `on_false`.
    pub flip: bool,
}

impl Order {
    pub(crate) fn new(tree: &CodedTree) -> Self {
        let counts = tree.leaf_counts();
        let size = |child: Child| match child {
            Child::Leaf(_) => 1,
            Child::Split(at) => counts[at as usize],
        };
        let mut leaves = vec![0; tree.leaves.len()];
        let mut ruled = vec![Ruled { leaves: 0..0, flip: false }; tree.splits.len()];
        let mut open = vec![(tree.root(), 0)];
        while let Some((child, first)) = open.pop() {
            match child {
                Child::Leaf(leaf) => leaves[first] = leaf,
                Child::Split(at) => {
                    let split = &tree.splits[at as usize];
                    let flip = size(split.on_false) < size(split.on_true);
                    let (small, large) =
                        if flip { (split.on_false, split.on_true) } else { (split.on_true, split.on_false) };
                    let middle = first + size(small);
                    ruled[at as usize] = Ruled { leaves: first..middle, flip };
                    open.extend([(small, first), (large, middle)]);
                }
            }
        }
        Self { leaves, ruled }
    }

    /// The vectors of the leaves of the tree, in the new order.
    pub(crate) fn vectors(&self, tree: &CodedTree) -> impl Iterator<Item = u32> {
        self.leaves.iter().map(|leaf| tree.leaves[*leaf as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trees::coded::Coded;
    use crate::trees::testing::{self, Shape};

    /// The first leaf that is not ruled out, given to which side each split leads.
    fn left(order: &Order, is_true: &[bool]) -> u32 {
        let out = |leaf: usize| {
            order
                .ruled
                .iter()
                .zip(is_true)
                .any(|(ruled, is_true)| *is_true == ruled.flip && ruled.leaves.contains(&leaf))
        };
        let first = (0..order.leaves.len()).find(|leaf| !out(*leaf));
        order.leaves[first.expect("a leaf is left")]
    }

    fn descend(tree: &CodedTree, is_true: &[bool]) -> u32 {
        let mut at = tree.root();
        loop {
            match at {
                Child::Leaf(leaf) => return leaf,
                Child::Split(split) => {
                    let split = split as usize;
                    at =
                        if is_true[split] { tree.splits[split].on_true } else { tree.splits[split].on_false };
                }
            }
        }
    }

    #[test]
    fn the_first_leaf_that_is_left_is_the_one_of_the_descent() {
        let mut random = testing::Random(7);
        for (seed, (depth, leaves)) in (1..).zip([(6, 64), (30, 31), (60, 127), (200, 256)]) {
            let ensemble = testing::ensemble(Shape { trees: 20, depth, leaves, ..Shape::default() }, seed);
            for tree in &Coded::new(&ensemble, 254).trees {
                let order = Order::new(tree);
                for _ in 0..50 {
                    let is_true: Vec<_> = tree.splits.iter().map(|_| random.below(2) == 0).collect();
                    assert_eq!(left(&order, &is_true), descend(tree, &is_true));
                }
            }
        }
    }

    #[test]
    fn each_split_rules_out_its_smaller_side() {
        let shape = Shape { trees: 30, depth: 40, leaves: 100, ..Shape::default() };
        for tree in &Coded::new(&testing::ensemble(shape, 3), 254).trees {
            let order = Order::new(tree);
            assert!(order.ruled.iter().all(|ruled| !ruled.leaves.is_empty() && ruled.leaves.len() <= 50));
            let mut leaves = order.leaves;
            leaves.sort_unstable();
            assert!(leaves.into_iter().eq(0..tree.leaves.len() as u32));
        }
    }
}
