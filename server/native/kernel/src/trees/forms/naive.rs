//! One split after the other, on the values themselves.

use crate::trees::element::Element;
use crate::trees::ensemble::{Child, Ensemble, Tree};
use crate::trees::forms::{Form, FormName};
use crate::trees::scratch::Scratch;

/// What the other forms are tested against.
pub(crate) struct Naive(Ensemble);

impl Naive {
    pub(crate) fn new(ensemble: &Ensemble) -> Self {
        Self(ensemble.clone())
    }
}

/// The vector of the leaf that a row comes to.
pub(crate) fn leaf<I: Element>(tree: &Tree, row: &[I]) -> u32 {
    let mut at = tree.root();
    loop {
        match at {
            Child::Leaf(leaf) => return tree.leaves[leaf as usize],
            Child::Split(split) => {
                let split = &tree.splits[split as usize];
                let value = row[split.feature as usize].double();
                let passes = if value.is_nan() { split.missing_true } else { split.test.passes(value) };
                at = if passes { split.on_true } else { split.on_false };
            }
        }
    }
}

impl<I: Element, S: Element> Form<I, S> for Naive {
    fn name(&self) -> FormName {
        FormName::Naive
    }

    fn bytes(&self) -> usize {
        self.0.bytes()
    }

    fn score(&self, rows: &[I], sums: &mut [S], _: &mut Scratch) {
        let ensemble = &self.0;
        let each = rows.chunks_exact(ensemble.features).zip(sums.chunks_exact_mut(ensemble.base.len()));
        for (row, sums) in each {
            for (sum, base) in sums.iter_mut().zip(&ensemble.base) {
                *sum = S::of(*base);
            }
            for tree in &ensemble.trees {
                for (target, value) in ensemble.vectors.entries(leaf(tree, row)) {
                    sums[target] += S::of(value);
                }
            }
        }
    }
}
