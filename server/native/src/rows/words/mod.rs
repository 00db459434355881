//! Bags of words: texts are cut into terms, and the terms are counted, as in scikit-learn's text vectorizers.
//!
//! This is the same algorithm as scorewire_contract.words, and gives the same counts. The steps: the text is
//! folded and put into lower case, accents are stripped, the text is cut into tokens or characters, and each
//! n-gram of these is a term. A term has an index, from a vocabulary or from its hash.
//!
//! The memory is bounded by the size of the text: a term is a slice of the prepared text and never a copy, and
//! equal terms are merged as soon as many were counted.

pub(crate) mod characters;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::rows::vocabulary::Fold;
use characters::Characters;

/// Equal terms are merged when this many entries were counted, and each time that their number has doubled.
const MIN_MERGED: usize = 1 << 12;
/// The largest cost of one byte of text, in nanoseconds, for each size of n-grams: of words, and of characters.
const WORD_BYTE_NS: f64 = 15.0;
const CHARACTER_BYTE_NS: f64 = 60.0;

/// How accents are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accents {
    Kept,
    /// Removed, as by `strip_accents="unicode"`.
    Stripped,
    /// Removed with all that is not ASCII, as by `strip_accents="ascii"`.
    Ascii,
}

/// A set of characters: the union of word characters, white space and ranges.
pub(crate) struct CharacterSet {
    pub word: bool,
    pub space: bool,
    /// The first and the last code point of each range.
    pub ranges: Vec<(u32, u32)>,
    /// Whether the set has all characters but these.
    pub excluded: bool,
}

impl CharacterSet {
    fn has(&self, characters: &Characters, c: char) -> bool {
        let listed = |&(first, last): &(u32, u32)| (first..=last).contains(&(c as u32));
        let found = self.word && characters.is_word(c)
            || self.space && characters.is_space(c)
            || self.ranges.iter().any(listed);
        found != self.excluded
    }
}

/// What the n-grams are made of: scikit-learn's `analyzer`.
pub(crate) enum Analyzer {
    /// Tokens ("word").
    Words(Tokens),
    /// Characters of the whole text ("char").
    Characters,
    /// Characters of one word, with a space before and behind it ("char_wb").
    CharactersOfWords,
}

/// How tokens are found: as the longest runs of characters of a set.
pub(crate) struct Tokens {
    pub set: CharacterSet,
    /// The number of characters of the shortest token.
    pub shortest: usize,
    /// Whether a token must not touch another word character.
    pub whole_words: bool,
    /// Tokens that are left out.
    pub stop_words: HashSet<String, RandomState>,
}

/// Gives each term its index.
pub(crate) enum TermIndex {
    /// A vocabulary, and the length of its longest term in bytes. Other terms are not counted.
    Listed(HashMap<Box<str>, u32, RandomState>, usize),
    /// By hash: the number of indices, and whether a term with a negative hash counts -1.
    Hashed(u32, bool),
}

impl TermIndex {
    /// The index of a vocabulary, in the order of its terms.
    pub(crate) fn listed(terms: Vec<String>) -> Self {
        let longest = terms.iter().map(String::len).max().unwrap_or_default();
        Self::Listed(terms.into_iter().map(String::into_boxed_str).zip(0..).collect(), longest)
    }

    /// The number of indices.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Listed(terms, _) => terms.len(),
            Self::Hashed(width, _) => *width as usize,
        }
    }

    /// The index of a term, and what one occurrence counts. `None`: the term is not counted.
    #[inline]
    fn find(&self, term: &str) -> Option<(u32, f64)> {
        match self {
            Self::Listed(_, longest) if term.len() > *longest => None,
            Self::Listed(terms, _) => terms.get(term).map(|index| (*index, 1.0)),
            Self::Hashed(width, signed) => {
                let hash = murmur3(term.as_bytes());
                Some((hash.unsigned_abs() % width, if *signed && hash < 0 { -1.0 } else { 1.0 }))
            }
        }
    }
}

/// Counts the terms in the texts of one feature.
pub(crate) struct Bag {
    /// The position of the text in a row.
    pub text: usize,
    pub fold: Fold,
    pub lowercase: bool,
    pub accents: Accents,
    pub analyzer: Analyzer,
    /// The number of tokens or characters of the shortest and of the longest n-gram.
    pub min_n: usize,
    pub max_n: usize,
    pub terms: TermIndex,
    /// The characters of the version of Unicode that the model was fitted with.
    pub characters: Arc<Characters>,
}

/// Buffers for one text, which are used again for the next.
#[derive(Default)]
pub(crate) struct WordScratch {
    folded: Vec<u8>,
    /// The text in lower case, without accents.
    prepared: String,
    /// The text that `bounds` refers to.
    cut: String,
    /// Where each token or character begins and ends.
    bounds: Vec<Range<usize>>,
}

impl WordScratch {
    /// Frees memory: each buffer keeps a capacity of at most `max_kept`.
    pub(crate) fn release(&mut self, max_kept: usize) {
        self.folded = Vec::new();
        for text in [&mut self.prepared, &mut self.cut] {
            text.clear();
            text.shrink_to(max_kept);
        }
        self.bounds.clear();
        self.bounds.shrink_to(max_kept);
    }
}

impl Bag {
    /// The largest cost of one byte of text, in nanoseconds.
    pub(crate) fn byte_ns(&self) -> f64 {
        let sizes = (self.max_n + 1 - self.min_n) as f64;
        sizes * if matches!(self.analyzer, Analyzer::Words(_)) { WORD_BYTE_NS } else { CHARACTER_BYTE_NS }
    }

    /// Appends the counts of the terms of a text: pairs of index and count, by ascending index, each index once.
    pub(crate) fn count(&self, text: &[u8], scratch: &mut WordScratch, out: &mut Vec<(u32, f64)>) {
        let WordScratch { folded, prepared, cut, bounds } = scratch;
        let text = std::str::from_utf8(self.fold.apply(text, folded)).unwrap_or_default();
        self.prepare(text, prepared, cut);
        let mut counts = Counts::new(&self.terms, out);
        bounds.clear();
        match &self.analyzer {
            Analyzer::Words(tokens) => self.count_words(tokens, prepared, cut, bounds, &mut counts),
            Analyzer::Characters => {
                self.collapse_spaces(prepared, cut);
                bounds.extend(characters_of(cut));
                self.count_ngrams(cut, bounds, &mut counts);
            }
            Analyzer::CharactersOfWords => {
                for word in prepared.split(|c| self.characters.is_space(c)).filter(|word| !word.is_empty()) {
                    cut.clear();
                    cut.extend([" ", word, " "]);
                    bounds.clear();
                    bounds.extend(characters_of(cut));
                    self.count_ngrams_of_word(cut, bounds, &mut counts);
                }
            }
        }
        counts.merge();
    }

    /// Puts the text into lower case and strips its accents. The result is in `out`; `lowered` is a buffer.
    fn prepare(&self, text: &str, out: &mut String, lowered: &mut String) {
        out.clear();
        if self.accents == Accents::Kept && !self.lowercase {
            out.push_str(text);
            return;
        }
        if self.accents == Accents::Kept {
            return self.characters.lower(text, out);
        }
        let ascii = self.accents == Accents::Ascii;
        if !self.lowercase {
            return self.characters.strip(text, ascii, out);
        }
        lowered.clear();
        self.characters.lower(text, lowered);
        self.characters.strip(lowered, ascii, out);
    }

    /// Counts the n-grams of tokens. The tokens are joined with spaces in `joined`, so that an n-gram is a slice.
    fn count_words(
        &self,
        tokens: &Tokens,
        text: &str,
        joined: &mut String,
        bounds: &mut Vec<Range<usize>>,
        counts: &mut Counts<'_>,
    ) {
        joined.clear();
        let only_single = self.max_n == 1;
        tokens.each(&self.characters, text, |token| {
            if tokens.stop_words.contains(token) {
            } else if only_single {
                counts.add(token);
            } else {
                let start = joined.len() + usize::from(!joined.is_empty());
                joined.extend((start > 0).then_some(" "));
                joined.push_str(token);
                bounds.push(start..joined.len());
            }
        });
        self.count_ngrams(joined, bounds, counts);
    }

    /// Counts the n-grams of the tokens or characters between `bounds`.
    fn count_ngrams(&self, text: &str, bounds: &[Range<usize>], counts: &mut Counts<'_>) {
        for n in self.min_n..=self.max_n {
            for ngram in bounds.windows(n) {
                counts.add(&text[ngram[0].start..ngram[n - 1].end]);
            }
        }
    }

    /// Counts the n-grams of the characters of one word. A word that is not longer than `n` characters counts once
    /// as a whole, and longer n-grams are not counted then.
    fn count_ngrams_of_word(&self, word: &str, bounds: &[Range<usize>], counts: &mut Counts<'_>) {
        for n in self.min_n..=self.max_n {
            if n >= bounds.len() {
                return counts.add(word);
            }
            for ngram in bounds.windows(n) {
                counts.add(&word[ngram[0].start..ngram[n - 1].end]);
            }
        }
    }

    /// Replaces each run of two or more characters of white space by one space.
    fn collapse_spaces(&self, text: &str, out: &mut String) {
        out.clear();
        let is_space = |c: char| self.characters.is_space(c);
        let mut rest = text;
        while let Some(start) = rest.find(is_space) {
            let end = rest[start..].find(|c| !is_space(c)).map_or(rest.len(), |length| start + length);
            let spaces = &rest[start..end];
            out.push_str(&rest[..start]);
            out.push_str(if spaces.chars().nth(1).is_some() { " " } else { spaces });
            rest = &rest[end..];
        }
        out.push_str(rest);
    }
}

impl Tokens {
    /// Calls `found` with each token of a text.
    fn each<'a>(&self, characters: &Characters, text: &'a str, mut found: impl FnMut(&'a str)) {
        let inside = |c: char| self.set.has(characters, c);
        let mut rest = text;
        let mut before = None;
        while let Some(start) = rest.find(inside) {
            let end = rest[start..].find(|c| !inside(c)).map_or(rest.len(), |length| start + length);
            before = rest[..start].chars().next_back().or(before);
            let after = rest[end..].chars().next();
            let token = &rest[start..end];
            let touches = |c: Option<char>| self.whole_words && c.is_some_and(|c| characters.is_word(c));
            if !touches(before) && !touches(after) && has_characters(token, self.shortest) {
                found(token);
            }
            before = token.chars().next_back();
            rest = &rest[end..];
        }
    }
}

/// Whether a text has at least `count` characters.
fn has_characters(text: &str, count: usize) -> bool {
    text.len() >= count && (text.is_ascii() || text.chars().nth(count - 1).is_some())
}

/// Where each character of a text begins and ends.
fn characters_of(text: &str) -> impl Iterator<Item = Range<usize>> {
    text.char_indices().map(|(at, c)| at..at + c.len_utf8())
}

/// The counts of one text, which follow those of other texts in `out`.
struct Counts<'a> {
    terms: &'a TermIndex,
    out: &'a mut Vec<(u32, f64)>,
    /// Where the counts of this text begin in `out`.
    start: usize,
    /// The length of `out` at which equal terms are merged.
    merge_at: usize,
}

impl<'a> Counts<'a> {
    fn new(terms: &'a TermIndex, out: &'a mut Vec<(u32, f64)>) -> Self {
        let start = out.len();
        Self { terms, out, start, merge_at: start + MIN_MERGED }
    }

    /// Counts one occurrence of a term.
    #[inline]
    fn add(&mut self, term: &str) {
        if let Some(found) = self.terms.find(term) {
            if self.out.len() >= self.merge_at {
                self.merge();
                self.merge_at = self.start + (2 * (self.out.len() - self.start)).max(MIN_MERGED);
            }
            self.out.push(found);
        }
    }

    /// Sorts the counts by index, and adds the counts of equal indices. The counts are whole numbers, so the sums
    /// are exact in any order.
    fn merge(&mut self) {
        let own = &mut self.out[self.start..];
        own.sort_unstable_by_key(|(index, _)| *index);
        let mut kept = 0;
        for i in 1..own.len() {
            if own[kept].0 == own[i].0 {
                own[kept].1 += own[i].1;
            } else {
                kept += 1;
                own[kept] = own[i];
            }
        }
        let length = own.len().min(kept + 1);
        self.out.truncate(self.start + length);
    }
}

/// MurmurHash3 (x86, 32 bits, seed 0).
fn murmur3(data: &[u8]) -> i32 {
    let mix = |block: u32| block.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let mut state = 0_u32;
    let mut blocks = data.chunks_exact(4);
    for block in &mut blocks {
        state ^= mix(block.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte)));
        state = state.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    state ^= mix(blocks.remainder().iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte)));
    state ^= data.len() as u32;
    state = (state ^ state >> 16).wrapping_mul(0x85eb_ca6b);
    state = (state ^ state >> 13).wrapping_mul(0xc2b2_ae35);
    (state ^ state >> 16) as i32
}

#[cfg(test)]
mod tests;
