//! The operator TreeEnsemble: read, checked, and made an ensemble.
//!
//! ONNX gives each leaf one target, so exporters write a tree with several targets once for each. Such copies become
//! one tree again, whose leaves are vectors: its sums are the same, because each target's leaves stay in their order.
//! Leading trees of one leaf are where the sums start.

use std::collections::HashMap;

use crate::program::Unsupported;
use crate::program::compile::view::Cell;
use crate::program::compile::{Compiler, Value, unsupported};
use crate::program::onnx::{DOUBLE, Data, Model, Node};
use crate::program::plan::{Action, Kind};
use crate::trees::ensemble::{Child, Ensemble, Split, Test, Tree, Vectors};
use crate::trees::{Processor, Real, Trees};

/// Modes of nodes.
const LEQ: i64 = 0;
const LT: i64 = 1;
const GTE: i64 = 2;
const GT: i64 = 3;
const EQ: i64 = 4;
const MEMBER: i64 = 6;
/// The aggregate function of sums.
const SUM: i64 = 1;
/// The most targets: each is a number for each row.
const MOST_TARGETS: i64 = 1 << 16;
/// The most ensembles of a graph: each is measured when it is loaded.
const MOST_ENSEMBLES: usize = 256;

impl Compiler<'_> {
    pub(super) fn trees(&mut self, node: &Node<'_>) -> Result<Value, Unsupported> {
        let of = self.rows(node, 0)?;
        if let Some(operator) = self.inexact.get(node.inputs[0]) {
            // A row at a threshold would go another way than in onnxruntime, with which the export compares.
            return unsupported(format!(
                "trees read results of {operator}, whose last bits differ between libraries"
            ));
        }
        let real = match of.kind {
            Kind::F32 => Real::F32,
            Kind::F64 => Real::F64,
            Kind::I64 | Kind::Bool => return unsupported("trees over whole numbers do not run here"),
        };
        if of.dims.len() != 1 {
            return unsupported("trees get something else than a row");
        }
        let known = self.drafts.iter().filter(|draft| matches!(draft.action, Action::Score { .. }));
        if known.count() == MOST_ENSEMBLES {
            return unsupported("the graph has too many ensembles of trees");
        }
        self.count(of.width())?;
        let (mut ensemble, _) = Nodes::read(node, real)?.ensemble(real, of.width(), |_, _| true)?;
        let (targets, count, kind) = (ensemble.base.len(), ensemble.trees.len(), of.kind);
        let mut cells = of.cells.to_vec();
        // Doubles that were floats are read as floats: the trees decide alike.
        if let Some(floats) = self.before_cast(&cells) {
            (cells, ensemble) = (floats, ensemble.narrowed());
        }
        let source = self.whole_source(&cells)?;
        let processor = self.options.processor.unwrap_or_else(Processor::detected);
        let trees = Trees::with(&ensemble, self.options.form, processor).map_err(Unsupported)?;
        let trees = Box::new(trees);
        let read = self.sources[source as usize].kind;
        let place = self.place(Cell { source, at: 0 }, false).place;
        let made = self.step(Action::Score { trees, count, kind: read, of: place }, kind, targets)?;
        Ok(Value::Rows(self.whole(made, vec![targets])))
    }

    /// The floats of which doubles were cast, if all were.
    fn before_cast(&self, cells: &[Cell]) -> Option<Vec<Cell>> {
        let before = |cell: &Cell| {
            let draft = self.draft(cell.source)?;
            let Action::Cast { kind: Kind::F32, of } = &draft.action else { return None };
            if draft.kind != Kind::F64 {
                return None;
            }
            let at = of.begin as u32 + if of.one { 0 } else { cell.at };
            Some(Cell { source: self.source_of(of.place)?, at })
        };
        cells.iter().map(before).collect()
    }
}

/// The numbers of a tree's splits among the nodes of the operator, and of its leaves among the leaves.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Origins {
    pub splits: Vec<u32>,
    pub leaves: Vec<u32>,
}

/// The ensemble of the node whose output has this name, over rows of `features` values, and the origins of its trees,
/// whose covers are one number for each node and for each leaf. Copies of a tree become one where their covers are the
/// same: trees that a library fitted one by one may be alike in all but that.
///
/// # Errors
/// `Unsupported`: the model has no such node, or the node does not run here, or has another number of nodes or leaves.
pub(crate) fn named(
    model: &Model<'_>,
    output: &str,
    features: usize,
    [of_nodes, of_leaves]: [&[f64]; 2],
) -> Result<(Ensemble, Vec<Origins>), Unsupported> {
    let is_named = |node: &&Node<'_>| {
        (node.domain, node.operator) == ("ai.onnx.ml", "TreeEnsemble")
            && node.outputs.first() == Some(&output)
    };
    let Some(node) = model.nodes.iter().find(is_named) else {
        return unsupported(format!("no trees have the output {output}"));
    };
    let splits = node.tensor("nodes_splits")?.map(|tensor| tensor.element);
    let real = if splits == Some(DOUBLE) { Real::F64 } else { Real::F32 };
    let nodes = Nodes::read(node, real)?;
    if (nodes.features.len(), nodes.leaf_values.len()) != (of_nodes.len(), of_leaves.len()) {
        return unsupported("the trees have another number of nodes or leaves than of covers");
    }
    let alike = |covers: &[f64], one: &[u32], other: &[u32]| {
        one.iter().zip(other).all(|(one, other)| covers[*one as usize] == covers[*other as usize])
    };
    nodes.ensemble(real, features, |one, other| {
        alike(of_nodes, &one.splits, &other.splits) && alike(of_leaves, &one.leaves, &other.leaves)
    })
}

/// The attributes of the operator.
struct Nodes {
    targets: usize,
    roots: Vec<usize>,
    features: Vec<u32>,
    tests: Vec<Asked>,
    missing_true: Vec<bool>,
    on_true: Vec<Branch>,
    on_false: Vec<Branch>,
    leaf_targets: Vec<u32>,
    leaf_values: Vec<f64>,
}

/// What a leaf adds to which targets.
type Entries = Vec<(u32, f64)>;

/// A child: whether it is a leaf, and its number among leaves or nodes.
type Branch = (bool, usize);

/// What a node asks, and whether its children are the other way round.
struct Asked {
    test: Test,
    swapped: bool,
}

impl Nodes {
    fn read(node: &Node<'_>, real: Real) -> Result<Self, Unsupported> {
        const KNOWN: [&str; 16] = [
            "n_targets",
            "aggregate_function",
            "post_transform",
            "tree_roots",
            "nodes_featureids",
            "nodes_truenodeids",
            "nodes_falsenodeids",
            "nodes_trueleafs",
            "nodes_falseleafs",
            "nodes_missing_value_tracks_true",
            "nodes_modes",
            "nodes_splits",
            "nodes_hitrates",
            "leaf_targetids",
            "leaf_weights",
            "membership_values",
        ];
        if node.attribute_names().any(|name| !KNOWN.contains(&name)) {
            return unsupported("trees have an attribute that does not run here");
        }
        if node.integer("aggregate_function", SUM)? != SUM || node.integer("post_transform", 0)? != 0 {
            return unsupported("trees that are not summed do not run here");
        }
        let targets = node.integer("n_targets", 0)?;
        if !(1..=MOST_TARGETS).contains(&targets) {
            return unsupported("trees have no targets, or too many");
        }
        let features = numbers::<u32>(node, "nodes_featureids")?;
        let count = features.len();
        let thresholds = reals(node, "nodes_splits", real)?;
        let members = match node.tensor("membership_values")? {
            Some(_) => reals(node, "membership_values", real)?,
            None => Vec::new(),
        };
        let missing_true = match node.integers("nodes_missing_value_tracks_true")? {
            Some(tracks) if !tracks.is_empty() => tracks.into_iter().map(|track| track != 0).collect(),
            _ => vec![false; count],
        };
        let children = |leaves: &str, ids: &str| -> Result<Vec<_>, Unsupported> {
            let (leaves, ids) = (numbers::<usize>(node, leaves)?, numbers::<usize>(node, ids)?);
            if [leaves.len(), ids.len()] != [count; 2] {
                return unsupported("trees have attributes of different lengths");
            }
            Ok(leaves.into_iter().map(|leaf| leaf != 0).zip(ids).collect())
        };
        let read = Self {
            targets: targets as usize,
            roots: numbers(node, "tree_roots")?,
            tests: tests(&modes(node)?, &thresholds, &members, real)?,
            features,
            missing_true,
            on_true: children("nodes_trueleafs", "nodes_truenodeids")?,
            on_false: children("nodes_falseleafs", "nodes_falsenodeids")?,
            leaf_targets: numbers(node, "leaf_targetids")?,
            leaf_values: reals(node, "leaf_weights", real)?,
        };
        let lengths = [read.tests.len(), read.missing_true.len(), thresholds.len()];
        if lengths != [count; 3] || read.leaf_targets.len() != read.leaf_values.len() {
            return unsupported("trees have attributes of different lengths");
        }
        if read.leaf_targets.iter().any(|target| *target as usize >= read.targets) {
            return unsupported("a leaf adds to a target that there is not");
        }
        Ok(read)
    }

    /// The ensemble, and for each of its trees the origins of the first of its copies. `is_same` is asked about the
    /// origins of two copies before they become one tree.
    fn ensemble(
        self,
        real: Real,
        features: usize,
        is_same: impl Fn(&Origins, &Origins) -> bool,
    ) -> Result<(Ensemble, Vec<Origins>), Unsupported> {
        let mut base = vec![0.0; self.targets];
        let mut trees: Vec<(Tree, Vec<Entries>)> = Vec::new();
        let mut origins: Vec<Origins> = Vec::new();
        // A node of a second tree is the same node, so there are as many at most as nodes.
        let mut reached = vec![false; self.features.len()];
        for root in &self.roots {
            let (tree, leaves, from) = self.tree(*root, &mut reached)?;
            if tree.splits.is_empty() && trees.is_empty() {
                let (target, value) = leaves[0][0];
                let sum = &mut base[target as usize];
                *sum = match real {
                    Real::F32 => f64::from(*sum as f32 + value as f32),
                    Real::F64 => *sum + value,
                };
                continue;
            }
            match trees.last_mut().zip(origins.last()) {
                Some(((before, entries), first))
                    if is_copy(before, entries, &tree, &leaves) && is_same(first, &from) =>
                {
                    for (entries, own) in entries.iter_mut().zip(leaves) {
                        entries.extend(own);
                    }
                }
                _ => {
                    trees.push((tree, leaves));
                    origins.push(from);
                }
            }
        }
        let mut vectors = Vectors::default();
        let mut known: HashMap<Vec<(u32, u64)>, u32> = HashMap::new();
        let trees = trees.into_iter().map(|(mut tree, leaves)| {
            let place = |entries: Entries| {
                let key = entries.iter().map(|(target, value)| (*target, value.to_bits())).collect();
                *known.entry(key).or_insert_with(|| vectors.push(entries))
            };
            tree.leaves = leaves.into_iter().map(place).collect();
            tree
        });
        let trees = trees.collect();
        let ensemble = Ensemble { input: real, sum: real, features, base, trees, vectors };
        ensemble.check().map_err(Unsupported)?;
        Ok((ensemble, origins))
    }

    /// A tree, what each of its leaves adds to which target, and the tree's origins. Splits are in the order of a walk
    /// that goes to `on_true` first, so that copies are alike.
    fn tree(&self, root: usize, reached: &mut [bool]) -> Result<(Tree, Vec<Entries>, Origins), Unsupported> {
        let (mut tree, mut leaves, mut origins) = (Tree::default(), Vec::new(), Origins::default());
        let both = |node: usize| match (self.on_true.get(node), self.on_false.get(node)) {
            (Some(on_true), Some(on_false)) => Ok((*on_true, *on_false)),
            _ => unsupported("trees lead to a node that there is not"),
        };
        let leaf = |at: usize| match (self.leaf_targets.get(at), self.leaf_values.get(at)) {
            (Some(target), Some(value)) => Ok(vec![(*target, *value)]),
            _ => unsupported("trees lead to a leaf that there is not"),
        };
        // A tree of one leaf is a node with that leaf on both sides.
        let (on_true, on_false) = both(root)?;
        if on_true.0 && on_true == on_false {
            origins.leaves.push(on_true.1 as u32);
            return Ok((tree, vec![leaf(on_true.1)?], origins));
        }
        // Nodes and leaves to visit, each with the split that leads there.
        let mut open: Vec<(Branch, Option<(usize, bool)>)> = vec![((false, root), None)];
        while let Some(((is_leaf, at), parent)) = open.pop() {
            let child = if is_leaf {
                leaves.push(leaf(at)?);
                origins.leaves.push(at as u32);
                Child::Leaf((leaves.len() - 1) as u32)
            } else {
                let (on_true, on_false) = both(at)?;
                if std::mem::replace(&mut reached[at], true) {
                    return unsupported("two splits lead to one node");
                }
                let Asked { test, swapped } = &self.tests[at];
                let split = tree.splits.len();
                origins.splits.push(at as u32);
                tree.splits.push(Split {
                    feature: self.features[at],
                    test: test.clone(),
                    missing_true: self.missing_true[at] != *swapped,
                    on_true: Child::Leaf(0),
                    on_false: Child::Leaf(0),
                });
                open.push((on_false, Some((split, *swapped))));
                open.push((on_true, Some((split, !*swapped))));
                Child::Split(split as u32)
            };
            if let Some((split, on_true)) = parent {
                let split = &mut tree.splits[split];
                *(if on_true { &mut split.on_true } else { &mut split.on_false }) = child;
            }
        }
        tree.leaves = vec![0; leaves.len()];
        Ok((tree, leaves, origins))
    }
}

/// Whether a tree has the splits of the tree before it, and other targets.
fn is_copy(before: &Tree, entries: &[Entries], tree: &Tree, leaves: &[Entries]) -> bool {
    // Copies are in the order of their targets: the last one tells. Each leaf's own targets are enough: a row comes to
    // the same leaf in all copies.
    let others = |(entries, own): (&Entries, &Entries)| {
        entries.last().is_none_or(|(last, _)| own.iter().all(|(target, _)| target > last))
    };
    before.splits == tree.splits && entries.len() == leaves.len() && entries.iter().zip(leaves).all(others)
}

fn tests(modes: &[i64], thresholds: &[f64], members: &[f64], real: Real) -> Result<Vec<Asked>, Unsupported> {
    let mut members = members;
    let mut asked = Vec::with_capacity(modes.len());
    for (mode, threshold) in modes.iter().zip(thresholds) {
        let threshold = *threshold;
        let (test, swapped) = match *mode {
            // No number compares with NaN.
            LEQ | LT | GTE | GT | EQ if threshold.is_nan() => (Test::never(), false),
            LEQ => (Test::AtMost(threshold), false),
            LT => (Test::less(threshold, real), false),
            GTE => (Test::less(threshold, real), true),
            GT => (Test::AtMost(threshold), true),
            EQ => (Test::In(vec![threshold]), false),
            MEMBER => {
                let Some(end) = members.iter().position(|member| member.is_nan()) else {
                    return unsupported("a set of trees has no end");
                };
                let (set, rest) = (&members[..end], &members[end + 1..]);
                members = rest;
                (Test::In(set.to_vec()), false)
            }
            mode => return unsupported(format!("nodes of mode {mode} do not run here")),
        };
        asked.push(Asked { test, swapped });
    }
    Ok(asked)
}

fn numbers<T: TryFrom<i64>>(node: &Node<'_>, name: &str) -> Result<Vec<T>, Unsupported> {
    let numbers = node.integers(name)?.unwrap_or_default().into_iter().map(T::try_from);
    numbers.collect::<Result<_, _>>().map_err(|_| Unsupported(format!("{name} has a negative number")))
}

/// Values of the type in which the trees compute.
fn reals(node: &Node<'_>, name: &str, real: Real) -> Result<Vec<f64>, Unsupported> {
    let data = node.tensor(name)?.map(|tensor| tensor.data()).transpose()?.flatten();
    match (data, real) {
        (Some(Data::F32(values)), Real::F32) => Ok(values.into_iter().map(f64::from).collect()),
        (Some(Data::F64(values)), Real::F64) => Ok(values),
        _ => unsupported(format!("{name} is of a type that does not run here")),
    }
}

fn modes(node: &Node<'_>) -> Result<Vec<i64>, Unsupported> {
    match node.tensor("nodes_modes")?.map(|tensor| tensor.data()).transpose()?.flatten() {
        Some(Data::I64(modes)) => Ok(modes),
        _ => unsupported("trees have no modes"),
    }
}

/// The ensemble of the first TreeEnsemble of a model over floats with two features.
#[cfg(test)]
pub(in crate::program) fn trees_of(model: &[u8]) -> Ensemble {
    let model = crate::program::onnx::Model::read(model).unwrap();
    let node = model.nodes.iter().find(|node| node.operator == "TreeEnsemble").unwrap();
    Nodes::read(node, Real::F32).unwrap().ensemble(Real::F32, 2, |_, _| true).unwrap().0
}
