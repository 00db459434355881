//! Contributions by quadrature, for trees of any depth and any number of players: exact but for the rounding of doubles.
//!
//! Each tree of a row is gone through once down and once up, with some nodes of the rule side by side. Nothing depends
//! on the other rows, so that a row has the same bits alone and among others.

mod layout;
mod passes;
mod vector;

use std::collections::HashMap;

use crate::trees::coded::{Codings, MOST_IN_16_BITS};
use crate::trees::processor::Processor;
use crate::trees::scratch::Scratch;
use crate::trees::search::pairs::PairCoder;
use crate::trees::shap::covered::Covered;
use crate::trees::shap::gauss;
use crate::trees::shap::quadrature::layout::{Group, Layout, Tree};
use crate::trees::shap::quadrature::passes::{Pass, Rule};
use crate::trees::shap::quadrature::vector::Vector;
#[cfg(target_arch = "x86_64")]
use crate::trees::shap::quadrature::vector::{Avx, Avx8, Avx512};
use crate::trees::shap::{Stopped, Sums};

/// The most players on a path: with more, rules take long to make.
const MOST_DISTINCT: usize = 1024;
/// The most trees of a group, and the splits at which it ends.
const GROUP_TREES: usize = 16;
const GROUP_SPLITS: usize = 4096;
/// The most rows, and the most bytes of their codes, whose codes are kept.
const BLOCK_ROWS: usize = 64;
const BLOCK_BYTES: usize = 1 << 18;

/// An ensemble for quadrature.
pub(crate) struct Quadrature {
    layout: Layout,
    coder: PairCoder<f64>,
    features: usize,
    first_margin: usize,
    /// What each target's sum is without the trees of the layout.
    constants: Vec<f64>,
    /// The rules, each with up to eight nodes in a part, by the number of nodes.
    rules: Vec<Vec<Rule>>,
    processor: Processor,
    needs: Needs,
}

/// The most of what a tree or a group needs: see `Pass`.
#[derive(Debug, Clone, Copy, Default)]
struct Needs {
    taken: usize,
    passed: usize,
    inner: usize,
    players: usize,
}

impl Quadrature {
    /// Of the sums times `scale`, of which the first target counts towards `first_margin`.
    ///
    /// # Errors
    /// A path has too many players.
    pub(crate) fn new(
        covered: &Covered,
        scale: f64,
        first_margin: usize,
        processor: Processor,
    ) -> Result<Self, String> {
        let ensemble = &covered.ensemble;
        let codings = Codings::new(ensemble);
        let coded = codings.coded(MOST_IN_16_BITS);
        let mut constants = ensemble.base.clone();
        let mut order = Vec::with_capacity(ensemble.trees.len());
        for (i, tree) in ensemble.trees.iter().enumerate() {
            if tree.splits.is_empty() {
                for (target, value) in ensemble.vectors.entries(tree.leaves[0]) {
                    constants[target] += value;
                }
                continue;
            }
            let entries = tree.leaves.iter().flat_map(|leaf| ensemble.vectors.entries(*leaf));
            let mut targets: Vec<_> = entries.map(|(target, _)| target as u32).collect();
            targets.sort_unstable();
            targets.dedup();
            order.push((targets, i));
        }
        // Of each target, the trees stay in their order.
        order.sort();
        let mut layout = Layout::default();
        let mut numbers: HashMap<u32, u32> = HashMap::new();
        let mut splits = 0;
        for (targets, i) in order {
            let is_full = |group: &Group| {
                group.targets != targets || group.trees.len() == GROUP_TREES || splits >= GROUP_SPLITS
            };
            if layout.groups.last().is_none_or(is_full) {
                numbers.clear();
                splits = 0;
                let trees = layout.trees.len()..layout.trees.len();
                layout.groups.push(Group { targets, players: Vec::new(), trees, is_wide: false });
            }
            splits += ensemble.trees[i].splits.len();
            layout.push(covered, i, &coded.trees[i].splits, scale, |players, player| {
                *numbers.entry(player).or_insert_with(|| {
                    players.push(player);
                    players.len() as u32 - 1
                })
            });
        }
        constants.iter_mut().for_each(|constant| *constant *= scale);
        let deepest = layout.trees.iter().map(|tree| tree.distinct).max().unwrap_or(0);
        if deepest > MOST_DISTINCT {
            return Err(format!("a path through a tree has more than {MOST_DISTINCT} features"));
        }
        let mut rules = vec![Vec::new(); nodes(deepest) + 1];
        for count in layout.trees.iter().map(|tree| nodes(tree.distinct)) {
            if rules[count].is_empty() {
                rules[count] = gauss::rule(count).chunks(8).map(part).collect();
            }
        }
        let mut made = Self {
            layout,
            coder: PairCoder::new(&coded.columns, processor),
            features: ensemble.features,
            first_margin,
            constants,
            rules,
            processor: processor.min(Processor::detected()),
            needs: Needs::default(),
        };
        made.needs = made.needs();
        Ok(made)
    }

    fn needs(&self) -> Needs {
        let Layout { groups, trees, .. } = &self.layout;
        let most = |of: fn(&Tree) -> usize| trees.iter().map(of).max().unwrap_or(0);
        Needs {
            taken: (2 * most(|tree| tree.splits) + 2).next_multiple_of(8),
            passed: most(Tree::passed),
            inner: most(|tree| tree.inner),
            players: groups.iter().map(|group| group.targets.len() * group.players.len()).max().unwrap_or(0),
        }
    }

    /// The most nodes of a rule.
    pub(crate) fn nodes(&self) -> usize {
        self.rules.len() - 1
    }

    /// The bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        let rules: usize = self.rules.iter().map(|parts| size_of_val(&parts[..])).sum();
        self.layout.bytes() + self.coder.bytes() + rules
    }

    /// Adds to the sums and contributions of rows. `is_stopped` is asked before each group of trees of a block of rows, and
    /// before each row of a large tree.
    pub(crate) fn add(
        &self,
        rows: &[f64],
        sums: &mut Sums<'_>,
        scratch: &mut Scratch,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<(), Stopped> {
        let width = self.coder.width();
        let block = (BLOCK_BYTES / (2 * width).max(1)).clamp(1, BLOCK_ROWS);
        let Needs { taken, passed, inner, players } = self.needs;
        let numbers = taken + 8 * (2 * passed + 3 * inner + players);
        for (first, rows) in (0..).step_by(block).zip(rows.chunks(block * self.features)) {
            let count = rows.len() / self.features;
            let (numbers, codes, _) = scratch.three::<f64, u16, u8>(numbers, count * width, 0);
            for (row, codes) in rows.chunks_exact(self.features).zip(codes.chunks_mut(width.max(1))) {
                self.coder.code(row, codes);
            }
            for row in first..first + count {
                for (constant, margin) in
                    self.constants.iter().zip(&mut sums.margins(row)[self.first_margin..])
                {
                    *margin += constant;
                }
            }
            for group in &self.layout.groups {
                let splits: usize =
                    self.layout.trees[group.trees.clone()].iter().map(|tree| tree.splits).sum();
                for (i, codes) in codes.chunks(width.max(1)).enumerate() {
                    // A large tree takes milliseconds for a row.
                    if (i == 0 || splits > GROUP_SPLITS) && is_stopped() {
                        return Err(Stopped);
                    }
                    self.add_group(group, codes, first + i, sums, numbers);
                }
            }
        }
        Ok(())
    }

    fn add_group(&self, group: &Group, codes: &[u16], row: usize, sums: &mut Sums<'_>, numbers: &mut [f64]) {
        match self.processor {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: it is at most what this processor has.
            Processor::Avx512 => unsafe { self.add_group_avx512(group, codes, row, sums, numbers) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Processor::Avx2 => unsafe { self.add_group_avx2(group, codes, row, sums, numbers) },
            _ => self.add_group_plain(group, codes, row, sums, numbers),
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2")]
    fn add_group_avx2(
        &self,
        group: &Group,
        codes: &[u16],
        row: usize,
        sums: &mut Sums<'_>,
        numbers: &mut [f64],
    ) {
        match group.is_wide {
            true => self.add_trees::<Avx8>(group, codes, row, sums, numbers),
            false => self.add_trees::<Avx>(group, codes, row, sums, numbers),
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512vl,avx512dq,bmi1,bmi2")]
    fn add_group_avx512(
        &self,
        group: &Group,
        codes: &[u16],
        row: usize,
        sums: &mut Sums<'_>,
        numbers: &mut [f64],
    ) {
        match group.is_wide {
            true => self.add_trees::<Avx512>(group, codes, row, sums, numbers),
            false => self.add_trees::<Avx>(group, codes, row, sums, numbers),
        }
    }

    fn add_group_plain(
        &self,
        group: &Group,
        codes: &[u16],
        row: usize,
        sums: &mut Sums<'_>,
        numbers: &mut [f64],
    ) {
        match group.is_wide {
            true => self.add_trees::<vector::Plain<8>>(group, codes, row, sums, numbers),
            false => self.add_trees::<vector::Plain<4>>(group, codes, row, sums, numbers),
        }
    }

    #[inline(always)]
    fn add_trees<V: Vector>(
        &self,
        group: &Group,
        codes: &[u16],
        row: usize,
        sums: &mut Sums<'_>,
        numbers: &mut [f64],
    ) {
        let Needs { taken, passed, inner, .. } = self.needs;
        let (taken, rest) = numbers.split_at_mut(taken);
        let lanes = V::of(rest);
        let (products, lanes) = lanes.split_at_mut(passed);
        let (below, lanes) = lanes.split_at_mut(passed);
        let (factors, players) = lanes.split_at_mut(3 * inner);
        let (factors, _) = factors.as_chunks_mut::<3>();
        let own = group.players.len();
        let players = &mut players[..group.targets.len() * own];
        players.fill(V::splat(0.0));
        for tree in &self.layout.trees[group.trees.clone()] {
            let splits = &self.layout.splits[tree.first..][..tree.splits];
            let values = &self.layout.values[tree.first_value..][..group.targets.len() * tree.leaves()];
            passes::decide(splits, codes, taken);
            let leaf = passes::leaf(tree, splits, taken);
            for (target, values) in group.targets.iter().zip(values.chunks_exact(tree.leaves())) {
                sums.margins(row)[self.first_margin + *target as usize] += values[leaf];
            }
            for rule in &self.rules[nodes(tree.distinct)] {
                let mut pass = Pass { taken, products, sums: below, factors };
                passes::down(tree, splits, rule, &mut pass);
                let each = values.chunks_exact(tree.leaves()).zip(players.chunks_exact_mut(own));
                for (values, players) in each {
                    passes::up(tree, splits, values, rule, &mut pass, players);
                }
            }
        }
        for (target, lanes) in group.targets.iter().zip(players.chunks_exact(own)) {
            let values = sums.values(row, self.first_margin + *target as usize);
            for (player, lanes) in group.players.iter().zip(lanes) {
                values[*player as usize] += lanes.sum();
            }
        }
    }
}

/// The nodes of a rule that is exact for as many players on a path.
fn nodes(distinct: usize) -> usize {
    distinct.div_ceil(2)
}

fn part(nodes: &[(f64, f64)]) -> Rule {
    // Lanes that the rule does not need have a node, so that nothing is divided by zero, and no weight.
    let mut made = Rule { t: [0.5; 8], rest: [0.5; 8], weights: [0.0; 8] };
    for (lane, (t, weight)) in nodes.iter().enumerate() {
        (made.t[lane], made.rest[lane], made.weights[lane]) = (*t, 1.0 - t, *weight);
    }
    made
}
