//! Rows that forms are measured with.

use crate::trees::element::Element;
use crate::trees::ensemble::{Ensemble, Test};

/// The most rows, and the most bytes of their values and of their sums.
const MOST_ROWS: usize = 1024;
const MOST_BYTES: usize = 1 << 22;
/// The most values that are kept of a feature.
const MOST_VALUES: usize = 64;

/// Different rows of what an ensemble asks for: thresholds, members, and now and then a missing value.
pub(crate) fn sample<I: Element>(ensemble: &Ensemble) -> Vec<I> {
    // xorshift
    let mut state = 88_172_645_463_325_252_u64;
    let mut below = |end: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % end as u64) as usize
    };
    let mut asked: Vec<(usize, Vec<f64>)> = vec![(0, Vec::new()); ensemble.features];
    for split in ensemble.trees.iter().flat_map(|tree| &tree.splits) {
        let value = match &split.test {
            Test::AtMost(threshold) => *threshold,
            Test::In(members) if members.is_empty() => continue,
            Test::In(members) => members[below(members.len())],
        };
        let (seen, kept) = &mut asked[split.feature as usize];
        *seen += 1;
        if kept.len() < MOST_VALUES {
            kept.push(value);
        } else if let Some(place) = kept.get_mut(below(*seen)) {
            *place = value;
        }
    }
    let widest = ensemble.features.max(ensemble.base.len());
    let count = (MOST_BYTES / size_of::<I>() / widest).clamp(1, MOST_ROWS);
    let mut value = |i: usize| {
        let (_, kept) = &asked[i % ensemble.features];
        if below(50) == 0 || kept.is_empty() { I::NAN } else { I::of(kept[below(kept.len())]) }
    };
    (0..count * ensemble.features).map(&mut value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trees::testing::{self, Shape};

    #[test]
    fn samples_are_bounded_by_values_and_by_sums() {
        let usual = Shape::default();
        for (features, targets) in [(1, 1), (70_000, 1), (1, 70_000)] {
            let ensemble = testing::ensemble(Shape { trees: 1, features, targets, ..usual }, 1);
            let rows = sample::<f32>(&ensemble).len() / features;
            assert!((1..=MOST_ROWS).contains(&rows) && rows * features.max(targets) * 4 <= MOST_BYTES);
        }
    }
}
