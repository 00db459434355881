//! Leaves of one tree for many rows, with AVX-512.

use std::arch::x86_64::*;

/// Of 64 leaves those with sixteen numbers below 64.
///
/// # Safety
/// There are 64 leaves, aligned to a vector.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn floats(leaves: *const f32, numbers: __m512i) -> __m512 {
    let pair = |at: usize| {
        // SAFETY: there are two pairs of vectors.
        let (low, high) =
            unsafe { (_mm512_load_ps(leaves.add(32 * at)), _mm512_load_ps(leaves.add(32 * at + 16))) };
        _mm512_permutex2var_ps(low, numbers, high)
    };
    let is_high = _mm512_test_epi32_mask(numbers, _mm512_set1_epi32(32));
    _mm512_mask_mov_ps(pair(0), is_high, pair(1))
}

/// Of 64 leaves those with eight numbers below 64.
///
/// # Safety
/// There are 64 leaves, aligned to a vector.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn doubles(leaves: *const f64, numbers: __m512i) -> __m512d {
    let pair = |at: usize| {
        // SAFETY: there are four pairs of vectors.
        let (low, high) =
            unsafe { (_mm512_load_pd(leaves.add(16 * at)), _mm512_load_pd(leaves.add(16 * at + 8))) };
        _mm512_permutex2var_pd(low, numbers, high)
    };
    let is_odd = _mm512_test_epi64_mask(numbers, _mm512_set1_epi64(16));
    let is_high = _mm512_test_epi64_mask(numbers, _mm512_set1_epi64(32));
    let low = _mm512_mask_mov_pd(pair(0), is_odd, pair(1));
    let high = _mm512_mask_mov_pd(pair(2), is_odd, pair(3));
    _mm512_mask_mov_pd(low, is_high, high)
}
