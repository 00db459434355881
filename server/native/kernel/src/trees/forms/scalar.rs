//! The leaves of trees that each add to one target.

use std::arch::x86_64::*;

use crate::trees::element::Element;
use crate::trees::ensemble::Ensemble;

/// What the leaves of trees add.
#[derive(Debug, Clone)]
pub(crate) struct Scalars<S> {
    base: Vec<S>,
    /// The leaves of tree after tree. The first one is of no tree, and adds nothing.
    values: Vec<S>,
}

/// Trees that are scored together; those beyond the last one have one leaf, which adds nothing.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(crate) struct SixteenTrees {
    /// The place of each tree's first leaf.
    pub firsts: [u32; 16],
    /// To which target each adds.
    pub targets: [u32; 16],
}

impl<S: Element> Scalars<S> {
    /// Without trees.
    pub(crate) fn new(ensemble: &Ensemble) -> Self {
        // A negative zero leaves every sum as it is, also a zero of either sign.
        Self { base: ensemble.bases(), values: vec![S::of(-0.0)] }
    }

    /// Adds up to sixteen trees, given the vectors of their leaves and the target of each. `None` if there are too many
    /// leaves.
    pub(crate) fn push(
        &mut self,
        ensemble: &Ensemble,
        trees: impl Iterator<Item = impl Iterator<Item = u32>>,
        targets: &[usize],
    ) -> Option<SixteenTrees> {
        let mut made = SixteenTrees { firsts: [0; 16], targets: [0; 16] };
        for (i, (leaves, target)) in trees.zip(targets).enumerate() {
            made.firsts[i] = u32::try_from(self.values.len()).ok()?;
            made.targets[i] = *target as u32;
            self.values.extend(leaves.map(|vector| S::of(ensemble.vectors.only_value(vector))));
        }
        Some(made)
    }

    /// How many targets there are.
    pub(crate) fn targets(&self) -> usize {
        self.base.len()
    }

    /// The bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        (self.base.len() + self.values.len()) * size_of::<S>()
    }

    /// The sums before the first tree.
    #[inline(always)]
    pub(crate) fn begin(&self, sums: &mut [S]) {
        sums.copy_from_slice(&self.base);
    }

    /// The places of leaves: the leaf of each of 16 trees is in `leaves`, which has 0 beyond the last tree.
    ///
    /// # Panics
    /// A place is beyond all leaves.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn found<'a>(&'a self, trees: &'a SixteenTrees, leaves: __m512i) -> FoundLeaves<'a, S> {
        // SAFETY: there are 16 first places, as numbers in the vector.
        let firsts = unsafe { _mm512_loadu_si512(trees.firsts.as_ptr().cast()) };
        let places = _mm512_add_epi32(firsts, leaves);
        let end = _mm512_set1_epi32(self.values.len() as i32);
        assert!(_mm512_cmplt_epu32_mask(places, end) == 0xffff, "a leaf is left");
        let mut made = FoundLeaves { values: &self.values, targets: &trees.targets, places: [0; 16] };
        // SAFETY: the array has the bytes of a vector.
        unsafe { _mm512_storeu_si512(made.places.as_mut_ptr().cast(), places) };
        made
    }
}

/// Leaves of sixteen trees.
pub(crate) struct FoundLeaves<'a, S> {
    values: &'a [S],
    targets: &'a [u32; 16],
    /// All are less than the number of values.
    places: [u32; 16],
}

impl<S: Element> FoundLeaves<'_, S> {
    /// Adds the leaves of the first `count` trees, 8 or 16, to a row's sums.
    #[inline(always)]
    pub(crate) fn add(&self, count: usize, sums: &mut [S]) {
        if count == 16 { self.add_all(&self.places, sums) } else { self.add_all(&self.places[..8], sums) }
    }

    #[inline(always)]
    fn add_all(&self, places: &[u32], sums: &mut [S]) {
        // SAFETY: all places are less than the number of values.
        let value = |place: u32| unsafe { *self.values.get_unchecked(place as usize) };
        if let [sum] = sums {
            let mut total = *sum;
            for place in places {
                total += value(*place);
            }
            *sum = total;
        } else {
            for (place, target) in places.iter().zip(self.targets) {
                sums[*target as usize] += value(*place);
            }
        }
    }
}
