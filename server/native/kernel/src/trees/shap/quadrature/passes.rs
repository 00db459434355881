//! One tree of one row: down with the products along paths, and up with the sums over leaves.
//!
//! For a split of player j, let P be the product over the players on the path to the split, and U the sum over the leaves
//! below a child of their values times the product along the path from the child on. An edge changes the product by a
//! factor R. If it is the player's first, R = t o + (1 - t) z, and what the leaves below it give the player is
//! (o - z) ∫ P U. If there are edges of the player above, that term replaces the one of the last of those, o' and z', and
//! the two together are z' (o - z) ∫ P U / A² with A = t + (1 - t) z' where the row takes the edges above (o' = 1), and
//! R = (t o + (1 - t) z' z) / A. Where it does not, R = z, and the term is 0: the edge changes nothing for the player.
//!
//! So nothing is divided by a factor that may be zero, and A is at least t.

use crate::trees::shap::quadrature::layout::{Split, Tree};
use crate::trees::shap::quadrature::vector::Vector;

/// Up to eight nodes of a rule: t, 1 - t, and the weights; 0 for lanes that the rule does not need.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Rule {
    pub t: [f64; 8],
    pub rest: [f64; 8],
    pub weights: [f64; 8],
}

/// Memory for a tree, each as long as the tree needs.
pub(super) struct Pass<'a, V> {
    /// 1 if the row takes the edge and all edges above it that belong to the player, otherwise 0: `on_true` and
    /// `on_false` of each split, after two entries that are 1.
    pub taken: &'a mut [f64],
    /// P of each slot.
    pub products: &'a mut [V],
    /// U of each slot.
    pub sums: &'a mut [V],
    /// R of both edges of splits that do not have two leaves, and 1 / A where there are edges of the player above.
    pub factors: &'a mut [[V; 3]],
}

/// What a row decides at a tree's splits.
#[inline(always)]
pub(super) fn decide(splits: &[Split], codes: &[u16], taken: &mut [f64]) {
    let taken = &mut taken[..2 * splits.len() + 2];
    (taken[0], taken[1]) = (1.0, 1.0);
    for (i, split) in splits.iter().enumerate() {
        // By bits, because a branch would be mispredicted half of the time.
        let all = u64::from(codes[split.place as usize] > split.bound).wrapping_sub(1);
        let before = taken[split.same as usize].to_bits();
        taken[2 * i + 2] = f64::from_bits(before & all);
        taken[2 * i + 3] = f64::from_bits(before & !all);
    }
}

/// The leaf that a row comes to, by its number among the tree's.
#[inline(always)]
pub(super) fn leaf(tree: &Tree, splits: &[Split], taken: &[f64]) -> usize {
    let mut at = 0;
    while at < tree.splits {
        // On the row's own path no edge above was left.
        at = splits[at].children[usize::from(taken[2 * at + 2] == 0.0)] as usize;
    }
    at - tree.splits
}

/// t a + (1 - t) b.
#[inline(always)]
fn mix<V: Vector>(t: V, rest: V, a: f64, b: f64) -> V {
    t.mul(V::splat(a)).add(rest.mul(V::splat(b)))
}

/// 1 / A.
#[inline(always)]
fn inverse<V: Vector>(t: V, rest: V, above: f64) -> V {
    V::splat(1.0).div(mix(t, rest, 1.0, above))
}

/// The products of all slots but the leaves of splits with two.
#[inline(always)]
pub(super) fn down<V: Vector>(tree: &Tree, splits: &[Split], rule: &Rule, pass: &mut Pass<'_, V>) {
    let (t, rest) = (V::load(&rule.t), V::load(&rule.rest));
    pass.products[0] = V::load(&rule.weights);
    let taken = pass.taken[2..].as_chunks::<2>().0;
    for (((at, split), own), factors) in
        splits[..tree.inner].iter().enumerate().zip(taken).zip(&mut *pass.factors)
    {
        let product = pass.products[at];
        let (on_true, on_false) = if split.same == 0 {
            (mix(t, rest, own[0], split.shares[0]), mix(t, rest, own[1], split.shares[1]))
        } else {
            let before = own[0] + own[1];
            let (share, left) = (before * split.above, 1.0 - before);
            let inverse = inverse(t, rest, split.above);
            let factor = |side: usize| {
                let mixed = mix(t, rest, own[side], share * split.shares[side]);
                mixed.mul(inverse).add(V::splat(left * split.shares[side]))
            };
            factors[2] = inverse;
            (factor(0), factor(1))
        };
        (factors[0], factors[1]) = (on_true, on_false);
        pass.products[split.children[0] as usize] = product.mul(on_true);
        pass.products[split.children[1] as usize] = product.mul(on_false);
    }
}

/// Adds the terms of all splits to the players'. `values` has a value for each leaf.
#[inline(always)]
pub(super) fn up<V: Vector>(
    tree: &Tree,
    splits: &[Split],
    values: &[f64],
    rule: &Rule,
    pass: &mut Pass<'_, V>,
    players: &mut [V],
) {
    let (t, rest) = (V::load(&rule.t), V::load(&rule.rest));
    let (mixed, pairs) = values.split_at(tree.mixed);
    let (of_splits, of_leaves) = pass.sums.split_at_mut(tree.splits);
    for (sum, value) in of_leaves.iter_mut().zip(mixed) {
        *sum = V::splat(*value);
    }
    let taken = &pass.taken[2..].as_chunks::<2>().0[..tree.splits];
    let (inner, last) = splits.split_at(tree.inner);
    let last = last.iter().zip(pairs.as_chunks::<2>().0).zip(&taken[tree.inner..]);
    let places = pass.products[tree.inner..].iter().zip(&mut of_splits[tree.inner..]);
    for (((split, [of_true, of_false]), own), (product, sum)) in last.zip(places) {
        let reached = own[0] * of_true + own[1] * of_false;
        let expected = split.shares[0] * of_true + split.shares[1] * of_false;
        let player = &mut players[split.player as usize];
        if split.same == 0 {
            *player = player.add(product.mul(V::splat(reached - expected)));
            *sum = mix(t, rest, reached, expected);
        } else {
            let before = own[0] + own[1];
            let inverse = inverse(t, rest, split.above);
            let term = V::splat(split.above * (reached - before * expected));
            *player = player.add(product.mul(term).mul(inverse.mul(inverse)));
            let mixed = mix(t, rest, reached, before * split.above * expected);
            *sum = mixed.mul(inverse).add(V::splat((1.0 - before) * expected));
        }
    }
    let own = taken[..tree.inner].iter().zip(&pass.factors[..tree.inner]);
    for ((i, split), (own, factors)) in inner.iter().enumerate().zip(own).rev() {
        let [of_true, of_false] = split.children.map(|child| pass.sums[child as usize]);
        let [on_true, on_false, inverse] = factors;
        pass.sums[i] = on_true.mul(of_true).add(on_false.mul(of_false));
        let (product, player) = (pass.products[i], &mut players[split.player as usize]);
        if split.same == 0 {
            let terms = [own[0] - split.shares[0], own[1] - split.shares[1]].map(V::splat);
            *player = player.add(product.mul(terms[0].mul(of_true).add(terms[1].mul(of_false))));
        } else {
            let before = own[0] + own[1];
            let term = |side: usize| V::splat(split.above * (own[side] - before * split.shares[side]));
            let both = term(0).mul(of_true).add(term(1).mul(of_false));
            *player = player.add(product.mul(both).mul(inverse.mul(*inverse)));
        }
    }
}
