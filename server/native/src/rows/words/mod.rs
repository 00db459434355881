//! Texts cut into terms that are counted: scorewire_contract.words, once more.
//!
//! A text is cut within room of its own size: a term of several tokens or characters is a slice of what
//! was prepared, and what is counted is added up as soon as there is much of it.

pub(crate) mod characters;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::rows::vocabulary::Fold;
use characters::Characters;

/// TermIndex are added up once there are so many, and each time that they have doubled.
const MERGED: usize = 1 << 12;
/// Nanoseconds for a byte of a text and each size of its terms, at most: of words, and of characters.
const WORD_BYTE_NS: f64 = 15.0;
const CHARACTER_BYTE_NS: f64 = 60.0;

/// What becomes of accents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accents {
    Kept,
    Stripped,
    Ascii,
}

/// Some characters: word characters, white space and ranges, or all others.
pub(crate) struct CharacterSet {
    pub word: bool,
    pub space: bool,
    pub ranges: Vec<(u32, u32)>,
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

/// What terms are made of.
pub(crate) enum Analyzer {
    Words(Tokens),
    Characters,
    CharactersOfWords,
}

/// Tokens: the longest runs of some characters.
pub(crate) struct Tokens {
    pub set: CharacterSet,
    pub shortest: usize,
    pub whole_words: bool,
    pub stop_words: HashSet<String, RandomState>,
}

/// Where terms have their places.
pub(crate) enum TermIndex {
    /// Terms that are counted, and the bytes of the longest.
    Listed(HashMap<Box<str>, u32, RandomState>, usize),
    /// By hash: how many places, and whether a negative one counts -1.
    Hashed(u32, bool),
}

impl TermIndex {
    pub(crate) fn listed(terms: Vec<String>) -> Self {
        let longest = terms.iter().map(String::len).max().unwrap_or_default();
        Self::Listed(terms.into_iter().map(String::into_boxed_str).zip(0..).collect(), longest)
    }

    /// How many.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Listed(terms, _) => terms.len(),
            Self::Hashed(width, _) => *width as usize,
        }
    }

    #[inline]
    fn find(&self, term: &str) -> Option<(u32, f64)> {
        match self {
            Self::Listed(_, longest) if term.len() > *longest => None,
            Self::Listed(terms, _) => terms.get(term).map(|place| (*place, 1.0)),
            Self::Hashed(width, signed) => {
                let hash = murmur3(term.as_bytes());
                Some((hash.unsigned_abs() % width, if *signed && hash < 0 { -1.0 } else { 1.0 }))
            }
        }
    }
}

/// Cuts and counts the texts of one feature.
pub(crate) struct Bag {
    pub text: usize,
    pub fold: Fold,
    pub lowercase: bool,
    pub accents: Accents,
    pub analyzer: Analyzer,
    pub shortest: usize,
    pub longest: usize,
    pub terms: TermIndex,
    /// What the version of Unicode says that the model was fitted with.
    pub characters: Arc<Characters>,
}

/// Room for the cutting of one text, to be used again.
#[derive(Default)]
pub(crate) struct WordScratch {
    folded: Vec<u8>,
    prepared: String,
    other: String,
    /// Where tokens or characters begin and end.
    bounds: Vec<Range<usize>>,
}

impl WordScratch {
    /// Gives up what is beyond some bytes.
    pub(crate) fn release(&mut self, kept: usize) {
        self.folded = Vec::new();
        for text in [&mut self.prepared, &mut self.other] {
            text.clear();
            text.shrink_to(kept);
        }
        self.bounds.clear();
        self.bounds.shrink_to(kept);
    }
}

impl Bag {
    /// What a byte of its text may cost, in nanoseconds.
    pub(crate) fn byte_ns(&self) -> f64 {
        let sizes = (self.longest + 1 - self.shortest) as f64;
        sizes * if matches!(self.analyzer, Analyzer::Words(_)) { WORD_BYTE_NS } else { CHARACTER_BYTE_NS }
    }

    /// Appends the counts of a text's terms: places ascending, each once.
    pub(crate) fn count(&self, text: &[u8], scratch: &mut WordScratch, out: &mut Vec<(u32, f64)>) {
        let WordScratch { folded, prepared, other, bounds } = scratch;
        let text = std::str::from_utf8(self.fold.apply(text, folded)).unwrap_or_default();
        self.prepare(text, prepared, other);
        let mut counts = Counts::new(&self.terms, out);
        bounds.clear();
        match &self.analyzer {
            Analyzer::Words(tokens) => self.cut_words(tokens, prepared, other, bounds, &mut counts),
            Analyzer::Characters => {
                self.collapse_spaces(prepared, other);
                bounds.extend(characters_of(other));
                self.cut_runs(other, bounds, &mut counts);
            }
            Analyzer::CharactersOfWords => {
                for word in prepared.split(|c| self.characters.is_space(c)).filter(|word| !word.is_empty()) {
                    other.clear();
                    other.extend([" ", word, " "]);
                    bounds.clear();
                    bounds.extend(characters_of(other));
                    self.cut_word_runs(other, bounds, &mut counts);
                }
            }
        }
        counts.merge();
    }

    /// Small letters, and accents stripped; into `out`.
    fn prepare(&self, text: &str, out: &mut String, other: &mut String) {
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
        other.clear();
        self.characters.lower(text, other);
        self.characters.strip(other, ascii, out);
    }

    /// Joins the tokens by spaces in `joined`, and counts their runs.
    fn cut_words(
        &self,
        tokens: &Tokens,
        text: &str,
        joined: &mut String,
        bounds: &mut Vec<Range<usize>>,
        counts: &mut Counts<'_>,
    ) {
        joined.clear();
        let one = self.longest == 1;
        tokens.each(&self.characters, text, |token| {
            if tokens.stop_words.contains(token) {
            } else if one {
                counts.add(token);
            } else {
                let start = joined.len() + usize::from(!joined.is_empty());
                joined.extend((start > 0).then_some(" "));
                joined.push_str(token);
                bounds.push(start..joined.len());
            }
        });
        self.cut_runs(joined, bounds, counts);
    }

    /// Counts the runs of neighbours, of each size.
    fn cut_runs(&self, text: &str, bounds: &[Range<usize>], counts: &mut Counts<'_>) {
        for size in self.shortest..=self.longest {
            for run in bounds.windows(size) {
                counts.add(&text[run[0].start..run[size - 1].end]);
            }
        }
    }

    /// As `cut_runs` of one word; one that is shorter than the runs counts once.
    fn cut_word_runs(&self, word: &str, bounds: &[Range<usize>], counts: &mut Counts<'_>) {
        for size in self.shortest..=self.longest {
            if size >= bounds.len() {
                return counts.add(word);
            }
            for run in bounds.windows(size) {
                counts.add(&word[run[0].start..run[size - 1].end]);
            }
        }
    }

    /// Makes each run of two or more characters of white space one space.
    fn collapse_spaces(&self, text: &str, out: &mut String) {
        out.clear();
        let is_space = |c: char| self.characters.is_space(c);
        let mut rest = text;
        while let Some(start) = rest.find(is_space) {
            let end = rest[start..].find(|c| !is_space(c)).map_or(rest.len(), |length| start + length);
            let run = &rest[start..end];
            out.push_str(&rest[..start]);
            out.push_str(if run.chars().nth(1).is_some() { " " } else { run });
            rest = &rest[end..];
        }
        out.push_str(rest);
    }
}

impl Tokens {
    /// Calls `found` with each token of the text.
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
            if !touches(before) && !touches(after) && is_as_long(token, self.shortest) {
                found(token);
            }
            before = token.chars().next_back();
            rest = &rest[end..];
        }
    }
}

/// Whether a text has at least so many characters.
fn is_as_long(text: &str, characters: usize) -> bool {
    text.len() >= characters && (text.is_ascii() || text.chars().nth(characters - 1).is_some())
}

fn characters_of(text: &str) -> impl Iterator<Item = Range<usize>> {
    text.char_indices().map(|(at, c)| at..at + c.len_utf8())
}

/// The counts of one text, behind those of others.
struct Counts<'a> {
    terms: &'a TermIndex,
    out: &'a mut Vec<(u32, f64)>,
    start: usize,
    merge_at: usize,
}

impl<'a> Counts<'a> {
    fn new(terms: &'a TermIndex, out: &'a mut Vec<(u32, f64)>) -> Self {
        let start = out.len();
        Self { terms, out, start, merge_at: start + MERGED }
    }

    #[inline]
    fn add(&mut self, term: &str) {
        if let Some(found) = self.terms.find(term) {
            if self.out.len() >= self.merge_at {
                self.merge();
                self.merge_at = self.start + (2 * (self.out.len() - self.start)).max(MERGED);
            }
            self.out.push(found);
        }
    }

    /// Orders by place, and adds up what is at one; sums of ones are exact in any order.
    fn merge(&mut self) {
        let own = &mut self.out[self.start..];
        own.sort_unstable_by_key(|(place, _)| *place);
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
