//! Trees with what a contribution needs beside them: whose each value is, and how many rows went where.

use std::collections::HashMap;

use crate::trees::ensemble::{Child, Ensemble, Tree};

/// The most that a node's cover may exceed its parent's, as a multiple: sums of floats may do so by rounding.
const MOST_SHARE: f64 = 2.0;

/// An ensemble with its players and covers.
#[derive(Debug, Clone)]
pub(crate) struct Covered {
    pub ensemble: Ensemble,
    /// For each value of a row the player that it belongs to: the caller's column.
    pub players: Vec<u32>,
    /// For each tree and split the shares of its cover that its `on_true` and `on_false` have.
    pub shares: Vec<Vec<[f64; 2]>>,
}

/// The covers of a tree.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Covers {
    pub splits: Vec<f64>,
    pub leaves: Vec<f64>,
}

/// A split, and what is known of the path to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Visit {
    pub split: u32,
    pub depth: usize,
    /// The last edge above that belongs to the same player: its split, and whether it is that to `on_true`.
    pub same: Option<(u32, bool)>,
    /// The product of the shares of all edges above that belong to the same player.
    pub above: f64,
    /// The players on the path to its children.
    pub distinct: usize,
}

impl Covered {
    /// Of a checked ensemble, one player for each value of a row, and the covers of all trees.
    ///
    /// # Errors
    /// What is wrong: a leaf or a cover is not finite, a cover is negative or far above its parent's, or a split reads a value without
    /// a player.
    pub(crate) fn new(
        ensemble: Ensemble,
        players: Vec<u32>,
        player_count: usize,
        covers: &[Covers],
    ) -> Result<Self, String> {
        let vectors = 0..ensemble.vectors.len() as u32;
        if vectors.flat_map(|vector| ensemble.vectors.entries(vector)).any(|(_, value)| !value.is_finite()) {
            return Err("a leaf is not finite".into());
        }
        let mut shares = Vec::with_capacity(covers.len());
        for (tree, covers) in ensemble.trees.iter().zip(covers) {
            if covers.splits.iter().chain(&covers.leaves).any(|cover| !(0.0..f64::INFINITY).contains(cover)) {
                return Err("a cover is negative or not finite".into());
            }
            let has_player = |value: u32| (players[value as usize] as usize) < player_count;
            if tree.splits.iter().any(|split| !has_player(split.feature)) {
                return Err("a split reads a column without a feature".into());
            }
            let share = |parent: f64, child: Child| {
                let cover = match child {
                    Child::Split(at) => covers.splits[at as usize],
                    Child::Leaf(at) => covers.leaves[at as usize],
                };
                // No row came here: any shares would do, and only a row that comes here itself sees them.
                if parent == 0.0 { 0.5 } else { cover / parent }
            };
            let both = tree
                .splits
                .iter()
                .zip(&covers.splits)
                .map(|(split, cover)| [split.on_true, split.on_false].map(|child| share(*cover, child)));
            let own: Vec<[f64; 2]> = both.collect();
            if own.as_flattened().iter().any(|share| *share > MOST_SHARE) {
                return Err("a node has a far greater cover than its parent".into());
            }
            shares.push(own);
        }
        Ok(Self { ensemble, players, shares })
    }

    /// The player that a split asks about.
    pub(crate) fn player(&self, tree: usize, split: u32) -> u32 {
        self.players[self.ensemble.trees[tree].splits[split as usize].feature as usize]
    }

    /// The splits of a tree, each after its parent.
    pub(crate) fn visits(&self, tree: usize) -> Vec<Visit> {
        enum Step {
            Enter { split: u32, depth: usize, edge: Option<(u32, bool)> },
            Restore { player: u32, latest: Option<(Edge, f64)> },
        }
        type Edge = (u32, bool);
        let (splits, shares) = (&self.ensemble.trees[tree].splits, &self.shares[tree]);
        let mut visits: Vec<Visit> = Vec::with_capacity(splits.len());
        // The last edge of each player on the path, and the product of the shares of all of the player's.
        let mut latest: HashMap<u32, (Edge, f64)> = HashMap::new();
        let mut above = vec![1.0; splits.len()];
        let mut open = match splits.is_empty() {
            true => vec![],
            false => vec![Step::Enter { split: 0, depth: 0, edge: None }],
        };
        while let Some(step) = open.pop() {
            let (split, depth, edge) = match step {
                Step::Enter { split, depth, edge } => (split, depth, edge),
                Step::Restore { player, latest: before } => {
                    match before {
                        Some(before) => latest.insert(player, before),
                        None => latest.remove(&player),
                    };
                    continue;
                }
            };
            if let Some((parent, on_true)) = edge {
                let player = self.player(tree, parent);
                let share = above[parent as usize] * shares[parent as usize][usize::from(!on_true)];
                let before = latest.insert(player, ((parent, on_true), share));
                open.push(Step::Restore { player, latest: before });
            }
            let same = latest.get(&self.player(tree, split)).copied();
            above[split as usize] = same.map_or(1.0, |(_, share)| share);
            visits.push(Visit {
                split,
                depth,
                same: same.map(|(edge, _)| edge),
                above: above[split as usize],
                distinct: latest.len() + usize::from(same.is_none()),
            });
            let Tree { splits, .. } = &self.ensemble.trees[tree];
            for (child, on_true) in
                [(splits[split as usize].on_false, false), (splits[split as usize].on_true, true)]
            {
                if let Child::Split(child) = child {
                    let edge = Some((split, on_true));
                    open.push(Step::Enter { split: child, depth: depth + 1, edge });
                }
            }
        }
        visits
    }

    /// The sum of each target that is expected over the covers: the bases, and for each tree the mean of its leaves.
    pub(crate) fn expected(&self) -> Vec<f64> {
        let mut sums = self.ensemble.base.clone();
        for (i, tree) in self.ensemble.trees.iter().enumerate() {
            let visits = self.visits(i);
            let mut reached = vec![1.0; tree.splits.len()];
            let mut leaves = vec![1.0; tree.leaves.len()];
            for visit in &visits {
                let (split, at) = (&tree.splits[visit.split as usize], visit.split as usize);
                for (child, share) in [split.on_true, split.on_false].into_iter().zip(self.shares[i][at]) {
                    match child {
                        Child::Split(child) => reached[child as usize] = reached[at] * share,
                        Child::Leaf(leaf) => leaves[leaf as usize] = reached[at] * share,
                    }
                }
            }
            for (vector, share) in tree.leaves.iter().zip(leaves) {
                for (target, value) in self.ensemble.vectors.entries(*vector) {
                    sums[target] += share * value;
                }
            }
        }
        sums
    }
}
