//! Sorted thresholds, halved without branches, for every processor: the searches for several values overlap.

use std::hint::select_unpredictable;

use crate::trees::element::Element;

/// Sorted thresholds.
#[derive(Debug, Clone)]
pub(crate) struct Halving<I> {
    /// Filled up with NaN, which is below nothing, to one less than a power of two.
    thresholds: Vec<I>,
}

impl<I: Element> Halving<I> {
    /// Of ascending thresholds, without NaN.
    pub(crate) fn new(thresholds: &[f64]) -> Self {
        let mut filled: Vec<I> = thresholds.iter().map(|threshold| I::of(*threshold)).collect();
        filled.resize((thresholds.len() + 1).next_power_of_two() - 1, I::NAN);
        Self { thresholds: filled }
    }

    /// The bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&self.thresholds[..])
    }

    /// For each value how many thresholds are less; 0 for NaN.
    #[inline(always)]
    pub(crate) fn below<const N: usize>(&self, values: &[I; N]) -> [usize; N] {
        let mut found = [0; N];
        let mut step = self.thresholds.len().div_ceil(2);
        while step > 0 {
            for (at, value) in found.iter_mut().zip(values) {
                let is_below = self.thresholds[*at + step - 1] < *value;
                *at = select_unpredictable(is_below, *at + step, *at);
            }
            step /= 2;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_what_is_below() {
        for count in [0, 1, 2, 3, 4, 5, 31, 32, 33, 127, 128, 254, 255, 256, 1000] {
            let thresholds: Vec<f64> = (0..count).map(|i| f64::from(i) * 0.5 - 7.0).collect();
            let halving = Halving::<f64>::new(&thresholds);
            for i in -2..=count + 1 {
                let value = f64::from(i) * 0.5 - 7.0;
                let values = [value, value - 0.25, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
                let wanted =
                    values.map(|value| thresholds.iter().filter(|threshold| **threshold < value).count());
                assert_eq!(halving.below(&values), wanted);
            }
        }
    }
}
