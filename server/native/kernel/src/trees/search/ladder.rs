//! Sorted thresholds as levels of sixteen, for every processor: what is counted at each level is a loop without
//! branches, which compilers make vectors of.

use crate::trees::element::Element;

const STEP: usize = 16;

/// Sorted thresholds.
#[derive(Debug, Clone)]
pub(crate) struct Ladder<I> {
    /// From the top down. Each level has the last threshold of each step of the level below it, and is filled up with
    /// NaN, which is below nothing.
    levels: Vec<Vec<I>>,
    count: usize,
}

impl<I: Element> Ladder<I> {
    /// Of ascending thresholds, without NaN.
    pub(crate) fn new(thresholds: &[f64]) -> Self {
        let mut levels = Vec::new();
        let mut step = 1;
        while levels.is_empty() || step < thresholds.len() {
            let mut level: Vec<I> =
                thresholds.iter().skip(step - 1).step_by(step).map(|threshold| I::of(*threshold)).collect();
            level.resize(level.len().next_multiple_of(STEP) + STEP, I::NAN);
            levels.push(level);
            step *= STEP;
        }
        levels.reverse();
        Self { levels, count: thresholds.len() }
    }

    /// How many thresholds are less than a value; 0 for NaN.
    #[inline(always)]
    pub(crate) fn below(&self, value: I) -> usize {
        let mut at = 0;
        for level in &self.levels {
            at *= STEP;
            let Some(part) = level.get(at..at + STEP) else { return self.count };
            at += part.iter().map(|threshold| u32::from(*threshold < value)).sum::<u32>() as usize;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_what_is_below() {
        for count in [0, 1, 2, 15, 16, 17, 31, 32, 33, 254, 255, 256, 257, 272, 4095, 4096, 4097, 5000] {
            let thresholds: Vec<f64> = (0..count).map(|i| f64::from(i) * 0.5 - 7.0).collect();
            let ladder = Ladder::<f32>::new(&thresholds);
            for i in -2..=count + 1 {
                for by in [-0.25, 0.0, 0.25] {
                    let value = f64::from(i) * 0.5 - 7.0 + by;
                    let wanted = thresholds.iter().filter(|threshold| **threshold < value).count();
                    assert_eq!(ladder.below(value as f32), wanted, "{value} of {count}");
                }
            }
            assert_eq!(ladder.below(f32::NAN), 0);
            assert_eq!(ladder.below(f32::INFINITY), count as usize);
            assert_eq!(ladder.below(f32::NEG_INFINITY), 0);
        }
    }
}
