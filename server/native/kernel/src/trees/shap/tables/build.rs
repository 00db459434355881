//! What is looked up: for each quad of leaves and each pattern of decisions, what the quad gives to the players of the
//! splits above its leaves.

use crate::trees::ensemble::Child;
use crate::trees::shap::covered::Covered;
use crate::trees::shap::gauss;
use crate::trees::shap::tables::{ENTRIES, QUADS, SLOTS};

/// A complete tree of six levels of splits. Splits are in the order of a heap, from 1 on.
pub(super) struct Heap {
    /// The split at each place, if there is one.
    pub splits: [Option<u32>; 64],
    /// The player of each split that is the first of its player on the path from the root. The others give theirs to
    /// that one.
    pub players: [Option<u32>; 64],
    /// The values of the 64 leaves. A leaf above the last level is where a row comes to that always goes left below it.
    pub leaves: [f64; 64],
    /// For each quad and pattern what each slot gets, in double.
    pub entries: Vec<[f64; SLOTS]>,
}

/// Edges of a player on the path to a leaf.
struct Edges {
    player: u32,
    share: f64,
    /// The slot of the first split.
    slot: usize,
    /// The bits of the pattern that the splits are, and what they are where the row takes the edges.
    bits: usize,
    wanted: usize,
}

/// The bit of a split in the patterns of a quad below it, which is also its slot: by level, and in the last level by the
/// side of the quad.
fn slot_of(level: usize, place: usize) -> usize {
    if level < 5 { level } else { 5 + place % 2 }
}

impl Heap {
    /// A tree with up to six levels of splits, and leaves that add to one target.
    pub(super) fn new(covered: &Covered, index: usize, scale: f64) -> Self {
        let tree = &covered.ensemble.trees[index];
        let mut made = Self {
            splits: [None; 64],
            players: [None; 64],
            leaves: [0.0; 64],
            entries: vec![[0.0; SLOTS]; QUADS * ENTRIES],
        };
        for visit in covered.visits(index) {
            if visit.same.is_none() {
                // The place is found below; until then the player is at the split's number.
                made.players[visit.split as usize] = Some(covered.player(index, visit.split));
            }
        }
        let firsts = std::mem::replace(&mut made.players, [None; 64]);
        // Children, their places and the edges that lead there: the split, its place, and whether it is left.
        let mut open = vec![(tree.root(), 1, Vec::new())];
        while let Some((child, place, edges)) = open.pop() {
            match child {
                Child::Split(split) => {
                    made.splits[place] = Some(split);
                    made.players[place] = firsts[split as usize];
                    let both = &tree.splits[split as usize];
                    for (child, side) in [(both.on_true, 0), (both.on_false, 1)] {
                        let mut edges: Vec<(u32, usize, usize)> = edges.clone();
                        edges.push((split, place, side));
                        open.push((child, 2 * place + side, edges));
                    }
                }
                Child::Leaf(leaf) => {
                    let value = scale * covered.ensemble.vectors.only_value(tree.leaves[leaf as usize]);
                    made.add_leaf(covered, index, value, place, &edges);
                }
            }
        }
        made
    }

    fn add_leaf(
        &mut self,
        covered: &Covered,
        index: usize,
        value: f64,
        place: usize,
        edges: &[(u32, usize, usize)],
    ) {
        let place = place << (6 - edges.len());
        self.leaves[place - 64] = value;
        let mut players: Vec<Edges> = Vec::new();
        for (level, (split, place, side)) in edges.iter().enumerate() {
            let player = covered.player(index, *split);
            let share = covered.shares[index][*split as usize][*side];
            let slot = slot_of(level, *place);
            let (bits, wanted) = (1 << slot, side << slot);
            match players.iter_mut().find(|known| known.player == player) {
                Some(known) => {
                    known.share *= share;
                    known.bits |= bits;
                    known.wanted |= wanted;
                }
                None => players.push(Edges { player, share, slot, bits, wanted }),
            }
        }
        let terms = terms(value, &players);
        let first = (place / 4 - QUADS) * ENTRIES;
        for (pattern, entry) in self.entries[first..][..ENTRIES].iter_mut().enumerate() {
            let takes = |(i, edges): (usize, &Edges)| usize::from(pattern & edges.bits == edges.wanted) << i;
            let taken: usize = players.iter().enumerate().map(takes).sum();
            for (edges, term) in players.iter().zip(terms[taken]) {
                entry[edges.slot] += term;
            }
        }
    }
}

/// What a leaf gives to each player, by the set of players whose edges a row takes.
fn terms(value: f64, players: &[Edges]) -> Vec<[f64; 6]> {
    let count = players.len();
    let rule = gauss::rule(count.div_ceil(2));
    let term = |taken: usize| {
        let takes = |i: usize| (taken >> i & 1) as f64;
        let mut terms = [0.0; 6];
        for (t, weight) in &rule {
            let factor = |i: usize| t * takes(i) + (1.0 - t) * players[i].share;
            for (j, term) in terms.iter_mut().enumerate().take(count) {
                let others: f64 = (0..count).filter(|k| *k != j).map(factor).product();
                *term += weight * others;
            }
        }
        for (j, term) in terms.iter_mut().enumerate().take(count) {
            *term *= value * (takes(j) - players[j].share);
        }
        terms
    };
    (0..1 << count).map(term).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trees::shap::testing::{by_sizes, covered};
    use crate::trees::testing::{Shape, hard_rows};

    /// What the entries give to each player of a row.
    fn look_up(heap: &Heap, goes_right: impl Fn(u32) -> bool, players: usize) -> Vec<f64> {
        let bit = |place: usize| usize::from(heap.splits[place].is_some_and(&goes_right));
        let mut values = vec![0.0; players];
        for quad in 0..QUADS {
            let own = QUADS + quad;
            let places = [1, own >> 3, own >> 2, own >> 1, own, 2 * own, 2 * own + 1];
            let pattern: usize = places.iter().enumerate().map(|(i, place)| bit(*place) << i).sum();
            let entry = &heap.entries[quad * ENTRIES + pattern];
            for (place, value) in places.iter().zip(entry) {
                match heap.players[*place] {
                    Some(player) => values[player as usize] += value,
                    None => assert_eq!(*value, 0.0),
                }
            }
            assert_eq!(entry[SLOTS - 1], 0.0);
        }
        values
    }

    #[test]
    fn entries_of_doubles_are_exact() {
        for (seed, players) in [(1, 7), (2, 3), (3, 1)] {
            let shape = Shape { trees: 1, one_set_in: 5, ..Shape::default() };
            let covered = covered(shape, players, seed);
            let heap = Heap::new(&covered, 0, 1.0);
            let tree = &covered.ensemble.trees[0];
            for row in hard_rows::<f64>(&covered.ensemble, 50, seed).chunks_exact(shape.features) {
                let goes_right = |split: u32| {
                    let split = &tree.splits[split as usize];
                    let value = row[split.feature as usize];
                    !(if value.is_nan() { split.missing_true } else { split.test.passes(value) })
                };
                let wanted = by_sizes(&covered, row, players).1;
                for (found, wanted) in look_up(&heap, goes_right, players).iter().zip(wanted) {
                    assert!((found - wanted).abs() <= 1e-12, "{found} is not {wanted}");
                }
            }
        }
    }
}
