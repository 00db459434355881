//! Vectors of bits in the registers of AVX-512, and the bytes of indices that come from them.
//!
//! Eight rows that follow each other have a byte of a vector; the order of those bytes is such that unpacking eight
//! planes gives the rows' indices in the order of the rows.

use std::arch::x86_64::*;

use crate::trees::forms::sliced::lanes::Lanes;
use crate::trees::prefetch;
use crate::trees::scratch::Line;

/// A vector of bits in a register.
pub(super) trait Wide: Lanes {
    /// The bytes of a vector.
    const BYTES: usize;

    /// Rows' bits, from the first row on, in the order of vectors.
    ///
    /// # Safety
    /// The processor has AVX-512.
    unsafe fn of_rows(bits: &Line) -> Self;

    /// The bytes whose bits are those of eight planes, the lowest first, for each row: 8 x `BYTES`.
    ///
    /// # Safety
    /// The processor has AVX-512 and GFNI.
    unsafe fn store_bytes(planes: &[Self; 8], bytes: &mut [u8]);
}

/// Where byte i of a vector of `bytes` bytes comes from: of register q's lane l, it has the groups of eight rows
/// `q x bytes / 8 + 2 l` and the next one.
const fn sources(bytes: usize) -> Line {
    let mut line = Line::ZERO;
    let mut i = 0;
    while i < bytes {
        let (lane, register, half) = (i / 16, i % 16 / 2, i % 2);
        line.0[i] = (register * bytes / 8 + 2 * lane + half) as u8;
        i += 1;
    }
    line
}

/// The matrix that a transposition of bits multiplies.
const EACH_BIT: i64 = i64::from_le_bytes([1, 2, 4, 8, 16, 32, 64, 128]);

macro_rules! wide {
    ($name:ident $register:ident $bytes:literal
     $and:ident $or:ident $andnot:ident $ternary:ident $set:ident $set_each:ident
     $load:ident $store:ident $permute:ident $affine:ident
     $low8:ident $high8:ident $low16:ident $high16:ident $low32:ident $high32:ident) => {
        #[derive(Clone, Copy)]
        pub(super) struct $name($register);

        // SAFETY, for all of these: there is a vector, and the first ones are made by functions that may only be called
        // where the processor has AVX-512: `of_rows` here, and `vectors` in `slices`.
        impl Lanes for $name {
            #[inline(always)]
            fn all(self, bit: bool) -> Self {
                Self(unsafe { $set(if bit { -1 } else { 0 }) })
            }

            #[inline(always)]
            fn and(self, other: Self) -> Self {
                Self(unsafe { $and(self.0, other.0) })
            }

            #[inline(always)]
            fn or(self, other: Self) -> Self {
                Self(unsafe { $or(self.0, other.0) })
            }

            #[inline(always)]
            fn without(self, other: Self) -> Self {
                Self(unsafe { $andnot(other.0, self.0) })
            }

            #[inline(always)]
            fn or_both(self, one: Self, other: Self) -> Self {
                Self(unsafe { $ternary::<0xF8>(self.0, one.0, other.0) })
            }

            #[inline(always)]
            fn pick(self, zero: Self, one: Self) -> Self {
                Self(unsafe { $ternary::<0xCA>(self.0, one.0, zero.0) })
            }

            #[inline(always)]
            fn fetch(at: *const Self) {
                prefetch::into_first_cache(at);
            }
        }

        impl Wide for $name {
            const BYTES: usize = $bytes;

            #[inline(always)]
            unsafe fn of_rows(bits: &Line) -> Self {
                const SOURCES: Line = sources($bytes);
                // SAFETY: what the caller promises; a line is at least as long as the vector.
                unsafe {
                    let at = $load(SOURCES.0.as_ptr().cast());
                    Self($permute(at, $load(bits.0.as_ptr().cast())))
                }
            }

            #[inline(always)]
            unsafe fn store_bytes(planes: &[Self; 8], bytes: &mut [u8]) {
                // SAFETY: what the caller promises; each register is stored to its own `$bytes` bytes.
                unsafe {
                    // The product has bit i of byte 7 - i: the highest plane comes first.
                    let p = |i: usize| planes[7 - i].0;
                    let each = $set_each(EACH_BIT);
                    let (a, b) = ($low8(p(0), p(1)), $high8(p(0), p(1)));
                    let (c, d) = ($low8(p(2), p(3)), $high8(p(2), p(3)));
                    let (e, f) = ($low8(p(4), p(5)), $high8(p(4), p(5)));
                    let (g, h) = ($low8(p(6), p(7)), $high8(p(6), p(7)));
                    let first = [$low16(a, c), $high16(a, c), $low16(b, d), $high16(b, d)];
                    let last = [$low16(e, g), $high16(e, g), $low16(f, h), $high16(f, h)];
                    for (i, bytes) in bytes.as_chunks_mut::<{ 2 * $bytes }>().0.iter_mut().enumerate().take(4)
                    {
                        let to = bytes.as_mut_ptr();
                        $store(to.cast(), $affine::<0>(each, $low32(first[i], last[i])));
                        $store(to.add($bytes).cast(), $affine::<0>(each, $high32(first[i], last[i])));
                    }
                }
            }
        }
    };
}

wide!(Of512 __m512i 64
    _mm512_and_si512 _mm512_or_si512 _mm512_andnot_si512 _mm512_ternarylogic_epi64 _mm512_set1_epi8 _mm512_set1_epi64
    _mm512_loadu_si512 _mm512_storeu_si512 _mm512_permutexvar_epi8 _mm512_gf2p8affine_epi64_epi8
    _mm512_unpacklo_epi8 _mm512_unpackhi_epi8 _mm512_unpacklo_epi16 _mm512_unpackhi_epi16 _mm512_unpacklo_epi32 _mm512_unpackhi_epi32);
wide!(Of256 __m256i 32
    _mm256_and_si256 _mm256_or_si256 _mm256_andnot_si256 _mm256_ternarylogic_epi64 _mm256_set1_epi8 _mm256_set1_epi64x
    _mm256_loadu_si256 _mm256_storeu_si256 _mm256_permutexvar_epi8 _mm256_gf2p8affine_epi64_epi8
    _mm256_unpacklo_epi8 _mm256_unpackhi_epi8 _mm256_unpacklo_epi16 _mm256_unpackhi_epi16 _mm256_unpacklo_epi32 _mm256_unpackhi_epi32);
wide!(Of128 __m128i 16
    _mm_and_si128 _mm_or_si128 _mm_andnot_si128 _mm_ternarylogic_epi64 _mm_set1_epi8 _mm_set1_epi64x
    _mm_loadu_si128 _mm_storeu_si128 _mm_permutexvar_epi8 _mm_gf2p8affine_epi64_epi8
    _mm_unpacklo_epi8 _mm_unpackhi_epi8 _mm_unpacklo_epi16 _mm_unpackhi_epi16 _mm_unpacklo_epi32 _mm_unpackhi_epi32);
