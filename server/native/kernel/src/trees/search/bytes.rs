//! The table of a row: the low and high bytes of its columns' codes in vectors, with AVX-512.

use std::arch::x86_64::*;

use crate::trees::coded::{Coded, CodedSplit, MOST_IN_BYTE};
use crate::trees::element::Element;
use crate::trees::processor::Processor;
use crate::trees::search::levels::count_avx512;
use crate::trees::search::table::{CHUNKS, Chunk, TableLayout, U16x32};

/// The most places of a table: a split has one byte for its place.
pub(crate) const PLACES: usize = 256;

/// Makes the tables of rows: one byte for each place that a split reads.
#[derive(Debug, Clone)]
pub(crate) struct ByteCoder<I> {
    layout: TableLayout<I>,
    features: usize,
}

impl<I: Element> ByteCoder<I> {
    /// For trees coded with at most `MOST_IN_BYTE` thresholds in a column, and rows of `features` values. `None` without
    /// AVX-512, or where the splits read more than 256 places.
    pub(crate) fn new(coded: &Coded, features: usize) -> Option<Self> {
        let fits =
            coded.columns.iter().all(|column| column.largest() <= MOST_IN_BYTE && column.feature < features);
        if Processor::detected() < Processor::Avx512 || !fits {
            return None;
        }
        Some(Self { layout: TableLayout::new(coded)?, features })
    }

    /// Vectors of a table, the `LINES` of `table` and `look_up`: 1 (up to 64 places), 2 or 4.
    pub(crate) fn lines(&self) -> usize {
        self.layout.lines()
    }

    /// The place that a split reads, and its bound: `on_false` where the byte there is above the bound. No byte is
    /// above 255.
    ///
    /// # Panics
    /// The split is not of the trees that the coder is of.
    pub(crate) fn place(&self, split: &CodedSplit) -> (u8, u8) {
        self.layout.of(split)
    }

    /// The bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.layout.bytes()
    }

    /// The table of a row.
    ///
    /// # Panics
    /// `LINES` is not that of `lines`, or the row is too short.
    #[inline]
    #[target_feature(
        enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2,popcnt,bmi1,bmi2,lzcnt"
    )]
    pub(crate) fn table<const LINES: usize>(&self, row: &[I]) -> [__m512i; LINES] {
        let TableLayout { chunks, missing, .. } = &self.layout;
        assert!(chunks.len() <= 2 * LINES, "the table fits");
        let mut codes = [U16x32::ZERO; CHUNKS];
        self.layout
            .codes(&row[..self.features], U16x32::flat(&mut codes), |step, value| count_avx512(step, value));
        let bytes = |chunk: &Chunk| spread(chunk, &codes[chunk.window], &missing[chunk.window]);
        let mut table = [_mm512_setzero_si512(); LINES];
        for (line, chunks) in table.iter_mut().zip(chunks.chunks(2)) {
            *line = _mm512_castsi256_si512(bytes(&chunks[0]));
            if let Some(chunk) = chunks.get(1) {
                *line = _mm512_inserti64x4::<1>(*line, bytes(chunk));
            }
        }
        table
    }
}

/// The bytes of 32 places.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn spread(chunk: &Chunk, codes: &U16x32, missing: &U16x32) -> __m256i {
    // SAFETY: `U16x32` is a vector, aligned to one.
    let load = |codes: &U16x32| unsafe { _mm512_load_si512((&raw const *codes).cast()) };
    let high = load(codes);
    let present = _mm512_cmpneq_epi16_mask(high, load(missing));
    let low = _mm512_maskz_add_epi16(present, high, _mm512_set1_epi16(1));
    let counts = _mm512_permutex2var_epi16(low, load(&chunk.from), high);
    // A count beyond a column's thresholds may be more than a byte: then it is above every bound.
    _mm512_cvtusepi16_epi8(_mm512_subs_epu16(counts, load(&chunk.minus)))
}

/// The bytes of a table at places.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(crate) fn look_up<const LINES: usize>(table: &[__m512i; LINES], places: __m512i) -> __m512i {
    match LINES {
        1 => _mm512_permutexvar_epi8(places, table[0]),
        2 => _mm512_permutex2var_epi8(table[0], places, table[1]),
        _ => {
            let first = _mm512_permutex2var_epi8(table[0], places, table[1]);
            let second = _mm512_permutex2var_epi8(table[2], places, table[3]);
            _mm512_mask_mov_epi8(first, _mm512_movepi8_mask(places), second)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trees::testing::{self, Shape};

    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    fn byte<const LINES: usize>(table: &[__m512i; LINES], place: u8) -> u8 {
        _mm_extract_epi8::<0>(_mm512_castsi512_si128(look_up(table, _mm512_set1_epi8(place as i8)))) as u8
    }

    #[target_feature(
        enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2,popcnt,bmi1,bmi2,lzcnt"
    )]
    fn check_rows<I: Element, const LINES: usize>(coder: &ByteCoder<I>, coded: &Coded, rows: &[I]) {
        for row in rows.chunks_exact(coder.features) {
            let table = coder.table::<LINES>(row);
            for split in coded.trees.iter().flat_map(|tree| &tree.splits) {
                let column = &coded.columns[split.column];
                let value = row[column.feature].double();
                let wanted =
                    if value.is_nan() { split.missing_true } else { column.code(value) <= split.bound };
                let (place, bound) = coder.place(split);
                assert_eq!(byte(&table, place) <= bound, wanted, "{value} in {split:?}");
            }
        }
    }

    fn check<I: Element>(shape: Shape, seed: u64) -> usize {
        let ensemble = testing::ensemble(Shape { input: I::REAL, ..shape }, seed);
        let coded = Coded::new(&ensemble, MOST_IN_BYTE);
        let Some(coder) = ByteCoder::<I>::new(&coded, ensemble.features) else { return 0 };
        let rows = testing::hard_rows::<I>(&ensemble, 40, seed);
        // SAFETY: a coder is only made where AVX-512 is supported.
        unsafe {
            match coder.lines() {
                1 => check_rows::<I, 1>(&coder, &coded, &rows),
                2 => check_rows::<I, 2>(&coder, &coded, &rows),
                _ => check_rows::<I, 4>(&coder, &coded, &rows),
            }
        }
        coder.lines()
    }

    #[test]
    fn splits_decide_by_bytes_as_by_values() {
        let usual = Shape { trees: 40, ..Shape::default() };
        let shapes = [
            usual,
            Shape { features: 1, trees: 1, depth: 1, ..usual },
            Shape { features: 3, thresholds: 5, one_set_in: 3, ..usual },
            Shape { features: 40, ..usual },
            Shape { features: 110, trees: 100, ..usual },
            Shape { features: 3, thresholds: 700, trees: 100, ..usual },
            Shape { features: 1, thresholds: 9000, trees: 60, depth: 12, leaves: 200, ..usual },
        ];
        let mut seen = Vec::new();
        for (seed, shape) in (1..).zip(shapes) {
            seen.push(check::<f32>(shape, seed));
            seen.push(check::<f64>(shape, seed));
        }
        if Processor::detected() >= Processor::Avx512 {
            assert!([1, 2, 4].iter().all(|lines| seen.contains(lines)), "{seen:?}");
        }
    }

    #[test]
    fn too_many_places_are_refused() {
        let ensemble = testing::ensemble(Shape { features: 300, trees: 200, ..Shape::default() }, 5);
        assert!(ByteCoder::<f32>::new(&Coded::new(&ensemble, MOST_IN_BYTE), 300).is_none());
    }
}
