//! Codes of 16 bits for any number of columns: of each column a low and a high copy, side by side.

use crate::trees::coded::{Column, MOST_IN_16_BITS, Question};
use crate::trees::element::Element;
use crate::trees::processor::Processor;
use crate::trees::search::ladder::Ladder;

/// The high copy of what is missing, which is above every bound.
const MISSING_HIGH: u16 = u16::MAX;

/// The bytes of bits for each member of a set, and the bytes beside that for all features together.
const EACH: usize = 128;
const SPARE: usize = 1 << 20;

/// Finds the codes of rows.
#[derive(Debug)]
pub(crate) struct PairCoder<I> {
    features: Vec<FeatureCoder<I>>,
    columns: usize,
    bytes: usize,
    /// At most what this processor has.
    processor: Processor,
}

/// Columns of one feature that are coded together.
#[derive(Debug)]
struct FeatureCoder<I> {
    feature: usize,
    first: usize,
    lookup: Lookup<I>,
}

/// How the codes of these columns are found.
#[derive(Debug)]
enum Lookup<I> {
    /// One column of thresholds.
    Thresholds(Ladder<I>),
    /// A column for each set: the members, ascending.
    Lists(Vec<Vec<f64>>),
    /// The same, where all members are small whole numbers: value v has a bit for each set, in `width` bytes from
    /// `v * width` on.
    Bits { bits: Vec<u8>, width: usize, sets: usize },
}

impl<I: Element> PairCoder<I> {
    /// Of columns with at most `MOST_IN_16_BITS` thresholds.
    pub(crate) fn new(columns: &[Column], processor: Processor) -> Self {
        let mut features = Vec::new();
        let mut bytes = 0;
        for (first, column) in columns.iter().enumerate() {
            match &column.question {
                Question::Thresholds(thresholds) => {
                    assert!(thresholds.len() <= MOST_IN_16_BITS);
                    bytes += thresholds.len() * size_of::<I>() * 17 / 16 + 64 * size_of::<I>();
                    let lookup = Lookup::Thresholds(Ladder::new(thresholds));
                    features.push(FeatureCoder { feature: column.feature, first, lookup });
                }
                Question::Set(members) => match features.last_mut() {
                    Some(FeatureCoder { feature, lookup: Lookup::Lists(lists), .. })
                        if *feature == column.feature =>
                    {
                        lists.push(members.clone());
                    }
                    _ => {
                        let lookup = Lookup::Lists(vec![members.clone()]);
                        features.push(FeatureCoder { feature: column.feature, first, lookup });
                    }
                },
            }
        }
        let mut spare = SPARE;
        for feature in &mut features {
            if let Lookup::Lists(lists) = &feature.lookup {
                let members: usize = lists.iter().map(Vec::len).sum();
                bytes += members * size_of::<f64>();
                let own = EACH * members;
                if let Some(bits) = by_value(lists, own + spare) {
                    bytes += bits.len();
                    spare -= bits.len().saturating_sub(own);
                    let (width, sets) = (lists.len().div_ceil(8), lists.len());
                    feature.lookup = Lookup::Bits { bits, width, sets };
                }
            }
        }
        Self { features, columns: columns.len(), bytes, processor: processor.min(Processor::detected()) }
    }

    /// The codes of a row.
    pub(crate) fn width(&self) -> usize {
        2 * self.columns
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Writes the codes of a row: of column i, the low one to place 2i and the high one to 2i + 1. The low code is one
    /// more than the column's and 0 for what is missing, the high code is the column's and above all bounds for what is
    /// missing.
    pub(crate) fn code(&self, row: &[I], codes: &mut [u16]) {
        match self.processor {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: it is at most what this processor has.
            Processor::Avx2 | Processor::Avx512 => unsafe { self.code_avx2(row, codes) },
            _ => self.code_each(row, codes),
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn code_avx2(&self, row: &[I], codes: &mut [u16]) {
        self.code_each(row, codes);
    }

    #[inline(always)]
    fn code_each(&self, row: &[I], codes: &mut [u16]) {
        for FeatureCoder { feature, first, lookup } in &self.features {
            let value = row[*feature];
            let codes = &mut codes[2 * first..];
            match lookup {
                Lookup::Thresholds(ladder) => {
                    let code = ladder.below(value) as u16;
                    let is_missing = value.double().is_nan();
                    codes[0] = if is_missing { 0 } else { code + 1 };
                    codes[1] = if is_missing { MISSING_HIGH } else { code };
                }
                Lookup::Lists(lists) => {
                    let value = value.double();
                    for (members, pair) in lists.iter().zip(codes.chunks_exact_mut(2)) {
                        // One zero, as the members have.
                        let is_member =
                            members.binary_search_by(|member| member.total_cmp(&(value + 0.0))).is_ok();
                        pair.copy_from_slice(&pair_of(is_member, value.is_nan()));
                    }
                }
                Lookup::Bits { bits, width, sets } => {
                    let value = value.double();
                    let codes = &mut codes[..2 * sets];
                    // Numbers beyond the range become its end, and NaN 0.
                    let whole = value as usize;
                    let from = if whole as f64 == value { whole.saturating_mul(*width) } else { usize::MAX };
                    match bits.get(from..from.saturating_add(*width)) {
                        Some(bits) => {
                            for (bits, codes) in bits.iter().zip(codes.chunks_mut(16)) {
                                for (i, pair) in codes.chunks_exact_mut(2).enumerate() {
                                    pair.copy_from_slice(&pair_of(bits >> i & 1 == 1, false));
                                }
                            }
                        }
                        None => {
                            let pair = pair_of(false, value.is_nan());
                            codes.chunks_exact_mut(2).for_each(|codes| codes.copy_from_slice(&pair));
                        }
                    }
                }
            }
        }
    }
}

/// The low and the high code of a set.
#[inline(always)]
fn pair_of(is_member: bool, is_missing: bool) -> [u16; 2] {
    if is_missing { [0, MISSING_HIGH] } else { [2 - u16::from(is_member), 1 - u16::from(is_member)] }
}

/// A bit for each set and whole number up to the greatest member; `None` if a member is another number, or that takes
/// more bytes than `most`.
fn by_value(lists: &[Vec<f64>], most: usize) -> Option<Vec<u8>> {
    let is_whole =
        |member: &f64| *member >= 0.0 && *member <= f64::from(u32::MAX) && member.trunc() == *member;
    if !lists.iter().flatten().all(is_whole) {
        return None;
    }
    let width = lists.len().div_ceil(8);
    let values = lists.iter().flatten().map(|member| *member as usize + 1).max().unwrap_or(0);
    let bytes = values.checked_mul(width).filter(|bytes| *bytes <= most)?;
    let mut bits = vec![0; bytes];
    for (set, members) in lists.iter().enumerate() {
        for member in members {
            bits[*member as usize * width + set / 8] |= 1 << (set % 8);
        }
    }
    Some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trees::coded::Coded;
    use crate::trees::testing::{self, Shape};

    fn check<I: Element>(ensemble: &crate::trees::ensemble::Ensemble, seed: u64) {
        let coded = Coded::new(ensemble, MOST_IN_16_BITS);
        for processor in Processor::here() {
            let coder = PairCoder::<I>::new(&coded.columns, processor);
            let mut codes = vec![7; coder.width()];
            for row in testing::hard_rows::<I>(ensemble, 300, seed).chunks_exact(ensemble.features) {
                coder.code(row, &mut codes);
                for (column, pair) in coded.columns.iter().zip(codes.chunks_exact(2)) {
                    let value = row[column.feature].double();
                    let code = if value.is_nan() { 0 } else { column.code(value) as u16 };
                    let wanted = if value.is_nan() { [0, u16::MAX] } else { [code + 1, code] };
                    assert_eq!(pair, wanted, "{value} by {column:?}");
                }
            }
        }
    }

    #[test]
    fn codes_are_those_of_the_columns() {
        let usual = Shape { trees: 30, ..Shape::default() };
        for (seed, one_set_in, thresholds) in [(1, 0, 40), (2, 2, 300), (3, 1, 3), (4, 3, 5000)] {
            let shape = Shape { one_set_in, thresholds, leaves: 200, depth: 20, ..usual };
            check::<f32>(&testing::ensemble(shape, seed), seed);
            let shape = Shape { input: crate::trees::element::Real::F64, ..shape };
            check::<f64>(&testing::ensemble(shape, seed), seed);
        }
    }

    #[test]
    fn sets_of_many_features_take_little_memory() {
        let set = |feature| Column { feature, question: Question::Set(vec![65_000.0]) };
        let columns: Vec<_> = (0..1000).map(set).collect();
        let coder = PairCoder::<f32>::new(&columns, Processor::Plain);
        assert!(coder.bytes() <= SPARE + columns.len() * (EACH + size_of::<f64>()), "{}", coder.bytes());
        let mut codes = vec![7; coder.width()];
        coder.code(&[65_000.0; 1000], &mut codes);
        assert!(codes.as_chunks::<2>().0.iter().all(|pair| *pair == [1, 0]));
    }

    #[test]
    fn sets_of_any_numbers_are_lists() {
        assert_eq!(by_value(&[vec![0.0, 3.0], vec![3.0]], 4), Some(vec![1, 0, 0, 3]));
        for lists in [&[vec![-1.0]], &[vec![0.5]], &[vec![f64::INFINITY]], &[vec![4.0]]] {
            assert_eq!(by_value(lists, 4), None);
        }
    }
}
