//! Sorted thresholds in steps of sixteen, in one to three levels, for searches with vectors.
//!
//! A level above another has the last threshold of each of its steps. A search compares one step of each level: how
//! many thresholds are *not at least* the value. So a missing value counts every threshold and all that fills a step
//! up, which is infinity: its code is greater than any other, and the same for all searches of the same number of levels.

use std::arch::x86_64::*;

use crate::trees::element::{Element, Real};

/// Sixteen numbers, such as thresholds or leaves.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct SixteenNumbers<I>(pub [I; 16]);

/// How many thresholds fit one, two and three levels.
const MOST: [usize; 3] = [15, 271, 4367];

/// The most thresholds of a search.
pub(crate) const MOST_SEARCHED: usize = MOST[2];

/// The code of a missing value, by the number of levels less one.
const MISSING: [u16; 3] = [16, 272, 4368];

/// Where the lowest of three levels begins.
const THIRD: usize = 18;

/// Thresholds of several searches.
#[derive(Debug, Clone)]
pub(crate) struct Levels<I> {
    steps: Vec<SixteenNumbers<I>>,
}

/// The thresholds of one search.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Search {
    pub levels: usize,
    start: usize,
    /// The last step of the lowest of three levels.
    last: usize,
}

impl Search {
    /// The code of a missing value. No other value has it.
    pub(crate) fn missing(&self) -> u16 {
        MISSING[self.levels - 1]
    }
}

impl<I: Element> Levels<I> {
    pub(crate) fn new() -> Self {
        Self { steps: Vec::new() }
    }

    /// Adds ascending thresholds.
    ///
    /// # Panics
    /// There are more than `MOST_SEARCHED`.
    pub(crate) fn push(&mut self, thresholds: &[f64]) -> Search {
        let levels = MOST.iter().position(|most| thresholds.len() <= *most);
        let levels = levels.expect("the thresholds fit three levels") + 1;
        let start = self.steps.len();
        let last = thresholds.len() / 16;
        if levels == 3 {
            self.fill(thresholds, 256, 1);
        }
        if levels >= 2 {
            self.fill(thresholds, 16, if levels == 3 { 17 } else { 1 });
        }
        self.fill(thresholds, 1, [1, 17, last + 1][levels - 1]);
        Search { levels, start, last }
    }

    /// Adds the last threshold of each `stride`, in `count` steps.
    fn fill(&mut self, thresholds: &[f64], stride: usize, count: usize) {
        let mut level = thresholds.iter().skip(stride - 1).step_by(stride);
        for _ in 0..count {
            let step = std::array::from_fn(|_| I::of(*level.next().unwrap_or(&f64::INFINITY)));
            self.steps.push(SixteenNumbers(step));
        }
    }

    /// The bytes that they hold.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&self.steps[..])
    }

    /// The code of a value, by a function that says how many thresholds of a step are not at least the value.
    ///
    /// # Safety
    /// `search` is of these thresholds and has `LEVELS` levels, and `count` is at most 16.
    #[inline(always)]
    pub(crate) unsafe fn code<const LEVELS: usize>(
        &self,
        search: &Search,
        count: impl Fn(&SixteenNumbers<I>) -> usize,
    ) -> u16 {
        // SAFETY: `push` made steps for all counts up to 16 of each level above the last, which is clamped where it
        // has fewer.
        let step = |at: usize| unsafe { self.steps.get_unchecked(search.start + at) };
        let first = count(step(0));
        let code = match LEVELS {
            1 => first,
            2 => first * 16 + count(step(1 + first)),
            _ => {
                let second = first * 16 + count(step(1 + first));
                second * 16 + count(step(THIRD + second.min(search.last)))
            }
        };
        code as u16
    }
}

/// How many thresholds of a step are not at least a value, with AVX-512.
#[inline]
#[target_feature(enable = "avx512f,popcnt")]
pub(crate) fn count_avx512<I: Element>(step: &SixteenNumbers<I>, value: I) -> usize {
    let at = &raw const step.0;
    // SAFETY: a step is 16 elements of `I`, aligned to a vector.
    unsafe {
        match I::REAL {
            Real::F32 => {
                let value = _mm512_set1_ps(value.double() as f32);
                let step = _mm512_load_ps(at.cast());
                _mm512_cmp_ps_mask::<_CMP_NGE_UQ>(step, value).count_ones() as usize
            }
            Real::F64 => {
                let value = _mm512_set1_pd(value.double());
                let low = _mm512_cmp_pd_mask::<_CMP_NGE_UQ>(_mm512_load_pd(at.cast()), value);
                let high = _mm512_cmp_pd_mask::<_CMP_NGE_UQ>(_mm512_load_pd(at.cast::<f64>().add(8)), value);
                (u32::from(low) | u32::from(high) << 8).count_ones() as usize
            }
        }
    }
}

/// How many thresholds of a step are not at least a value, with AVX2.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
pub(crate) fn count_avx2<I: Element>(step: &SixteenNumbers<I>, value: I) -> usize {
    let at = &raw const step.0;
    let mut mask = 0;
    // SAFETY: a step is 16 elements of `I`, aligned to a vector.
    unsafe {
        match I::REAL {
            Real::F32 => {
                let value = _mm256_set1_ps(value.double() as f32);
                for i in 0..2 {
                    let step = _mm256_load_ps(at.cast::<f32>().add(8 * i));
                    mask |= _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_NGE_UQ>(step, value)) << (8 * i);
                }
            }
            Real::F64 => {
                let value = _mm256_set1_pd(value.double());
                for i in 0..4 {
                    let step = _mm256_load_pd(at.cast::<f64>().add(4 * i));
                    mask |= _mm256_movemask_pd(_mm256_cmp_pd::<_CMP_NGE_UQ>(step, value)) << (4 * i);
                }
            }
        }
    }
    mask.count_ones() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<I: Element>() {
        let mut steps = Levels::<I>::new();
        for count in [0, 1, 15, 16, 17, 31, 32, 254, 255, 256, 271, 272, 300, 512, 4095, 4096, 4367] {
            let thresholds: Vec<f64> = (0..count).map(|i| f64::from(i) * 0.5 - 7.0).collect();
            let search = steps.push(&thresholds);
            let code = |value: I| {
                let below = |step: &SixteenNumbers<I>| {
                    step.0
                        .iter()
                        .filter(|threshold| {
                            (**threshold).partial_cmp(&value).is_none_or(|order| order.is_lt())
                        })
                        .count()
                };
                // SAFETY: the search is of these steps, and has this number of levels.
                unsafe {
                    match search.levels {
                        1 => steps.code::<1>(&search, below),
                        2 => steps.code::<2>(&search, below),
                        _ => steps.code::<3>(&search, below),
                    }
                }
            };
            for i in -2..=count + 1 {
                for by in [-0.25, 0.0, 0.25] {
                    let value = f64::from(i) * 0.5 - 7.0 + by;
                    let wanted = thresholds.iter().filter(|threshold| **threshold < value).count();
                    assert_eq!(usize::from(code(I::of(value))), wanted, "{value} of {count}");
                }
            }
            assert_eq!(code(I::NAN), search.missing());
            assert_eq!(usize::from(code(I::of(f64::INFINITY))), thresholds.len());
            assert_eq!(code(I::of(f64::NEG_INFINITY)), 0);
        }
    }

    #[test]
    fn a_code_counts_what_is_below() {
        check::<f32>();
        check::<f64>();
    }
}
