//! One row: an entry for each quad, and their sums along the tree.

use crate::trees::prefetch;
use crate::trees::scratch::Scratch;
use crate::trees::shap::tables::{ENTRIES, Entry, GROUP, QUADS, SLOTS, Tables};
use crate::trees::shap::{Stopped, Sums};
#[cfg(target_arch = "x86_64")]
use {
    crate::trees::{search::bytes::look_up, shap::tables::Bytes},
    std::arch::x86_64::*,
};

/// Trees whose entries are fetched before they are added.
const AHEAD: usize = 3;

/// The entries of the quads, and the sums of two, four, eight and all of them.
#[derive(Default)]
#[repr(C)]
struct Buffer {
    quads: [Entry; QUADS],
    twos: [Entry; 8],
    fours: [Entry; 4],
    eights: [Entry; 2],
    all: [Entry; 1],
}

/// Its entries.
const SUMS: usize = size_of::<Buffer>() / size_of::<Entry>();

/// What a row does in a tree: its leaf, and the pattern of each quad.
#[derive(Clone, Copy, Default)]
struct Patterns {
    leaf: u8,
    patterns: [u8; QUADS],
}

/// The number of the buffer that is the contribution at a place of the heap.
pub(super) fn number_of(place: usize) -> u16 {
    let (entry, slot) = match place {
        32.. => (place / 2 - QUADS, 5 + place % 2),
        16.. => (place - QUADS, 4),
        8.. => (QUADS + place - 8, 3),
        4.. => (QUADS + 8 + place - 4, 2),
        2.. => (QUADS + 12 + place - 2, 1),
        _ => (QUADS + 14, 0),
    };
    (entry * SLOTS + slot) as u16
}

#[inline(always)]
fn sum(one: &Entry, other: &Entry) -> Entry {
    let mut both = *one;
    for (both, other) in both.0.iter_mut().zip(&other.0) {
        *both += *other;
    }
    both
}

/// The pattern of a quad: the bits of a word at the splits above its leaves, in their order.
#[inline(always)]
fn pattern(word: u64, quad: usize) -> usize {
    let bit = |place: usize| (word >> place & 1) as usize;
    let place = QUADS + quad;
    bit(1)
        | bit(place >> 3) << 1
        | bit(place >> 2) << 2
        | bit(place >> 1) << 3
        | bit(place) << 4
        | bit(2 * place) << 5
        | bit(2 * place + 1) << 6
}

/// The bits of a word that are a quad's pattern.
#[cfg(target_arch = "x86_64")]
const PATTERNS: [u64; QUADS] = {
    let mut masks = [0; QUADS];
    let mut quad = 0;
    while quad < QUADS {
        let place = QUADS + quad;
        masks[quad] = 1 << 1
            | 1 << (place >> 3)
            | 1 << (place >> 2)
            | 1 << (place >> 1)
            | 1 << place
            | 1 << (2 * place)
            | 1 << (2 * place + 1);
        quad += 1;
    }
    masks
};

impl Tables {
    /// Adds to the sums and contributions of the row of this number.
    pub(super) fn add_single(
        &self,
        row: &[f64],
        number: usize,
        sums: &mut Sums<'_>,
        scratch: &mut Scratch,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<(), Stopped> {
        let (contributions, codes, _) =
            scratch.three::<f64, u16, u8>(sums.player_count, self.coder.width().max(1), 0);
        self.coder.code(row, codes);
        let word = |tree: usize| {
            let bit = |(place, (code, bound)): (usize, &(u32, u16))| {
                u64::from(codes[*code as usize] > *bound) << place
            };
            self.questions[tree].iter().enumerate().map(bit).fold(0, std::ops::BitOr::bitor)
        };
        self.add_row(word, pattern, number, sums, contributions, is_stopped)
    }

    /// The same with AVX-512.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(
        enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2,popcnt,bmi1,bmi2,lzcnt"
    )]
    pub(super) fn add_single_avx512(
        &self,
        bytes: &Bytes,
        row: &[f64],
        number: usize,
        sums: &mut Sums<'_>,
        scratch: &mut Scratch,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<(), Stopped> {
        let (contributions, _, _) = scratch.three::<f64, u8, u8>(sums.player_count, 0, 0);
        match bytes.coder.lines() {
            1 => self.add_bytes::<1>(bytes, row, number, sums, contributions, is_stopped),
            2 => self.add_bytes::<2>(bytes, row, number, sums, contributions, is_stopped),
            _ => self.add_bytes::<4>(bytes, row, number, sums, contributions, is_stopped),
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(
        enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2,popcnt,bmi1,bmi2,lzcnt"
    )]
    fn add_bytes<const LINES: usize>(
        &self,
        bytes: &Bytes,
        row: &[f64],
        number: usize,
        sums: &mut Sums<'_>,
        contributions: &mut [f64],
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<(), Stopped> {
        let table = bytes.coder.table::<LINES>(row);
        // SAFETY: a line is a vector; also below.
        let load =
            |line: &crate::trees::scratch::Line| unsafe { _mm512_load_si512((&raw const *line).cast()) };
        let word = |tree: usize| {
            let read = look_up(&table, load(&bytes.places[tree]));
            _mm512_cmpgt_epu8_mask(read, load(&bytes.bounds[tree]))
        };
        let pattern = |word: u64, quad: usize| _pext_u64(word, PATTERNS[quad]) as usize;
        self.add_row(word, pattern, number, sums, contributions, is_stopped)
    }

    /// Adds to the sums of a row, by the word of each tree: a bit for each place, 1 where the row goes right.
    #[inline(always)]
    fn add_row(
        &self,
        word: impl Fn(usize) -> u64,
        pattern: impl Fn(u64, usize) -> usize,
        row: usize,
        sums: &mut Sums<'_>,
        contributions: &mut [f64],
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<(), Stopped> {
        self.begin(row..row + 1, sums);
        let count = self.leaves.len();
        let mut ring = [Patterns::default(); AHEAD + 1];
        let (mut buffer, mut own) = (Buffer::default(), [0.0; GROUP * 64]);
        let (mut at, mut margin) = (0, 0.0);
        contributions.fill(0.0);
        for step in 0..count + AHEAD {
            if step < count {
                let word = word(step);
                let next = &mut ring[step % (AHEAD + 1)];
                next.leaf = leaf(word) as u8;
                for quad in 0..QUADS {
                    let found = pattern(word, quad) % ENTRIES;
                    next.patterns[quad] = found as u8;
                    let entry = self.entries.as_ptr().wrapping_add((step * QUADS + quad) * ENTRIES + found);
                    prefetch::into_first_cache(entry);
                }
            }
            let Some(tree) = step.checked_sub(AHEAD) else { continue };
            let Patterns { leaf, patterns } = &ring[tree % (AHEAD + 1)];
            let group = &self.groups[at];
            if tree == group.trees.start {
                if is_stopped() {
                    return Err(Stopped);
                }
                own[..group.players.len()].fill(0.0);
            }
            margin += self.leaves[tree][usize::from(*leaf) % 64];
            self.add_tree(tree, patterns, &mut buffer, &mut own);
            if tree + 1 < group.trees.end {
                continue;
            }
            for (player, sum) in group.players.iter().zip(own) {
                contributions[*player as usize] += f64::from(sum);
            }
            at += 1;
            if self.groups.get(at).is_none_or(|next| next.target != group.target) {
                self.finish(group.target, margin, contributions, row, sums);
                contributions.fill(0.0);
                margin = 0.0;
            }
        }
        Ok(())
    }

    /// Adds the contributions of a tree to those of the group's players.
    #[inline(always)]
    fn add_tree(
        &self,
        tree: usize,
        patterns: &[u8; QUADS],
        buffer: &mut Buffer,
        own: &mut [f32; GROUP * 64],
    ) {
        let entries = &self.entries[tree * QUADS * ENTRIES..][..QUADS * ENTRIES];
        let Buffer { quads, twos, fours, eights, all } = &mut *buffer;
        for (quad, pattern) in patterns.iter().enumerate() {
            quads[quad] = entries[quad * ENTRIES + usize::from(*pattern) % ENTRIES];
        }
        for i in 0..8 {
            twos[i] = sum(&quads[2 * i], &quads[2 * i + 1]);
        }
        for i in 0..4 {
            fours[i] = sum(&twos[2 * i], &twos[2 * i + 1]);
        }
        // From left to right, as many rows are added up.
        for i in 0..2 {
            eights[i] = sum(&sum(&fours[2 * i], &twos[4 * i + 2]), &twos[4 * i + 3]);
        }
        all[0] = sum(&sum(&sum(&sum(&eights[0], &twos[4]), &twos[5]), &twos[6]), &twos[7]);
        // SAFETY: it is entries, and those are numbers.
        let numbers: &[f32; SUMS * SLOTS] = unsafe { &*(&raw const *buffer).cast() };
        for step in &self.steps[tree] {
            // SAFETY: `number_of` gives numbers of the buffer, and a group has at most as many players as `own` has.
            unsafe {
                *own.get_unchecked_mut(step.player as usize) += *numbers.get_unchecked(step.from as usize);
            }
        }
    }
}

/// The leaf that a row comes to, by the word of a tree.
#[inline(always)]
fn leaf(word: u64) -> usize {
    let step = |place: usize, _| 2 * place + (word >> place & 1) as usize;
    (0..6).fold(1, step) - 64
}
