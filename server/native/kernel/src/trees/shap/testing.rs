//! Covered ensembles for tests, and contributions by their definition.

use crate::trees::ensemble::{Child, Tree, Vectors};
use crate::trees::shap::covered::{Covered, Covers};
use crate::trees::testing::{self, Random, Shape};

/// A random ensemble with random covers, of which some are zero and few add up, and with random players.
pub(super) fn covered(shape: Shape, players: usize, seed: u64) -> Covered {
    let mut ensemble = testing::ensemble(shape, seed);
    let mut random = Random(seed.wrapping_mul(77) | 1);
    let mut vectors = Vectors::default();
    for vector in 0..ensemble.vectors.len() as u32 {
        // What is not finite is refused.
        let entries = ensemble.vectors.entries(vector);
        vectors.push(
            entries.map(|(target, value)| (target as u32, if value.is_finite() { value } else { 0.5 })),
        );
    }
    ensemble.vectors = vectors;
    for base in &mut ensemble.base {
        *base = if base.is_finite() { *base } else { 0.25 };
    }
    let covers: Vec<_> = ensemble.trees.iter().map(|tree| covers(tree, &mut random)).collect();
    let owners = (0..shape.features).map(|_| random.below(players) as u32).collect();
    Covered::new(ensemble, owners, players, &covers).expect("it is valid")
}

fn covers(tree: &Tree, random: &mut Random) -> Covers {
    let leaves: Vec<_> = (0..tree.leaves.len())
        .map(|_| if random.below(8) == 0 { 0.0 } else { (random.below(1000) + 1) as f64 / 7.0 })
        .collect();
    let mut splits = vec![0.0; tree.splits.len()];
    // A split comes before its children.
    for (i, split) in tree.splits.iter().enumerate().rev() {
        let cover = |child: Child| match child {
            Child::Leaf(at) => leaves[at as usize],
            Child::Split(at) => splits[at as usize],
        };
        splits[i] = (cover(split.on_true) + cover(split.on_false)) * (1.0 + random.unit() * 1e-3);
    }
    Covers { splits, leaves }
}

/// Whether a row goes to `on_true`.
fn passes(tree: &Tree, split: u32, row: &[f64]) -> bool {
    let split = &tree.splits[split as usize];
    let value = row[split.feature as usize];
    if value.is_nan() { split.missing_true } else { split.test.passes(value) }
}

/// The paths to all leaves of a tree: its splits, each with the side of the edge.
fn paths(tree: &Tree) -> Vec<(u32, Vec<(u32, bool)>)> {
    let (mut open, mut found) = (vec![(tree.root(), Vec::new())], Vec::new());
    while let Some((child, path)) = open.pop() {
        match child {
            Child::Leaf(leaf) => found.push((leaf, path)),
            Child::Split(at) => {
                let split = &tree.splits[at as usize];
                for (child, side) in [(split.on_true, true), (split.on_false, false)] {
                    let mut path: Vec<(u32, bool)> = path.clone();
                    path.push((at, side));
                    open.push((child, path));
                }
            }
        }
    }
    found
}

/// Margins and contributions, [targets, players], of a row, leaf by leaf: the sets of other players of one size
/// together, whose products are the coefficients of a polynomial. Nothing is subtracted.
pub(super) fn by_sizes(covered: &Covered, row: &[f64], players: usize) -> (Vec<f64>, Vec<f64>) {
    let ensemble = &covered.ensemble;
    let (mut margins, mut values) = (ensemble.base.clone(), vec![0.0; ensemble.base.len() * players]);
    for (i, tree) in ensemble.trees.iter().enumerate() {
        for (leaf, path) in paths(tree) {
            // The player of each, whether the row takes all its edges, and the product of their shares.
            let mut own: Vec<(u32, f64, f64)> = Vec::new();
            for (split, side) in path {
                let takes = f64::from(u8::from(passes(tree, split, row) == side));
                let share = covered.shares[i][split as usize][usize::from(!side)];
                let player = covered.player(i, split);
                match own.iter_mut().find(|known| known.0 == player) {
                    Some(known) => (known.1, known.2) = (known.1 * takes, known.2 * share),
                    None => own.push((player, takes, share)),
                }
            }
            let vector = tree.leaves[leaf as usize];
            if own.iter().all(|(_, takes, _)| *takes == 1.0) {
                ensemble.vectors.entries(vector).for_each(|(target, value)| margins[target] += value);
            }
            for (j, (player, takes, share)) in own.iter().enumerate() {
                let mut sizes = vec![1.0];
                for (_, takes, share) in own.iter().enumerate().filter(|(k, _)| *k != j).map(|(_, one)| one) {
                    let with = sizes.iter().map(|size| size * takes).collect::<Vec<_>>();
                    sizes.iter_mut().for_each(|size| *size *= share);
                    sizes.push(0.0);
                    sizes[1..].iter_mut().zip(with).for_each(|(size, with)| *size += with);
                }
                let others = sizes.len() as f64 - 1.0;
                let (mut sum, mut orders) = (0.0, 1.0);
                for (size, product) in sizes.iter().enumerate() {
                    // One out of the subsets of this size, of one size out of all.
                    sum += product / (orders * (others + 1.0));
                    orders *= (others - size as f64) / (size as f64 + 1.0);
                }
                for (target, value) in ensemble.vectors.entries(vector) {
                    values[target * players + *player as usize] += value * (takes - share) * sum;
                }
            }
        }
    }
    (margins, values)
}

/// The same contributions by the definition of Shapley values: the game's value for each set of players.
pub(super) fn by_sets(covered: &Covered, row: &[f64], players: usize) -> Vec<f64> {
    let (ensemble, count) = (&covered.ensemble, covered.ensemble.base.len());
    let game = |set: usize| {
        let mut sums = vec![0.0; count];
        for (i, tree) in ensemble.trees.iter().enumerate() {
            for (leaf, path) in paths(tree) {
                let factor = |(split, side): (u32, bool)| {
                    if set >> covered.player(i, split) & 1 == 1 {
                        f64::from(u8::from(passes(tree, split, row) == side))
                    } else {
                        covered.shares[i][split as usize][usize::from(!side)]
                    }
                };
                let weight: f64 = path.into_iter().map(factor).product();
                let entries = ensemble.vectors.entries(tree.leaves[leaf as usize]);
                entries.for_each(|(target, value)| sums[target] += weight * value);
            }
        }
        sums
    };
    let games: Vec<_> = (0..1 << players).map(game).collect();
    let factorial = |number: usize| (1..=number).map(|each| each as f64).product::<f64>();
    let mut values = vec![0.0; count * players];
    for player in 0..players {
        for set in (0_usize..1 << players).filter(|set| set >> player & 1 == 0) {
            let size = set.count_ones() as usize;
            let weight = factorial(size) * factorial(players - size - 1) / factorial(players);
            for target in 0..count {
                let gain = games[set | 1 << player][target] - games[set][target];
                values[target * players + player] += weight * gain;
            }
        }
    }
    values
}
