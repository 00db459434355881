//! Vectors of doubles: four or eight nodes of a rule side by side. All kinds of processors give the same bits, because
//! nothing is fused.

/// A vector.
///
/// # Safety
/// It is `LANES` doubles in memory and no more, and their alignment is at most 64 bytes.
pub(super) unsafe trait Vector: Copy {
    const LANES: usize;

    fn splat(value: f64) -> Self;
    fn add(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;

    /// The sum of its lanes: neighbours first, and then those of pairs that are next to each other.
    #[inline(always)]
    fn sum(self) -> f64 {
        // SAFETY: so it is in memory.
        let lanes = unsafe { std::slice::from_raw_parts((&raw const self).cast::<f64>(), Self::LANES) };
        let pair = |i: usize| lanes[i] + lanes[i + 1];
        let four = |i: usize| pair(i) + pair(i + 2);
        if Self::LANES == 4 { four(0) } else { four(0) + four(4) }
    }

    /// Numbers as vectors, whose memory has the alignment of a line.
    #[inline(always)]
    fn of(numbers: &mut [f64]) -> &mut [Self] {
        assert!(numbers.as_ptr().addr().is_multiple_of(64), "vectors are aligned");
        // SAFETY: a vector is such numbers, and aligned.
        unsafe { std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast(), numbers.len() / Self::LANES) }
    }

    /// Eight numbers, of which a vector of four has the first.
    #[inline(always)]
    fn load(numbers: &[f64; 8]) -> Self {
        // SAFETY: there are enough of them.
        unsafe { numbers.as_ptr().cast::<Self>().read_unaligned() }
    }
}

/// Doubles, for every processor.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub(super) struct Plain<const L: usize>([f64; L]);

// SAFETY: it is an array of doubles.
unsafe impl<const L: usize> Vector for Plain<L> {
    const LANES: usize = L;

    #[inline(always)]
    fn splat(value: f64) -> Self {
        Self([value; L])
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|q| self.0[q] + other.0[q]))
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(std::array::from_fn(|q| self.0[q] * other.0[q]))
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(std::array::from_fn(|q| self.0[q] / other.0[q]))
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx, Avx8, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Vector;

    /// Four doubles, where the caller has AVX.
    #[derive(Clone, Copy)]
    #[repr(transparent)]
    pub(in super::super) struct Avx(__m256d);

    /// Eight doubles, where the caller has AVX.
    #[derive(Clone, Copy)]
    #[repr(transparent)]
    pub(in super::super) struct Avx8([__m256d; 2]);

    /// Eight doubles, where the caller has AVX-512.
    #[derive(Clone, Copy)]
    #[repr(transparent)]
    pub(in super::super) struct Avx512(__m512d);

    // SAFETY: it is such a vector.
    unsafe impl Vector for Avx {
        const LANES: usize = 4;

        #[inline(always)]
        fn splat(value: f64) -> Self {
            // SAFETY: functions that use this type are for processors with AVX; also below.
            Self(unsafe { _mm256_set1_pd(value) })
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm256_add_pd(self.0, other.0) })
        }

        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm256_mul_pd(self.0, other.0) })
        }

        #[inline(always)]
        fn div(self, other: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm256_div_pd(self.0, other.0) })
        }
    }

    // SAFETY: they are two such vectors.
    unsafe impl Vector for Avx8 {
        const LANES: usize = 8;

        #[inline(always)]
        fn splat(value: f64) -> Self {
            Self([Avx::splat(value).0; 2])
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            Self(std::array::from_fn(|i| Avx(self.0[i]).add(Avx(other.0[i])).0))
        }

        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            Self(std::array::from_fn(|i| Avx(self.0[i]).mul(Avx(other.0[i])).0))
        }

        #[inline(always)]
        fn div(self, other: Self) -> Self {
            Self(std::array::from_fn(|i| Avx(self.0[i]).div(Avx(other.0[i])).0))
        }
    }

    // SAFETY: it is such a vector.
    unsafe impl Vector for Avx512 {
        const LANES: usize = 8;

        #[inline(always)]
        fn splat(value: f64) -> Self {
            // SAFETY: functions that use this type are for processors with AVX-512; also below.
            Self(unsafe { _mm512_set1_pd(value) })
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_add_pd(self.0, other.0) })
        }

        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_mul_pd(self.0, other.0) })
        }

        #[inline(always)]
        fn div(self, other: Self) -> Self {
            // SAFETY: as above.
            Self(unsafe { _mm512_div_pd(self.0, other.0) })
        }
    }
}
