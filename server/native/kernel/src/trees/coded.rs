//! Trees over codes: the values of a row become small whole numbers once, and splits compare those.
//!
//! A column belongs to a feature. Its code is the number of its thresholds that are below the value, or, for a set,
//! 0 for members and 1 for others. So every split asks whether a column's code is at most a bound. A feature with more
//! thresholds than a form's codes can count has several columns, and each set of members has one.
//!
//! A missing value has two codes: splits that send it to `on_true` read a copy of the code that is less than every
//! bound, others one that is greater. What holds both copies is the form's own.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use crate::trees::ensemble::{Child, Ensemble, Test, Tree};

/// The most thresholds of a column whose codes, with a low and a high one for what is missing, are bytes.
pub(crate) const MOST_IN_BYTE: usize = 254;
/// The same where what is missing has no code.
pub(crate) const MOST_IN_BARE_BYTE: usize = 255;
/// The most thresholds of a column whose codes and bounds have 16 bits, with one for what is missing.
pub(crate) const MOST_IN_16_BITS: usize = 65_000;

/// An ensemble and its trees over codes. Forms share what is made of it, and look at what it says before that.
pub(crate) struct Codings<'a> {
    pub ensemble: &'a Ensemble,
    /// The most splits between a root and a leaf, of each tree and of all.
    pub depths: Vec<usize>,
    pub depth: usize,
    /// The most leaves of a tree.
    pub leaves: usize,
    /// The target that each tree adds to; `None` if a tree adds to several, or a leaf twice to one.
    pub targets: Option<Vec<usize>>,
    questions: Questions,
    /// For each of `LIMITS`.
    made: [OnceCell<Coded>; LIMITS.len()],
}

/// The numbers of thresholds in a column that forms ask for.
const LIMITS: [usize; 3] = [MOST_IN_BYTE, MOST_IN_BARE_BYTE, MOST_IN_16_BITS];

impl<'a> Codings<'a> {
    /// Of a checked ensemble.
    pub(crate) fn new(ensemble: &'a Ensemble) -> Self {
        let depths: Vec<_> = ensemble.trees.iter().map(Tree::depth).collect();
        let depth = depths.iter().copied().max().unwrap_or(0);
        let leaves = ensemble.trees.iter().map(|tree| tree.leaves.len()).max().unwrap_or(0);
        let made = [const { OnceCell::new() }; LIMITS.len()];
        let (targets, questions) = (ensemble.only_targets(), Questions::new(ensemble));
        Self { ensemble, depths, depth, leaves, targets, questions, made }
    }

    /// Whether the trees have at least half of the splits that they could have at the depth of the deepest.
    pub(crate) fn are_full(&self) -> bool {
        let most =
            1_usize.checked_shl(self.depth as u32).and_then(|most| most.checked_mul(self.depths.len()));
        most.is_some_and(|most| 2 * self.ensemble.splits() >= most.saturating_sub(self.depths.len()))
    }

    /// The columns with at most `most` thresholds in each: a split reads each of them.
    pub(crate) fn columns(&self, most: usize) -> usize {
        let thresholds = self.questions.thresholds.iter().map(|listed| listed.len().div_ceil(most));
        thresholds.sum::<usize>() + self.questions.sets.iter().map(BTreeMap::len).sum::<usize>()
    }

    /// The trees with at most `most` thresholds in a column, which is one of the limits above.
    pub(crate) fn coded(&self, most: usize) -> &Coded {
        let is_same = |limit: &usize| {
            let mut counts = self.questions.thresholds.iter().map(Vec::len);
            *limit == most
                || (*limit < most && counts.all(|count| count.div_ceil(*limit) == count.div_ceil(most)))
        };
        let at = LIMITS.iter().position(is_same).expect("the limit is listed");
        self.made[at].get_or_init(|| Coded::of(self.ensemble, &self.questions, LIMITS[at]))
    }
}

/// What an ensemble asks of each feature.
struct Questions {
    /// Ascending and distinct.
    thresholds: Vec<Vec<f64>>,
    /// The bits of members, ascending and distinct, each set with its number.
    sets: Vec<BTreeMap<Vec<u64>, usize>>,
}

impl Questions {
    fn new(ensemble: &Ensemble) -> Self {
        let mut thresholds = vec![Vec::new(); ensemble.features];
        let mut sets = vec![BTreeMap::new(); ensemble.features];
        for split in ensemble.trees.iter().flat_map(|tree| &tree.splits) {
            match asked(&split.test) {
                Asked::Threshold(threshold) => thresholds[split.feature as usize].push(threshold),
                Asked::Set(members) => {
                    sets[split.feature as usize].insert(bits(&members), 0);
                }
            }
        }
        for listed in &mut thresholds {
            listed.sort_unstable_by(f64::total_cmp);
            listed.dedup();
            listed.shrink_to_fit();
        }
        for sets in &mut sets {
            (0..).zip(sets.values_mut()).for_each(|(number, place)| *place = number);
        }
        Self { thresholds, sets }
    }
}

/// What the code of a column counts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Question {
    /// Ascending and distinct: how many are less than the value.
    Thresholds(Vec<f64>),
    /// Ascending and distinct: whether the value differs from all of these.
    Set(Vec<f64>),
}

/// A column of codes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Column {
    pub feature: usize,
    pub question: Question,
}

impl Column {
    /// The code of a value that is not missing.
    #[cfg(test)]
    pub(crate) fn code(&self, value: f64) -> usize {
        match &self.question {
            Question::Thresholds(thresholds) => thresholds.partition_point(|threshold| *threshold < value),
            Question::Set(members) => {
                usize::from(members.binary_search_by(|member| member.total_cmp(&(value + 0.0))).is_err())
            }
        }
    }

    /// The greatest code.
    pub(crate) fn largest(&self) -> usize {
        match &self.question {
            Question::Thresholds(thresholds) => thresholds.len(),
            Question::Set(_) => 1,
        }
    }
}

/// A split: to `on_true` where the code of `column` is at most `bound`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CodedSplit {
    pub column: usize,
    pub bound: usize,
    /// Whether a missing value goes to `on_true`.
    pub missing_true: bool,
    pub on_true: Child,
    pub on_false: Child,
}

/// A tree over codes. `splits[0]` is its root; a tree without splits has one leaf.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CodedTree {
    pub splits: Vec<CodedSplit>,
    /// For each leaf the index of its vector in the ensemble.
    pub leaves: Vec<u32>,
}

impl CodedTree {
    pub(crate) fn root(&self) -> Child {
        if self.splits.is_empty() { Child::Leaf(0) } else { Child::Split(0) }
    }

    /// For each split the leaves below it.
    pub(crate) fn leaf_counts(&self) -> Vec<usize> {
        let mut order = Vec::with_capacity(self.splits.len());
        let mut open = vec![self.root()];
        while let Some(child) = open.pop() {
            if let Child::Split(at) = child {
                let split = &self.splits[at as usize];
                order.push(at as usize);
                open.extend([split.on_true, split.on_false]);
            }
        }
        let mut counts = vec![0; self.splits.len()];
        for at in order.into_iter().rev() {
            let count = |child: Child| match child {
                Child::Leaf(_) => 1,
                Child::Split(next) => counts[next as usize],
            };
            counts[at] = count(self.splits[at].on_true) + count(self.splits[at].on_false);
        }
        counts
    }
}

/// An ensemble's trees over codes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Coded {
    /// Columns of one feature are next to each other.
    pub columns: Vec<Column>,
    pub trees: Vec<CodedTree>,
}

impl Coded {
    /// The trees of a checked ensemble, with at most `most` thresholds in a column.
    #[cfg(test)]
    pub(crate) fn new(ensemble: &Ensemble, most: usize) -> Self {
        Self::of(ensemble, &Questions::new(ensemble), most)
    }

    fn of(ensemble: &Ensemble, questions: &Questions, most: usize) -> Self {
        let mut columns = Vec::new();
        let mut places = Vec::with_capacity(ensemble.features);
        for (feature, (listed, sets)) in questions.thresholds.iter().zip(&questions.sets).enumerate() {
            let first = columns.len();
            let share = listed.len().div_ceil(listed.len().div_ceil(most).max(1)).max(1);
            let question = |part: &[f64]| Question::Thresholds(part.to_vec());
            columns.extend(listed.chunks(share).map(|part| Column { feature, question: question(part) }));
            places.push(FeatureColumns { first, share, first_set: columns.len(), listed, sets });
            for members in sets.keys() {
                let members = members.iter().map(|bits| f64::from_bits(*bits)).collect();
                columns.push(Column { feature, question: Question::Set(members) });
            }
        }
        let trees = ensemble.trees.iter().map(|tree| code(tree, &places)).collect();
        Self { columns, trees }
    }
}

/// Where a feature's columns are.
struct FeatureColumns<'a> {
    /// Its first column, and the thresholds that each has but the last.
    first: usize,
    share: usize,
    /// Its first column of a set.
    first_set: usize,
    /// All its thresholds.
    listed: &'a [f64],
    sets: &'a BTreeMap<Vec<u64>, usize>,
}

enum Asked {
    Threshold(f64),
    Set(Vec<f64>),
}

/// What a test asks, with one zero, and without NaN.
fn asked(test: &Test) -> Asked {
    match test {
        Test::AtMost(threshold) if threshold.is_nan() => Asked::Set(Vec::new()),
        Test::AtMost(threshold) => Asked::Threshold(threshold + 0.0),
        Test::In(members) => {
            let mut members: Vec<_> =
                members.iter().filter(|member| !member.is_nan()).map(|member| member + 0.0).collect();
            members.sort_by(f64::total_cmp);
            members.dedup();
            Asked::Set(members)
        }
    }
}

fn bits(members: &[f64]) -> Vec<u64> {
    members.iter().map(|member| member.to_bits()).collect()
}

fn code(tree: &Tree, places: &[FeatureColumns<'_>]) -> CodedTree {
    let splits = tree.splits.iter().map(|split| {
        let of = &places[split.feature as usize];
        let (column, bound) = match asked(&split.test) {
            Asked::Set(members) => (of.first_set + of.sets[&bits(&members)], 0),
            Asked::Threshold(threshold) => {
                let below = of.listed.partition_point(|each| *each < threshold);
                (of.first + below / of.share, below % of.share)
            }
        };
        let (missing_true, on_true, on_false) = (split.missing_true, split.on_true, split.on_false);
        CodedSplit { column, bound, missing_true, on_true, on_false }
    });
    CodedTree { splits: splits.collect(), leaves: tree.leaves.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trees::element::Real;
    use crate::trees::ensemble::{Split, Vectors};
    use crate::trees::testing::{self, Shape};

    /// The leaf's vector, by codes.
    fn leaf(coded: &Coded, tree: &CodedTree, row: &[f64]) -> u32 {
        let mut at = if tree.splits.is_empty() { Child::Leaf(0) } else { Child::Split(0) };
        loop {
            match at {
                Child::Leaf(leaf) => return tree.leaves[leaf as usize],
                Child::Split(split) => {
                    let split = &tree.splits[split as usize];
                    let column = &coded.columns[split.column];
                    let value = row[column.feature];
                    let passes =
                        if value.is_nan() { split.missing_true } else { column.code(value) <= split.bound };
                    at = if passes { split.on_true } else { split.on_false };
                }
            }
        }
    }

    #[test]
    fn codes_lead_to_the_same_leaves_as_values() {
        for (seed, most) in [(1, 254), (2, 7), (3, 1), (4, 65_000)] {
            let shape = Shape { one_set_in: 5, input: Real::F64, thresholds: 40, ..Shape::default() };
            let ensemble = testing::ensemble(shape, seed);
            let coded = Coded::new(&ensemble, most);
            let most_asked = |column: &Column| match &column.question {
                Question::Thresholds(thresholds) => thresholds.len(),
                Question::Set(_) => 0,
            };
            assert!(coded.columns.iter().all(|column| most_asked(column) <= most));
            let rows = testing::hard_rows::<f64>(&ensemble, 500, seed);
            for row in rows.chunks_exact(ensemble.features) {
                for (tree, coded_tree) in ensemble.trees.iter().zip(&coded.trees) {
                    let found = leaf(&coded, coded_tree, row);
                    assert_eq!(found, crate::trees::forms::naive::leaf(tree, row));
                }
            }
        }
    }

    /// Time that grows with the square of the thresholds would be minutes here.
    #[test]
    fn many_thresholds_and_sets_are_coded() {
        const SPLITS: usize = 300_000;
        for sets in [false, true] {
            let split = |at: usize| {
                // All are different, in no order.
                let number = (at * 7_919 % SPLITS) as f64;
                let last = at + 1 == SPLITS;
                Split {
                    feature: 0,
                    test: if sets { Test::In(vec![number]) } else { Test::AtMost(number) },
                    missing_true: false,
                    on_true: Child::Leaf(at as u32),
                    on_false: if last { Child::Leaf(SPLITS as u32) } else { Child::Split(at as u32 + 1) },
                }
            };
            let mut vectors = Vectors::default();
            let vector = vectors.push([(0, 1.0)]);
            let tree = Tree { splits: (0..SPLITS).map(split).collect(), leaves: vec![vector; SPLITS + 1] };
            let (input, sum, base) = (Real::F64, Real::F64, vec![0.0]);
            let ensemble = Ensemble { input, sum, features: 1, base, trees: vec![tree], vectors };
            let codings = Codings::new(&ensemble);
            for most in [MOST_IN_BYTE, MOST_IN_BARE_BYTE, MOST_IN_16_BITS] {
                let coded = codings.coded(most);
                let columns = if sets { SPLITS } else { SPLITS.div_ceil(most) };
                assert_eq!((coded.columns.len(), codings.columns(most)), (columns, columns));
                for (split, coded_split) in ensemble.trees[0].splits.iter().zip(&coded.trees[0].splits) {
                    let (question, bound) = (&coded.columns[coded_split.column].question, coded_split.bound);
                    match (question, &split.test) {
                        (Question::Thresholds(listed), Test::AtMost(threshold)) => {
                            assert_eq!(listed[bound].to_bits(), threshold.to_bits());
                        }
                        (Question::Set(listed), Test::In(members)) => assert_eq!(listed, members),
                        other => panic!("{other:?}"),
                    }
                }
            }
        }
    }

    #[test]
    fn columns_are_in_the_order_of_the_features() {
        let ensemble = testing::ensemble(Shape { one_set_in: 4, ..Shape::default() }, 9);
        let coded = Coded::new(&ensemble, 10);
        assert!(coded.columns.is_sorted_by_key(|column| column.feature));
        assert!(coded.columns.iter().all(|column| column.largest() <= 10));
    }
}
