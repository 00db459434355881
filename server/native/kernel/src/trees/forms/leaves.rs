//! What the leaves of trees add to the sums.

use crate::trees::coded::Codings;
use crate::trees::element::Element;

/// The vectors of an ensemble's vectors.
#[derive(Debug)]
pub(crate) enum Leaves<S> {
    /// The only target's value of each vector.
    Single(Vec<S>),
    /// Each tree adds to one target: the value of each vector, and the target of each tree.
    Each { values: Vec<S>, targets: Vec<u32> },
    /// All targets' values of each vector.
    Dense(Vec<S>),
    /// The entries of each vector, from one start to the next.
    Sparse { starts: Vec<u32>, entries: Vec<(u32, S)> },
}

impl<S: Element> Leaves<S> {
    pub(crate) fn new(codings: &Codings<'_>) -> Self {
        let ensemble = codings.ensemble;
        let width = ensemble.base.len();
        let all = || (0..ensemble.vectors.len() as u32).map(|vector| ensemble.vectors.entries(vector));
        if let Some(targets) = &codings.targets {
            let vectors = 0..ensemble.vectors.len() as u32;
            let values = vectors.map(|vector| S::of(ensemble.vectors.only_value(vector))).collect();
            let targets = targets.iter().map(|target| *target as u32).collect();
            return if width == 1 { Self::Single(values) } else { Self::Each { values, targets } };
        }
        let is_plain = all().all(|entries| {
            let mut targets: Vec<_> = entries.map(|(target, _)| target).collect();
            targets.sort_unstable();
            targets.windows(2).all(|pair| pair[0] != pair[1])
        });
        if is_plain && ensemble.vectors.len() * width <= 2 * all().map(Iterator::count).sum::<usize>() {
            // A negative zero leaves every sum as it is, also a zero of either sign.
            let mut values = vec![S::of(-0.0); ensemble.vectors.len() * width];
            for (values, entries) in values.chunks_exact_mut(width).zip(all()) {
                entries.for_each(|(target, value)| values[target] = S::of(value));
            }
            return Self::Dense(values);
        }
        let (mut starts, mut listed) = (vec![0], Vec::new());
        for entries in all() {
            listed.extend(entries.map(|(target, value)| (target as u32, S::of(value))));
            starts.push(listed.len() as u32);
        }
        Self::Sparse { starts, entries: listed }
    }

    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Single(values) => size_of_val(&values[..]),
            Self::Each { values, targets } => size_of_val(&values[..]) + size_of_val(&targets[..]),
            Self::Dense(values) => size_of_val(&values[..]),
            Self::Sparse { starts, entries } => size_of_val(&starts[..]) + size_of_val(&entries[..]),
        }
    }

    /// Adds the vectors of leaves of several trees, from tree `first` on, to the sums of one row, in the order of the
    /// trees.
    #[inline(always)]
    pub(crate) fn add_trees(&self, first: usize, vectors: impl Iterator<Item = usize>, sums: &mut [S]) {
        match self {
            Self::Single(values) => {
                let mut sum = sums[0];
                vectors.for_each(|vector| sum += values[vector]);
                sums[0] = sum;
            }
            Self::Each { values, targets } => {
                for (vector, target) in vectors.zip(&targets[first..]) {
                    sums[*target as usize] += values[vector];
                }
            }
            Self::Dense(_) | Self::Sparse { .. } => vectors.for_each(|vector| self.add_vector(vector, sums)),
        }
    }

    /// Adds vectors of leaves of one tree to the sums of several rows, one for each.
    #[inline(always)]
    pub(crate) fn add_rows(
        &self,
        tree: usize,
        vectors: impl Iterator<Item = usize>,
        targets: usize,
        sums: &mut [S],
    ) {
        match self {
            Self::Single(values) => {
                for (vector, sum) in vectors.zip(sums) {
                    *sum += values[vector];
                }
            }
            Self::Each { values, targets: each } => {
                let target = each[tree] as usize;
                for (vector, sums) in vectors.zip(sums.chunks_exact_mut(targets)) {
                    sums[target] += values[vector];
                }
            }
            Self::Dense(_) | Self::Sparse { .. } => {
                for (vector, sums) in vectors.zip(sums.chunks_exact_mut(targets)) {
                    self.add_vector(vector, sums);
                }
            }
        }
    }

    #[inline(always)]
    fn add_vector(&self, vector: usize, sums: &mut [S]) {
        match self {
            Self::Dense(values) => {
                let from = vector * sums.len();
                for (sum, value) in sums.iter_mut().zip(&values[from..]) {
                    *sum += *value;
                }
            }
            Self::Sparse { starts, entries } => {
                for (target, value) in &entries[starts[vector] as usize..starts[vector + 1] as usize] {
                    sums[*target as usize] += *value;
                }
            }
            Self::Single(_) | Self::Each { .. } => {}
        }
    }
}
