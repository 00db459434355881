//! Many rows: tree by tree, all rows look an entry's slot up in vectors.

use std::arch::x86_64::*;

use crate::trees::prefetch;
use crate::trees::scratch::{Line, Scratch, numbers_mut};
use crate::trees::shap::tables::slots::{
    FIRST, LAST, LATER, MORE, Quad, Slots, add_half, add_shared, add_slot, bytes_of, numbers_of_words,
    transpose, vectors,
};
use crate::trees::shap::tables::{Bytes, ENTRIES, Entry, Group, NOBODY, QUADS, SLOTS, Tables, columns};
use crate::trees::shap::{Stopped, Sums};

/// The most rows at once, and the most bytes of their sums.
const MOST_ROWS: usize = 1024;
const MOST_BYTES: usize = 1 << 20;
/// The fewest rows that are worth it.
const WORTH: usize = 48;

/// The rows of a block of `rows` that go together; 0 if they had better go one by one.
pub(super) fn take(rows: usize, players: usize) -> usize {
    let most = (MOST_BYTES / 8 / players.max(1)).min(MOST_ROWS) / 64 * 64;
    let taken = rows.min(most);
    if taken < WORTH { 0 } else { taken }
}

/// Memory for a block of rows. A line is bytes of 64 rows, and so on.
struct Block<'a> {
    /// Lines of bytes.
    count: usize,
    across: usize,
    /// For each place of the tables the bytes of all rows.
    columns: &'a [Line],
    /// For each place of a tree a bit for each row, 1 where it goes right, in words of 64 rows: `across` words, so that
    /// they are whole vectors.
    words: &'a mut [u64],
    /// Of two quads the bits of the first five levels.
    patterns: &'a mut [Line],
    /// Sums at the three splits from the root on.
    partial: &'a mut [f32],
    /// The group's sums, by player.
    own: &'a mut [f32],
    /// The target's, by the caller's number of the player; `stride` numbers for each.
    contributions: &'a mut [f64],
    margins: &'a mut [f64],
}

impl Block<'_> {
    fn rows(&self) -> usize {
        self.count * 64
    }

    fn stride(&self) -> usize {
        stride(self.count)
    }
}

/// Numbers for each player: a few more than rows, so that not all players are in the same sets of the cache.
fn stride(count: usize) -> usize {
    count * 64 + 8
}

impl Tables {
    /// Adds to the sums and contributions of rows, of which the first has this number.
    #[target_feature(
        enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2,popcnt,bmi1,bmi2,lzcnt"
    )]
    pub(super) fn add_many(
        &self,
        bytes: &Bytes,
        rows: &[f64],
        first: usize,
        sums: &mut Sums<'_>,
        scratch: &mut Scratch,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<(), Stopped> {
        let number = rows.len() / self.features;
        let count = number.div_ceil(64);
        let across = count.next_multiple_of(8);
        let most = self.groups.iter().map(|group| group.players.len()).max().unwrap_or(0);
        let parts = [
            bytes.coder.lines() * 64 * count,
            64 * across / 8,
            2 * count,
            3 * count * 4,
            most * count * 4,
            (sums.player_count * stride(count)).div_ceil(8),
            count * 8,
        ];
        let mut rest = scratch.lines(parts.iter().sum());
        let mut parts =
            parts.into_iter().map(|part| rest.split_off_mut(..part).expect("there are such lines"));
        let mut next = || parts.next().expect("there are seven parts");
        let written = next();
        match bytes.coder.lines() {
            1 => columns::write::<1>(&bytes.coder, rows, self.features, written, count),
            2 => columns::write::<2>(&bytes.coder, rows, self.features, written, count),
            _ => columns::write::<4>(&bytes.coder, rows, self.features, written, count),
        }
        let mut block = Block {
            count,
            across,
            columns: written,
            words: numbers_mut(next()),
            patterns: next(),
            partial: numbers_mut(next()),
            own: numbers_mut(next()),
            contributions: numbers_mut(next()),
            margins: numbers_mut(next()),
        };
        self.begin(first..first + number, sums);
        let mut own = vec![0.0; sums.player_count];
        for groups in self.by_target() {
            block.contributions.fill(0.0);
            block.margins.fill(0.0);
            for group in groups {
                if is_stopped() {
                    return Err(Stopped);
                }
                self.add_group(bytes, group, &mut block);
            }
            for row in 0..number {
                let each = block.contributions.chunks_exact(block.stride());
                own.iter_mut().zip(each).for_each(|(own, all)| *own = all[row]);
                self.finish(groups[0].target, block.margins[row], &mut own, first + row, sums);
            }
        }
        Ok(())
    }

    #[target_feature(
        enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2,popcnt,bmi1,bmi2,lzcnt"
    )]
    fn add_group(&self, bytes: &Bytes, group: &Group, block: &mut Block<'_>) {
        let rows = block.rows();
        block.own[..group.players.len() * rows].fill(0.0);
        let mut slots = [[[_mm512_setzero_ps(); ENTRIES / 16]; SLOTS]; 2];
        for tree in group.trees.clone() {
            compare(bytes, tree, block);
            add_leaves(&self.leaves[tree], block);
            for pair in 0..QUADS / 2 {
                self.add_pair(tree, pair, block, &mut slots);
            }
        }
        for (player, own) in group.players.iter().zip(block.own.chunks_exact(rows)) {
            let all = &mut block.contributions[*player as usize * stride(block.count)..][..rows];
            for (sum, own) in all.iter_mut().zip(own) {
                *sum += f64::from(*own);
            }
        }
    }

    /// Adds what two quads next to each other give.
    #[inline]
    #[target_feature(
        enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2,popcnt,bmi1,bmi2,lzcnt"
    )]
    fn add_pair(&self, tree: usize, pair: usize, block: &mut Block<'_>, slots: &mut [Slots; 2]) {
        let (players, rows) = (&self.players[tree], block.rows());
        let places = [QUADS + 2 * pair, QUADS + 2 * pair + 1];
        // The next two quads come while these are computed.
        let next = self.entries.as_ptr().wrapping_add((tree * QUADS + 2 * pair + 2) * ENTRIES);
        for line in 0..2 * ENTRIES * size_of::<Entry>() / size_of::<Line>() {
            prefetch::into_second_cache(next.wrapping_byte_add(line * size_of::<Line>()));
        }
        for (side, place) in places.into_iter().enumerate() {
            let first = (tree * QUADS + 2 * pair + side) * ENTRIES;
            transpose(&self.entries[first..][..ENTRIES], &mut slots[side]);
            write_patterns(place, side, block);
        }
        let (count, across) = (block.count, block.across);
        let (left, right) = block.patterns.split_at(count);
        let patterns = [bytes_of(left), bytes_of(&right[..count])];
        let words = places.map(|place| {
            let word = |place: usize| numbers_of_words(&block.words[place * across..][..count]);
            [word(2 * place), word(2 * place + 1)]
        });
        for side in 0..2 {
            let (place, slots) = (places[side], &slots[side]);
            let quad = Quad { patterns: patterns[side], below: words[side] };
            if let Some(own) = own_of(players[place], block.own, rows) {
                add_slot(&slots[4], quad, own);
            }
            let [below_left, below_right] = words[side];
            if let Some(own) = own_of(players[2 * place], block.own, rows) {
                let table = [slots[5][0], slots[5][1], slots[5][2], slots[5][3]];
                add_half(table, patterns[side], below_left, own);
            }
            if let Some(own) = own_of(players[2 * place + 1], block.own, rows) {
                let table = [slots[6][0], slots[6][1], slots[6][4], slots[6][5]];
                add_half(table, patterns[side], below_right, own);
            }
        }
        let quads = [0, 1].map(|side| Quad { patterns: patterns[side], below: words[side] });
        for slot in (0..4).rev() {
            // The split has this number of pairs below it.
            let pairs = 1 << (3 - slot);
            let player = players[(QUADS / 2 + pair) >> (3 - slot)];
            if let Some(own) = own_of(player, block.own, rows) {
                let partial = vectors(&mut block.partial[slot.min(2) * rows..][..rows]);
                let of = [&slots[0][slot], &slots[1][slot]];
                match (pair % pairs, pairs) {
                    (_, 1) => add_shared::<FIRST, LAST>(of, quads, partial, own),
                    (0, _) => add_shared::<FIRST, MORE>(of, quads, partial, own),
                    (at, _) if at + 1 < pairs => add_shared::<LATER, MORE>(of, quads, partial, own),
                    _ => add_shared::<LATER, LAST>(of, quads, partial, own),
                }
            }
        }
    }
}

/// The sums of a player of the group, if it is one.
#[inline(always)]
fn own_of(player: u16, own: &mut [f32], rows: usize) -> Option<&mut [__m512]> {
    (player != NOBODY).then(|| vectors(&mut own[player as usize * rows..][..rows]))
}

/// What each row decides at each split of a tree.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn compare(bytes: &Bytes, tree: usize, block: &mut Block<'_>) {
    let count = block.count;
    let (places, bounds) = (&bytes.places[tree].0, &bytes.bounds[tree].0);
    for (place, words) in block.words.chunks_exact_mut(block.across).enumerate().skip(1) {
        let bound = _mm512_set1_epi8(bounds[place] as i8);
        let column = &block.columns[usize::from(places[place]) * count..][..count];
        for (word, line) in words.iter_mut().zip(column) {
            // SAFETY: a line is a vector.
            let read = unsafe { _mm512_load_si512((&raw const *line).cast()) };
            *word = _mm512_cmpgt_epu8_mask(read, bound);
        }
    }
}

/// Adds the leaf that each row comes to.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
fn add_leaves(leaves: &[f64; 64], block: &mut Block<'_>) {
    for vector in 0..block.across / 8 {
        let word = |place: usize| {
            let words = &block.words[place * block.across + 8 * vector..][..8];
            // SAFETY: eight words are a vector.
            unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
        };
        // From the last level up: for each split and level below it, what the row decides there if it comes to the split.
        let mut below: [[__m512i; 6]; 32] = std::array::from_fn(|i| [word(32 + i); 6]);
        for level in (0..5).rev() {
            for i in 0..1 << level {
                let own = word((1 << level) + i);
                let (left, right) = (below[2 * i], below[2 * i + 1]);
                for deeper in level + 1..6 {
                    // Right where the word has a bit, and left elsewhere.
                    below[i][deeper] = _mm512_ternarylogic_epi64::<0xca>(own, right[deeper], left[deeper]);
                }
                below[i][level] = own;
            }
        }
        let bits: [[u64; 8]; 6] = below[0].map(|bits| {
            let mut words = [0; 8];
            // SAFETY: eight words are a vector.
            unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), bits) };
            words
        });
        for word in 0..(block.count - 8 * vector).min(8) {
            let mut places = Line::ZERO;
            let mut found = _mm512_setzero_si512();
            for (level, bits) in bits.iter().enumerate() {
                let bit = _mm512_maskz_set1_epi8(bits[word], 32 >> level);
                found = _mm512_or_si512(found, bit);
            }
            // SAFETY: a line is a vector.
            unsafe { _mm512_store_si512((&raw mut places).cast(), found) };
            let margins = &mut block.margins[(8 * vector + word) * 64..][..64];
            for (margin, place) in margins.iter_mut().zip(places.0) {
                *margin += leaves[usize::from(place) % 64];
            }
        }
    }
}

/// Writes the bits of the five levels down to a quad's own split.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn write_patterns(place: usize, side: usize, block: &mut Block<'_>) {
    let (count, across) = (block.count, block.across);
    let words =
        [1, place >> 3, place >> 2, place >> 1, place].map(|place| &block.words[place * across..][..count]);
    for (line, pattern) in block.patterns[side * count..][..count].iter_mut().enumerate() {
        let mut bits = _mm512_setzero_si512();
        for (words, bit) in words.iter().zip([8, 1, 2, 4, 16]) {
            bits = _mm512_or_si512(bits, _mm512_maskz_set1_epi8(words[line], bit));
        }
        // SAFETY: a line is a vector.
        unsafe { _mm512_store_si512((&raw mut *pattern).cast(), bits) };
    }
}
