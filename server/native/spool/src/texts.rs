//! Texts as the sections of a block.

use std::collections::HashMap;

use crate::little_endian::u32_at;
use crate::record::Texts;
use crate::source::{Hasher, Treatment};

/// What stands for a missing value.
pub(crate) const MISSING: &[u8] = b"";

/// Texts of a section: their ends, after a 0, and their bytes.
pub(crate) struct TextColumn {
    ends: Vec<u8>,
    bytes: Vec<u8>,
}

impl Default for TextColumn {
    fn default() -> Self {
        Self { ends: vec![0; 4], bytes: Vec::new() }
    }
}

impl TextColumn {
    pub(crate) fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.extend_from_slice(&(self.bytes.len() as u32).to_le_bytes());
    }

    pub(crate) fn extend(&mut self, texts: Texts<'_>) {
        let base = self.bytes.len() as u32;
        for end in texts.ends.chunks_exact(4) {
            self.ends.extend_from_slice(&(base + u32_at(end, 0)).to_le_bytes());
        }
        self.bytes.extend_from_slice(texts.bytes);
    }

    /// Adds a value as its treatment says.
    pub(crate) fn push_treated(&mut self, how: Treatment, value: &[u8], hasher: &Hasher) {
        match how {
            Treatment::Keep => self.push(value),
            Treatment::Hash if !value.is_empty() => self.push(&hasher.digits(value)),
            Treatment::Drop | Treatment::Hash => self.push(MISSING),
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.ends.capacity() + self.bytes.capacity()
    }

    pub(crate) fn section(&self) -> [&[u8]; 2] {
        [&self.ends, &self.bytes]
    }

    pub(crate) fn clear(&mut self) {
        self.ends.truncate(4);
        self.bytes.clear();
    }
}

/// Texts of which most repeat an earlier one, such as the names of principals: each different one is there once.
///
/// A block has fewer texts than there are places: `Blocks` bounds its bytes, and each record has 64 or more.
#[derive(Default)]
pub(crate) struct RepeatedTexts {
    /// The place of each text among the different ones; empty as long as there is only one.
    places: Vec<u8>,
    different: TextColumn,
    /// The different values, before they were treated, with their places.
    known: HashMap<Box<[u8]>, u16>,
    /// The last value, and its place: most values are the same as the one before.
    last: Vec<u8>,
    last_place: u16,
    count: usize,
}

impl RepeatedTexts {
    /// Adds a value as its treatment says.
    #[inline]
    pub(crate) fn push_treated(&mut self, how: Treatment, value: &[u8], hasher: &Hasher) {
        let value = if how == Treatment::Drop { MISSING } else { value };
        if self.count == 0 || self.last != value {
            self.find(how, value, hasher);
        }
        if self.known.len() > 1 {
            self.places.extend_from_slice(&self.last_place.to_le_bytes());
        }
        self.count += 1;
    }

    /// Finds the place of a value that is not the last one.
    fn find(&mut self, how: Treatment, value: &[u8], hasher: &Hasher) {
        let next = self.known.len() as u16;
        self.last_place = match self.known.get(value) {
            Some(&place) => place,
            None => {
                self.known.insert(value.into(), next);
                self.different.push_treated(how, value, hasher);
                if next == 1 {
                    // All before were the first one.
                    self.places.resize(2 * self.count, 0);
                }
                next
            }
        };
        self.last.clear();
        self.last.extend_from_slice(value);
    }

    pub(crate) fn sections(&self) -> [[&[u8]; 2]; 2] {
        [[&self.places, &[]], self.different.section()]
    }

    /// About the bytes of its memory.
    pub(crate) fn capacity(&self) -> usize {
        let known = self.known.capacity() * size_of::<(Box<[u8]>, u16)>();
        self.places.capacity() + self.different.capacity() + known + self.last.capacity()
    }

    pub(crate) fn clear(&mut self) {
        self.places.clear();
        self.different.clear();
        self.known.clear();
        self.count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::little_endian::u16_at;
    use crate::reader::texts;

    /// The places and the different texts of values that are treated alike.
    fn kept(column: &mut RepeatedTexts, how: Treatment, values: &[&str]) -> (Vec<u16>, Vec<String>) {
        let hasher = Hasher::new(b"a key");
        column.clear();
        values.iter().for_each(|value| column.push_treated(how, value.as_bytes(), &hasher));
        let [[places, _], different] = column.sections();
        let places: Vec<u16> = places.chunks_exact(2).map(|place| u16_at(place, 0)).collect();
        let count = places.iter().max().map_or(values.len().min(1), |most| usize::from(*most) + 1);
        let different = different.concat();
        let different = texts(&different, count).expect("texts").into_iter();
        (places, different.map(|text| String::from_utf8(text.to_vec()).expect("UTF-8")).collect())
    }

    #[test]
    fn a_text_that_repeats_is_kept_once() {
        let column = &mut RepeatedTexts::default();
        let values = ["shop", "shop", "", "game", "shop", "", ""];
        assert_eq!(
            kept(column, Treatment::Keep, &values),
            (vec![0, 0, 1, 2, 0, 1, 1], ["shop", "", "game"].map(String::from).to_vec())
        );
        // The column is used again, and begins with the text that was the last one.
        assert_eq!(kept(column, Treatment::Keep, &["", "", ""]), (vec![], vec![String::new()]));
        assert_eq!(kept(column, Treatment::Keep, &[]), (vec![], vec![]));
    }

    #[test]
    fn dropped_texts_are_all_empty_and_hashed_ones_differ_as_the_texts_do() {
        let column = &mut RepeatedTexts::default();
        assert_eq!(kept(column, Treatment::Drop, &["a", "b"]), (vec![], vec![String::new()]));
        let (places, hashes) = kept(column, Treatment::Hash, &["a", "", "b", "a"]);
        assert_eq!(places, [0, 1, 2, 0]);
        assert_eq!(hashes.iter().map(String::len).collect::<Vec<_>>(), [32, 0, 32]);
        assert_ne!(hashes[0], hashes[2]);
    }

    #[test]
    fn a_block_of_the_most_records_has_a_place_for_each_text() {
        let column = &mut RepeatedTexts::default();
        let names: Vec<String> = (0..1 << 14).map(|number| format!("principal-{number}")).collect();
        let values: Vec<&str> = names.iter().map(String::as_str).collect();
        let (places, different) = kept(column, Treatment::Keep, &values);
        assert_eq!(places, (0..1 << 14).collect::<Vec<u16>>());
        assert_eq!(different, names);
    }
}
