//! An ensemble of decision trees, as a model says it.

use crate::trees::element::{Element, Real};

/// Trees whose leaves add up, in the order of the trees, to one margin for each target.
///
/// The sum of a target starts from `base`, and is of the type `sum`: so are all leaves and bases. Thresholds and
/// members are of the type `input`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ensemble {
    /// The type of a row's values.
    pub input: Real,
    /// The type of the sums.
    pub sum: Real,
    /// Values of a row.
    pub features: usize,
    /// Where each target's sum starts.
    pub base: Vec<f64>,
    pub trees: Vec<Tree>,
    /// The distinct values of leaves.
    pub vectors: Vectors,
}

/// One tree. `splits[0]` is its root; a tree without splits has one leaf.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Tree {
    pub splits: Vec<Split>,
    /// For each leaf the index of its vector.
    pub leaves: Vec<u32>,
}

/// An inner node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Split {
    pub feature: u32,
    pub test: Test,
    /// Whether a missing value, NaN, goes to `on_true`.
    pub missing_true: bool,
    pub on_true: Child,
    pub on_false: Child,
}

/// What a split asks of a value. NaN as a threshold or a member is asked of no value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Test {
    /// Whether the value is at most this threshold.
    AtMost(f64),
    /// Whether the value is one of these.
    In(Vec<f64>),
}

/// Where a split leads to: the index of a split, or of a leaf, of the same tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Child {
    Split(u32),
    Leaf(u32),
}

/// What leaves add: sparse vectors over the targets.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Vectors {
    /// Vector i has the entries from `starts[i]` to `starts[i + 1]`.
    starts: Vec<u32>,
    targets: Vec<u32>,
    values: Vec<f64>,
}

impl Default for Vectors {
    fn default() -> Self {
        Self { starts: vec![0], targets: Vec::new(), values: Vec::new() }
    }
}

impl Vectors {
    /// Adds a vector; returns its index.
    ///
    /// # Panics
    /// There are 2^32 entries.
    pub(crate) fn push(&mut self, entries: impl IntoIterator<Item = (u32, f64)>) -> u32 {
        for (target, value) in entries {
            self.targets.push(target);
            self.values.push(value);
        }
        self.starts.push(u32::try_from(self.targets.len()).expect("the leaves have 2^32 values"));
        (self.starts.len() - 2) as u32
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// The targets of a vector, and what it adds to each.
    ///
    /// # Panics
    /// There is no such vector.
    pub(crate) fn entries(&self, vector: u32) -> impl Iterator<Item = (usize, f64)> + '_ {
        let at = vector as usize;
        let range = self.starts[at] as usize..self.starts[at + 1] as usize;
        let targets = self.targets[range.clone()].iter().map(|target| *target as usize);
        targets.zip(self.values[range].iter().copied())
    }

    /// What a vector with one entry adds to its target; -0.0, which changes no sum, for a vector without entries.
    ///
    /// # Panics
    /// There is no such vector.
    pub(crate) fn only_value(&self, vector: u32) -> f64 {
        self.entries(vector).next().map_or(-0.0, |(_, value)| value)
    }
}

impl Test {
    /// Whether a value is less than a threshold, both of the type `input`.
    pub(crate) fn less(threshold: f64, input: Real) -> Self {
        if threshold == f64::NEG_INFINITY { Self::never() } else { Self::AtMost(input.below(threshold)) }
    }

    /// A test that no value passes.
    pub(crate) fn never() -> Self {
        Self::In(Vec::new())
    }

    /// Whether a value that is not missing passes.
    pub(crate) fn passes(&self, value: f64) -> bool {
        match self {
            Self::AtMost(threshold) => value <= *threshold,
            Self::In(members) => members.contains(&value),
        }
    }
}

impl Ensemble {
    /// Checks that every index is in range, and that each tree is one: every node is reached once.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.features == 0 || self.base.is_empty() {
            return Err("an ensemble needs a feature and a target".into());
        }
        if self.vectors.targets.iter().any(|target| *target as usize >= self.base.len()) {
            return Err("a leaf adds to a target that there is not".into());
        }
        self.trees
            .iter()
            .enumerate()
            .try_for_each(|(i, tree)| self.check_tree(tree).map_err(|wrong| format!("tree {i}: {wrong}")))
    }

    fn check_tree(&self, tree: &Tree) -> Result<(), String> {
        let (mut splits, mut leaves) = (vec![false; tree.splits.len()], vec![false; tree.leaves.len()]);
        if tree.leaves.iter().any(|vector| *vector as usize >= self.vectors.len()) {
            return Err("a leaf has no values".into());
        }
        let mut open = vec![tree.root()];
        while let Some(child) = open.pop() {
            let (at, seen) = match child {
                Child::Split(at) => (at as usize, &mut splits),
                Child::Leaf(at) => (at as usize, &mut leaves),
            };
            match seen.get_mut(at) {
                None => return Err("a split leads to a node that there is not".into()),
                Some(true) => return Err("two splits lead to one node".into()),
                Some(seen) => *seen = true,
            }
            if let Child::Split(_) = child {
                let split = &tree.splits[at];
                if split.feature as usize >= self.features {
                    return Err("a split asks for a feature that there is not".into());
                }
                open.extend([split.on_false, split.on_true]);
            }
        }
        if splits.contains(&false) || leaves.contains(&false) {
            return Err("a node is not reached from the root".into());
        }
        Ok(())
    }

    /// The same ensemble for rows of floats, where all values that it is asked about are floats.
    #[must_use]
    pub(crate) fn narrowed(mut self) -> Self {
        for split in self.trees.iter_mut().flat_map(|tree| &mut tree.splits) {
            match &mut split.test {
                Test::AtMost(threshold) => *threshold = Real::F32.floor(*threshold),
                Test::In(members) => members.retain(|member| Real::F32.floor(*member) == *member),
            }
        }
        self.input = Real::F32;
        self
    }

    /// Whether a row's values are doubles.
    pub(crate) fn is_double(&self) -> bool {
        self.input == Real::F64
    }

    /// The bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        let members = |split: &Split| match &split.test {
            Test::In(members) => size_of_val(&members[..]),
            Test::AtMost(_) => 0,
        };
        let tree = |tree: &Tree| {
            let sets: usize = tree.splits.iter().map(members).sum();
            size_of::<Tree>() + size_of_val(&tree.splits[..]) + sets + size_of_val(&tree.leaves[..])
        };
        let Vectors { starts, targets, values } = &self.vectors;
        let vectors = size_of_val(&starts[..]) + size_of_val(&targets[..]) + size_of_val(&values[..]);
        size_of_val(&self.base[..]) + self.trees.iter().map(tree).sum::<usize>() + vectors
    }

    /// The base of each target, as a number of the type of the sums.
    pub(crate) fn bases<S: Element>(&self) -> Vec<S> {
        self.base.iter().map(|base| S::of(*base)).collect()
    }

    /// The target that each tree adds to; `None` if a tree adds to several, or a leaf twice to one.
    pub(crate) fn only_targets(&self) -> Option<Vec<usize>> {
        self.trees.iter().map(|tree| self.only_target(tree)).collect()
    }

    fn only_target(&self, tree: &Tree) -> Option<usize> {
        let mut found = None;
        for leaf in &tree.leaves {
            let mut entries = self.vectors.entries(*leaf);
            if let Some((target, _)) = entries.next()
                && *found.get_or_insert(target) != target
            {
                return None;
            }
            if entries.next().is_some() {
                return None;
            }
        }
        Some(found.unwrap_or(0))
    }

    /// The splits of all trees.
    pub(crate) fn splits(&self) -> usize {
        self.trees.iter().map(|tree| tree.splits.len()).sum()
    }
}

impl Tree {
    pub(crate) fn root(&self) -> Child {
        if self.splits.is_empty() { Child::Leaf(0) } else { Child::Split(0) }
    }

    /// The most splits between the root and a leaf.
    pub(crate) fn depth(&self) -> usize {
        let mut deepest = 0;
        let mut open = if self.splits.is_empty() { vec![] } else { vec![(0, 1)] };
        while let Some((at, depth)) = open.pop() {
            deepest = deepest.max(depth);
            let split: &Split = &self.splits[at as usize];
            for child in [split.on_true, split.on_false] {
                if let Child::Split(next) = child {
                    open.push((next, depth + 1));
                }
            }
        }
        deepest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(feature: u32, on_true: Child, on_false: Child) -> Split {
        Split { feature, test: Test::AtMost(0.5), missing_true: true, on_true, on_false }
    }

    fn ensemble(splits: Vec<Split>, leaves: usize) -> Ensemble {
        let mut vectors = Vectors::default();
        let leaves = (0..leaves).map(|leaf| vectors.push([(0, leaf as f64)])).collect();
        let trees = vec![Tree { splits, leaves }];
        Ensemble { input: Real::F32, sum: Real::F32, features: 2, base: vec![0.5], trees, vectors }
    }

    #[test]
    fn a_tree_is_taken() {
        let tree = ensemble(
            vec![split(0, Child::Split(1), Child::Leaf(0)), split(1, Child::Leaf(1), Child::Leaf(2))],
            3,
        );
        assert_eq!(tree.check(), Ok(()));
        assert_eq!(tree.trees[0].depth(), 2);
        assert_eq!(ensemble(Vec::new(), 1).check(), Ok(()));
    }

    #[test]
    fn all_that_it_holds_is_counted() {
        let mut small = ensemble(Vec::new(), 1);
        let empty = small.bytes();
        assert_eq!(empty, 8 + size_of::<Tree>() + 4 + 2 * 4 + 4 + 8);
        small.trees[0]
            .splits
            .push(Split { test: Test::In(vec![1.0, 2.0]), ..split(0, Child::Leaf(0), Child::Leaf(1)) });
        assert_eq!(small.bytes(), empty + size_of::<Split>() + 16);
    }

    #[test]
    fn what_is_no_tree_is_refused() {
        let (leaf, root) = (Child::Leaf(0), Child::Split(0));
        for (splits, leaves) in [
            (vec![split(0, leaf, leaf)], 1),
            (vec![split(0, root, leaf)], 1),
            (vec![split(0, leaf, Child::Leaf(1))], 1),
            (vec![split(2, leaf, Child::Leaf(1))], 2),
            (vec![split(0, leaf, Child::Leaf(1))], 3),
            (vec![split(0, leaf, Child::Leaf(1)), split(0, Child::Split(1), Child::Leaf(2))], 3),
            (Vec::new(), 0),
            (Vec::new(), 2),
        ] {
            assert!(ensemble(splits, leaves).check().is_err());
        }
    }

    #[test]
    fn less_is_at_most_the_number_below() {
        for input in [Real::F32, Real::F64] {
            for threshold in [0.0, -0.0, 1.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
                let test = Test::less(threshold, input);
                for value in [0.0, -0.0, 1.0, f64::from(f32::from_bits(1)), f64::INFINITY, f64::NEG_INFINITY]
                {
                    assert_eq!(test.passes(value), value < threshold, "{value} < {threshold}");
                }
            }
        }
    }
}
