//! The descent through trees of six levels by their words.

use std::arch::x86_64::*;

/// What is looked up by the seven bits of a subtree of three levels, which are in the order of a heap.
#[derive(Clone, Copy)]
pub(crate) struct Fields {
    /// Where the field of the subtree below its leaf begins.
    shifts: [__m512i; 2],
    /// Its leaf.
    leaves: [__m512i; 2],
}

/// The leaf of a subtree, by its bits.
const fn leaf(bits: usize) -> u8 {
    let mut node = 0;
    while node < 7 {
        node = 2 * node + 1 + (bits >> node & 1);
    }
    node as u8 - 7
}

/// A byte for the seven bits of a subtree: two vectors.
#[repr(C, align(64))]
struct SubtreeTable([u8; 128]);

impl SubtreeTable {
    /// `times` the leaf and `more`.
    const fn new(times: u8, more: u8) -> Self {
        let mut bytes = [0; 128];
        let mut bits = 0;
        while bits < 128 {
            bytes[bits] = leaf(bits) * times + more;
            bits += 1;
        }
        Self(bytes)
    }

    /// The byte for the seven low bits of a word.
    #[inline(always)]
    fn of(&self, word: u64) -> u8 {
        self.0[word as usize % 128]
    }
}

static SHIFTS: SubtreeTable = SubtreeTable::new(7, 7);
static LEAVES: SubtreeTable = SubtreeTable::new(1, 0);

/// The place that a tree comes to, by its word: below 64.
#[inline(always)]
pub(crate) fn place(word: u64) -> usize {
    let shift = SHIFTS.of(word);
    usize::from(shift ^ LEAVES.of(word >> shift))
}

impl Fields {
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn new() -> Self {
        // SAFETY: a table is two vectors.
        let load = |table: &SubtreeTable| unsafe {
            let bytes = table.0.as_ptr();
            [_mm512_load_si512(bytes.cast()), _mm512_load_si512(bytes.add(64).cast())]
        };
        Self { shifts: load(&SHIFTS), leaves: load(&LEAVES) }
    }

    /// The places that eight trees or rows come to, by their words.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vbmi")]
    pub(crate) fn descend(self, words: __m512i) -> __m512i {
        let shifts = Self::of(self.shifts, words);
        _mm512_xor_si512(shifts, Self::of(self.leaves, _mm512_srlv_epi64(words, shifts)))
    }

    /// What a table has for the seven low bits of each word.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vbmi")]
    fn of(table: [__m512i; 2], words: __m512i) -> __m512i {
        const LOW: u64 = 0x0101_0101_0101_0101;
        _mm512_maskz_permutex2var_epi8(LOW, table[0], words, table[1])
    }
}
