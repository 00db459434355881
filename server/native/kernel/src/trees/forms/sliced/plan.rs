//! What a bit-sliced form computes, in which order.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::trees::coded::{self, CodedTree, Codings};
use crate::trees::ensemble::{Child, Ensemble};
use crate::trees::forms::sliced::comparisons::{Comparison, Comparisons, Slots};

/// The most bits of the index of a leaf.
pub(super) const MOST_LEVELS: usize = 8;
/// The most columns: for a block of rows each takes some hundred bytes.
const MOST_COLUMNS: usize = 1 << 16;
/// The most targets: for a block of rows each takes up to four kilobytes.
const MOST_TARGETS: usize = 1024;
/// The fewest values of a table: a form fills tables up to a line.
const LEAST_VALUES: usize = 64;
/// The most values of tables for each split and each value of a leaf, beside one table of the fewest for each tree.
const VALUES_EACH: usize = 16;
/// The most values of tables, however small the ensemble is.
const SMALL: usize = 1 << 16;
/// Trees whose indices of leaves are kept at once.
pub(super) const BATCH: usize = 16;
/// The ranks of trees whose steps are mixed: a step that reads what the one before it wrote would wait for it.
const MIXED: usize = 128;
/// The place of a vector of ones, and of one of zeros, among a tree's ranks.
pub(super) const ONES: usize = 1 << MOST_LEVELS;
pub(super) const ZEROS: usize = ONES + 1;
pub(super) const RANKS: usize = ONES + 2;

/// What is computed for each block of rows.
#[derive(Debug)]
pub(super) struct Plan {
    /// The feature of each column.
    pub features: Vec<u32>,
    pub parts: Vec<Part>,
    /// For the nodes of complete trees the slots of their comparisons; `nodes[0]` of a tree is unused, its root has 1,
    /// and the children of h have 2h and 2h + 1.
    pub nodes: Vec<u32>,
    pub steps: Vec<RankStep>,
    /// The most slots of a part.
    pub slots: usize,
}

/// Trees whose comparisons are kept at once.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// By column. The comparisons have the slots from 1 on, in this order; slot 0 is false for every row.
    pub asked: Vec<(usize, Vec<Comparison>)>,
    pub batches: Vec<Batch>,
}

/// Trees whose indices of leaves are kept at once, and what is then added.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub trees: Vec<Indexed>,
    pub runs: Vec<Run>,
}

/// How a tree's index of a leaf comes about.
#[derive(Debug, Clone)]
pub(super) struct Indexed {
    /// The bits of the index.
    pub levels: usize,
    pub way: Way,
}

#[derive(Debug, Clone)]
pub(super) enum Way {
    /// The bits are the turns on the way from the root. The tree's nodes begin here.
    Turns(usize),
    /// Leaves are counted from the left: each step tells of one number whether the index is at least as great. Steps
    /// of several trees are mixed, those of the first tree; the tree's ranks begin at `start`.
    Ranks { steps: Range<usize>, start: usize },
}

/// One comparison of a tree whose leaves are counted: rank `to` is `high`, or `low` and the comparison of `slot`.
///
/// A split's rank is the number of the first leaf of its `on_false`. A row's index is at least that if it is beyond
/// all leaves of the split (`high`), or if it is not before them (`low`) and goes to `on_false`.
#[derive(Debug, Clone, Copy)]
pub(super) struct RankStep {
    pub slot: u32,
    pub low: u16,
    pub high: u16,
    pub to: u16,
}

/// Additions to one target, in the order of the trees.
#[derive(Debug)]
pub(super) struct Run {
    pub target: usize,
    /// The bits of the largest index among them.
    pub levels: usize,
    /// The tree, by its place in the batch, and the table that has its leaves' values.
    pub adds: Vec<(usize, usize)>,
}

/// For each index of a leaf what it adds to one target; -0.0 where it adds nothing, which changes no sum.
#[derive(Debug)]
pub(super) struct Table {
    /// The bits of the index in the table's run: what the table is filled up to.
    pub levels: usize,
    pub values: Vec<f64>,
}

impl Plan {
    /// `None`: a tree has more than 256 leaves, there are too many columns or targets, or tables would be far larger
    /// than the ensemble.
    pub(super) fn new(codings: &Codings<'_>) -> Option<(Self, Vec<Table>)> {
        let columns = codings.columns(coded::MOST_IN_BARE_BYTE);
        let is_wide = columns > MOST_COLUMNS || codings.ensemble.base.len() > MOST_TARGETS;
        if is_wide || codings.leaves > 1 << MOST_LEVELS {
            return None;
        }
        let (ensemble, coded) = (codings.ensemble, codings.coded(coded::MOST_IN_BARE_BYTE));
        let mut order: Vec<_> = (0..coded.trees.len()).collect();
        let targets = match &codings.targets {
            Some(targets) => {
                // Of one target the trees stay in order: their sums have the same bits.
                order.sort_by_key(|tree| targets[*tree]);
                targets.iter().map(|target| vec![*target]).collect()
            }
            None => coded.trees.iter().map(|tree| targets(ensemble, tree)).collect::<Option<Vec<_>>>()?,
        };
        let leaves = coded.trees.iter().flat_map(|tree| &tree.leaves);
        let entries: usize = leaves.map(|leaf| ensemble.vectors.entries(*leaf).count()).sum();
        let allowed = SMALL + LEAST_VALUES * coded.trees.len() + VALUES_EACH * (ensemble.splits() + entries);
        // A table that shares its run with larger ones is filled up to those: at most to four times of this.
        let of_table = |tree: &CodedTree| LEAST_VALUES.max(1 << rank_levels(tree));
        let kept: usize = coded.trees.iter().zip(&targets).map(|(tree, on)| on.len() * of_table(tree)).sum();
        if kept > allowed {
            return None;
        }
        let mut plan = Self {
            features: coded.columns.iter().map(|column| column.feature as u32).collect(),
            parts: Vec::new(),
            nodes: Vec::new(),
            steps: Vec::new(),
            slots: 1,
        };
        let comparisons = Comparisons::new(&coded.columns);
        let mut tables = Vec::new();
        let mut asked = vec![false; comparisons.count()];
        let mut slots = Slots { comparisons: &comparisons, slots: vec![0; comparisons.count()] };
        let mut left = &order[..];
        while !left.is_empty() {
            let (count, numbers) = comparisons.first_part(&coded.trees, left, &mut asked);
            let taken;
            (taken, left) = left.split_at(count);
            let mut part = Part::default();
            for (slot, number) in (1..).zip(&numbers) {
                slots.slots[*number] = slot;
                let (column, comparison) = comparisons.of(*number);
                match part.asked.last_mut() {
                    Some((last, listed)) if *last == column => listed.push(comparison),
                    _ => part.asked.push((column, vec![comparison])),
                }
            }
            for batch in taken.chunks(BATCH) {
                part.batches.push(plan.batch(codings, &targets, batch, &slots, &mut tables));
            }
            plan.slots = plan.slots.max(1 + numbers.len());
            plan.parts.push(part);
        }
        // Trees are read as if each had the most nodes.
        plan.nodes.resize(plan.nodes.len() + (1 << MOST_LEVELS), 0);
        let is_rank = |place: u16| usize::from(place) < RANKS;
        let trees = plan.parts.iter().flat_map(|part| &part.batches).flat_map(|batch| &batch.trees);
        let ranks_fit = trees.into_iter().all(|tree| match tree.way {
            Way::Turns(_) => true,
            Way::Ranks { start, .. } => start + (1 << tree.levels) <= ONES,
        });
        let steps_fit = plan.steps.iter().all(|step| [step.low, step.high, step.to].into_iter().all(is_rank));
        let mut slots = plan.nodes.iter().chain(plan.steps.iter().map(|step| &step.slot));
        assert!(
            ranks_fit && steps_fit && slots.all(|slot| (*slot as usize) < plan.slots),
            "the plan has an index out of range"
        );
        Some((plan, tables))
    }

    fn batch(
        &mut self,
        codings: &Codings<'_>,
        targets: &[Vec<usize>],
        taken: &[usize],
        slots: &Slots<'_>,
        tables: &mut Vec<Table>,
    ) -> Batch {
        let (vectors, trees) = (&codings.ensemble.vectors, &codings.coded(coded::MOST_IN_BARE_BYTE).trees);
        let mut batch = Batch::default();
        let mut adds: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
        let (mut mixed, mut firsts) = (Mixed::default(), Vec::new());
        for (place, tree) in taken.iter().enumerate() {
            let (indexed, leaves) = self.indexed(&trees[*tree], codings.depths[*tree], slots, &mut mixed);
            let (targets, first) = (&targets[*tree], tables.len());
            for target in targets {
                adds.entry(*target).or_default().push((place, tables.len()));
                tables.push(Table { levels: indexed.levels, values: vec![-0.0; leaves.len()] });
            }
            for (index, leaf) in leaves.iter().enumerate() {
                for (target, value) in vectors.entries(trees[*tree].leaves[*leaf as usize]) {
                    let table = targets.binary_search(&target).expect("the target is one of the tree's");
                    tables[first + table].values[index] = value;
                }
            }
            if let Way::Ranks { start: 0, .. } = indexed.way {
                firsts.push(place);
            }
            batch.trees.push(indexed);
        }
        for (first, mut steps) in firsts.into_iter().zip(mixed.groups) {
            steps.sort_by_key(|(level, _)| *level);
            let begin = self.steps.len();
            self.steps.extend(steps.into_iter().map(|(_, step)| step));
            batch.trees[first].way = Way::Ranks { steps: begin..self.steps.len(), start: 0 };
        }
        for (target, adds) in adds {
            let levels = adds.iter().map(|(_, table)| tables[*table].levels).max().unwrap_or(0);
            adds.iter().for_each(|(_, table)| tables[*table].levels = levels);
            batch.runs.push(Run { target, levels, adds });
        }
        batch
    }

    /// How the index of a tree's leaf comes about, and the leaf of each index.
    fn indexed(
        &mut self,
        tree: &CodedTree,
        depth: usize,
        slots: &Slots<'_>,
        mixed: &mut Mixed,
    ) -> (Indexed, Vec<u32>) {
        let depth = depth.max(1);
        let levels = rank_levels(tree);
        // A step costs about as much as three nodes of a complete tree.
        if depth <= MOST_LEVELS && 1 << depth <= (1 << levels) + 3 * tree.splits.len() {
            let (start, leaves) = self.turns(tree, depth, slots);
            return (Indexed { levels: depth, way: Way::Turns(start) }, leaves);
        }
        let (start, steps) = mixed.room(1 << levels);
        let leaves = ranks(tree, levels, slots, start, steps);
        (Indexed { levels, way: Way::Ranks { steps: 0..0, start } }, leaves)
    }

    fn turns(&mut self, tree: &CodedTree, depth: usize, slots: &Slots<'_>) -> (usize, Vec<u32>) {
        let (start, size) = (self.nodes.len(), 1 << depth);
        self.nodes.resize(start + size, 0);
        let mut leaves = vec![0; size];
        let mut open = vec![(tree.root(), 1, depth)];
        while let Some((child, at, below)) = open.pop() {
            match child {
                Child::Leaf(leaf) => leaves[(at << below) - size..((at + 1) << below) - size].fill(leaf),
                Child::Split(split) => {
                    self.nodes[start + at] = slots.of(tree, split);
                    let split = &tree.splits[split as usize];
                    open.push((split.on_true, 2 * at, below - 1));
                    open.push((split.on_false, 2 * at + 1, below - 1));
                }
            }
        }
        (start, leaves)
    }

    /// The bytes that it holds.
    pub(super) fn bytes(&self) -> usize {
        let parts = self.parts.iter().map(|part| {
            let asked: usize = part.asked.iter().map(|(_, list)| size_of_val(&list[..])).sum();
            let batches = part.batches.iter().map(|batch| {
                let adds: usize = batch.runs.iter().map(|run| size_of_val(&run.adds[..])).sum();
                size_of_val(&batch.trees[..]) + size_of_val(&batch.runs[..]) + adds
            });
            size_of_val(&part.asked[..]) + asked + size_of_val(&part.batches[..]) + batches.sum::<usize>()
        });
        size_of_val(&self.features[..])
            + size_of_val(&self.nodes[..])
            + size_of_val(&self.steps[..])
            + size_of_val(&self.parts[..])
            + parts.sum::<usize>()
    }
}

/// Steps of the trees of a batch, with their levels, in groups whose ranks are kept at once.
#[derive(Debug, Default)]
struct Mixed {
    groups: Vec<Vec<(usize, RankStep)>>,
    used: usize,
}

impl Mixed {
    /// Where the ranks of a tree begin, and the steps of its group.
    fn room(&mut self, ranks: usize) -> (usize, &mut Vec<(usize, RankStep)>) {
        if self.groups.is_empty() || self.used + ranks > MIXED {
            self.groups.push(Vec::new());
            self.used = 0;
        }
        self.used += ranks;
        (self.used - ranks, self.groups.last_mut().expect("there is a group"))
    }
}

/// Adds a tree's steps, with the level of each; returns its leaves from the left.
fn ranks(
    tree: &CodedTree,
    levels: usize,
    slots: &Slots<'_>,
    start: usize,
    steps: &mut Vec<(usize, RankStep)>,
) -> Vec<u32> {
    let counts = tree.leaf_counts();
    let count = |child: Child| match child {
        Child::Leaf(_) => 1,
        Child::Split(split) => counts[split as usize],
    };
    let all = count(tree.root());
    // The place of a rank is that of its node in the complete tree that searches for the index.
    let node = |rank: usize| (start + (((1 << levels) + rank) >> (rank.trailing_zeros() + 1))) as u16;
    let place = |rank: usize| match rank {
        0 => ONES as u16,
        rank if rank >= all => ZEROS as u16,
        rank => node(rank),
    };
    let mut leaves = vec![0; all];
    let mut open = vec![(tree.root(), 0, all, 0)];
    while let Some((child, low, high, level)) = open.pop() {
        match child {
            Child::Leaf(leaf) => leaves[low] = leaf,
            Child::Split(at) => {
                let split = &tree.splits[at as usize];
                let middle = low + count(split.on_true);
                let slot = slots.of(tree, at);
                let step = RankStep { slot, low: place(low), high: place(high), to: place(middle) };
                steps.push((level, step));
                open.push((split.on_true, low, middle, level + 1));
                open.push((split.on_false, middle, high, level + 1));
            }
        }
    }
    let unused = |rank| RankStep { slot: 0, low: ZEROS as u16, high: ZEROS as u16, to: node(rank) };
    steps.extend((all..1 << levels).map(|rank| (0, unused(rank))));
    leaves
}

/// The bits of an index of a tree's leaves.
fn rank_levels(tree: &CodedTree) -> usize {
    tree.leaves.len().next_power_of_two().trailing_zeros().max(1) as usize
}

/// The targets that a tree adds to, ascending; `None` if a leaf adds twice to one.
fn targets(ensemble: &Ensemble, tree: &CodedTree) -> Option<Vec<usize>> {
    let mut all = Vec::new();
    for leaf in &tree.leaves {
        let first = all.len();
        all.extend(ensemble.vectors.entries(*leaf).map(|(target, _)| target));
        all[first..].sort_unstable();
        if all[first..].windows(2).any(|pair| pair[0] == pair[1]) {
            return None;
        }
    }
    all.sort_unstable();
    all.dedup();
    Some(all)
}

#[cfg(test)]
mod tests;
