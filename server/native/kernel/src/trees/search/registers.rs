//! Codes of a column for 64 rows at once, with AVX-512: the thresholds are searched in registers, as levels of a tree
//! that are permuted by what was found so far.

use std::arch::x86_64::*;

use crate::trees::element::{Element, Real};
use crate::trees::scratch::Line;

/// Values whose codes are searched at once.
pub(crate) const VALUES: usize = 64;
/// Lines that have the values of the tree's levels: the first level in a line of its own, and so on.
type Level = Vec<Line>;

/// Up to 255 sorted thresholds.
#[derive(Debug, Clone)]
pub(crate) struct RegisterSearch {
    /// Level k has 2^k thresholds, filled up with NaN, which is below nothing, and repeated up to a whole line.
    levels: Vec<Level>,
    real: Real,
}

impl RegisterSearch {
    /// Of ascending thresholds of a type, without NaN.
    ///
    /// # Panics
    /// There are more than 255.
    pub(crate) fn new<I: Element>(thresholds: &[f64]) -> Self {
        assert!(thresholds.len() <= 255, "codes are bytes");
        let depth = (thresholds.len() + 1).next_power_of_two().trailing_zeros();
        let per_line = size_of::<Line>() / size_of::<I>();
        let level = |level: u32| {
            let step = 1 << (depth - level - 1);
            let listed: Vec<f64> = (0..1 << level)
                .map(|i: usize| thresholds.get((2 * i + 1) * step - 1).copied().unwrap_or(f64::NAN))
                .collect();
            let filled: Vec<f64> = listed.iter().copied().cycle().take(listed.len().max(per_line)).collect();
            filled.chunks_exact(per_line).map(line::<I>).collect()
        };
        Self { levels: (0..depth).map(level).collect(), real: I::REAL }
    }

    /// The bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.levels.iter().map(|level| level.len() * size_of::<Line>()).sum()
    }

    /// For each value how many thresholds are less; 0 for NaN.
    ///
    /// # Panics
    /// The type is another.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2")]
    pub(crate) fn below<I: Element>(&self, values: &[I; VALUES], codes: &mut Line) {
        assert_eq!(I::REAL, self.real);
        match I::REAL {
            // SAFETY: the values are 64 of the type.
            Real::F32 => unsafe { self.singles(values.as_ptr().cast(), codes) },
            // SAFETY: as above.
            Real::F64 => unsafe { self.doubles(values.as_ptr().cast(), codes) },
        }
    }

    /// # Safety
    /// There are 64 values.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2")]
    unsafe fn singles(&self, values: *const f32, codes: &mut Line) {
        // SAFETY: what the caller promises.
        let values: [__m512; 4] = std::array::from_fn(|i| unsafe { _mm512_loadu_ps(values.add(16 * i)) });
        let mut found = [_mm512_setzero_si512(); 4];
        for level in &self.levels {
            // SAFETY: a line is as long as a vector.
            let at = |i: usize| unsafe { _mm512_load_ps(level[i].0.as_ptr().cast()) };
            let pair = |at, one, other| _mm512_permutex2var_ps(one, at, other);
            let upper = |at, bit| _mm512_test_epi32_mask(at, _mm512_set1_epi32(bit));
            macro_rules! step {
                ($lookup:expr) => {
                    for (found, value) in found.iter_mut().zip(&values) {
                        let is_below = _mm512_cmp_ps_mask::<_CMP_LT_OQ>($lookup(*found), *value);
                        let twice = _mm512_add_epi32(*found, *found);
                        *found = _mm512_mask_add_epi32(twice, is_below, twice, _mm512_set1_epi32(1));
                    }
                };
            }
            match level.len() {
                1 => {
                    let one = at(0);
                    step!(|found| _mm512_permutexvar_ps(found, one));
                }
                2 => {
                    let lines = [at(0), at(1)];
                    step!(|found| pair(found, lines[0], lines[1]));
                }
                4 => {
                    let lines = [at(0), at(1), at(2), at(3)];
                    step!(|found| {
                        let (low, high) = (pair(found, lines[0], lines[1]), pair(found, lines[2], lines[3]));
                        _mm512_mask_blend_ps(upper(found, 32), low, high)
                    });
                }
                _ => {
                    let lines: [__m512; 8] = std::array::from_fn(at);
                    step!(|found| {
                        let of: [__m512; 4] =
                            std::array::from_fn(|i| pair(found, lines[2 * i], lines[2 * i + 1]));
                        let upper = [upper(found, 32), upper(found, 64)];
                        let low = _mm512_mask_blend_ps(upper[0], of[0], of[1]);
                        _mm512_mask_blend_ps(upper[1], low, _mm512_mask_blend_ps(upper[0], of[2], of[3]))
                    });
                }
            }
        }
        for (found, codes) in found.iter().zip(codes.0.as_chunks_mut::<16>().0) {
            // SAFETY: there are 16 bytes.
            unsafe { _mm_storeu_si128(codes.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(*found)) };
        }
    }

    /// # Safety
    /// There are 64 values.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2")]
    unsafe fn doubles(&self, values: *const f64, codes: &mut Line) {
        // SAFETY: what the caller promises.
        let values: [__m512d; 8] = std::array::from_fn(|i| unsafe { _mm512_loadu_pd(values.add(8 * i)) });
        let mut found = [_mm512_setzero_si512(); 8];
        for level in &self.levels {
            // SAFETY: a line is as long as a vector.
            let at = |i: usize| unsafe { _mm512_load_pd(level[i].0.as_ptr().cast()) };
            let pair = |found, i: usize| _mm512_permutex2var_pd(at(2 * i), found, at(2 * i + 1));
            let upper = |at, bit| _mm512_test_epi64_mask(at, _mm512_set1_epi64(bit));
            let two = |found, i: usize| {
                _mm512_mask_blend_pd(upper(found, 16), pair(found, 2 * i), pair(found, 2 * i + 1))
            };
            let four = |found, i: usize| {
                _mm512_mask_blend_pd(upper(found, 32), two(found, 2 * i), two(found, 2 * i + 1))
            };
            macro_rules! step {
                ($lookup:expr) => {
                    for (found, value) in found.iter_mut().zip(&values) {
                        let is_below = _mm512_cmp_pd_mask::<_CMP_LT_OQ>($lookup(*found), *value);
                        let twice = _mm512_add_epi64(*found, *found);
                        *found = _mm512_mask_add_epi64(twice, is_below, twice, _mm512_set1_epi64(1));
                    }
                };
            }
            match level.len() {
                1 => step!(|found| _mm512_permutexvar_pd(found, at(0))),
                2 => step!(|found| pair(found, 0)),
                4 => step!(|found| two(found, 0)),
                8 => step!(|found| four(found, 0)),
                _ => {
                    step!(|found| { _mm512_mask_blend_pd(upper(found, 64), four(found, 0), four(found, 1)) })
                }
            }
        }
        for (found, codes) in found.iter().zip(codes.0.as_chunks_mut::<8>().0) {
            // SAFETY: there are 8 bytes.
            unsafe { _mm_storel_epi64(codes.as_mut_ptr().cast(), _mm512_cvtepi64_epi8(*found)) };
        }
    }
}

/// A bit for each value that is NaN.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(crate) fn missing<I: Element>(values: &[I; VALUES]) -> u64 {
    let mut bits = 0;
    match I::REAL {
        Real::F32 => {
            for i in 0..4 {
                // SAFETY: there are 64 values of the type.
                let part = unsafe { _mm512_loadu_ps(values.as_ptr().cast::<f32>().add(16 * i)) };
                bits |= u64::from(_mm512_cmp_ps_mask::<_CMP_UNORD_Q>(part, part)) << (16 * i);
            }
        }
        Real::F64 => {
            for i in 0..8 {
                // SAFETY: as above.
                let part = unsafe { _mm512_loadu_pd(values.as_ptr().cast::<f64>().add(8 * i)) };
                bits |= u64::from(_mm512_cmp_pd_mask::<_CMP_UNORD_Q>(part, part)) << (8 * i);
            }
        }
    }
    bits
}

/// A line of numbers of a type.
fn line<I: Element>(values: &[f64]) -> Line {
    let mut line = Line::ZERO;
    for (bytes, value) in line.0.chunks_exact_mut(size_of::<I>()).zip(values) {
        match I::REAL {
            Real::F32 => bytes.copy_from_slice(&(*value as f32).to_ne_bytes()),
            Real::F64 => bytes.copy_from_slice(&value.to_ne_bytes()),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trees::processor::Processor;

    fn check<I: Element>() {
        for count in [0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 63, 64, 126, 127, 128, 200, 254, 255] {
            let thresholds: Vec<f64> = (0..count).map(|i| f64::from(i) * 0.5 - 7.0).collect();
            let search = RegisterSearch::new::<I>(&thresholds);
            let values: Vec<f64> = (-8..4 * count.max(1) + 24).map(|i| f64::from(i) * 0.25 - 7.0).collect();
            for part in values.chunks(VALUES - 3) {
                let special = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
                let mut asked = [I::default(); VALUES];
                let all = special.iter().chain(part);
                all.clone().zip(&mut asked).for_each(|(value, asked)| *asked = I::of(*value));
                let mut codes = Line::ZERO;
                // SAFETY: the test runs where the processor has these features.
                unsafe { search.below(&asked, &mut codes) };
                for (value, code) in all.zip(codes.0) {
                    let wanted = thresholds.iter().filter(|threshold| *threshold < value).count();
                    assert_eq!(usize::from(code), wanted, "{value} of {count}");
                }
            }
        }
    }

    #[test]
    fn it_counts_what_is_below() {
        if Processor::detected() >= Processor::Avx512 {
            check::<f32>();
            check::<f64>();
        }
    }
}
