//! Which byte of a row's table each split reads.
//!
//! A place is the low or the high copy of a column's code. Only those have a place that some split reads. The columns
//! of a feature are coded by one search over all its thresholds: a column's code is that count less the thresholds of
//! the columns before it. Places come in chunks of 32, each from a window of 32 searches.

use crate::trees::coded::{Coded, CodedSplit, Question};
use crate::trees::element::Element;
use crate::trees::search::levels::{Levels, MOST_SEARCHED, Search, SixteenNumbers, count_avx2};
use crate::trees::search::members::Members;

/// The searches of a window, and the places of a chunk.
pub(crate) const WINDOW: usize = 32;

/// The most chunks: a place is one byte.
pub(crate) const CHUNKS: usize = 8;

/// A vector of numbers of 16 bits.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct U16x32(pub [u16; WINDOW]);

impl U16x32 {
    pub(crate) const ZERO: Self = Self([0; WINDOW]);

    /// The numbers of several.
    pub(crate) fn flat(vectors: &mut [Self]) -> &mut [u16] {
        let count = vectors.len() * WINDOW;
        // SAFETY: `U16x32` is an array of its numbers.
        unsafe { std::slice::from_raw_parts_mut(vectors.as_mut_ptr().cast(), count) }
    }
}

/// Where the bytes of 32 places come from.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    pub window: usize,
    /// The search within the window, and 32 more for the high copy.
    pub from: U16x32,
    /// What is subtracted from its count.
    pub minus: U16x32,
}

/// How the table of a row is made.
#[derive(Debug, Clone)]
pub(crate) struct TableLayout<I> {
    levels: Levels<I>,
    /// A feature, and its search: those of one level, then of two, then of three.
    searches: Vec<(usize, Search)>,
    /// How many have at most one and at most two levels.
    ends: [usize; 2],
    /// A feature, and a set: the codes after those of the searches.
    sets: Vec<(usize, Members)>,
    pub chunks: Vec<Chunk>,
    /// The codes of missing values, of each window.
    pub missing: Vec<U16x32>,
    /// The places of the last chunk that are taken.
    taken: usize,
    /// Places by column, those for splits that send missing values to `on_true` as the second ones.
    places: Vec<[u8; 2]>,
}

/// What a column's code comes from.
#[derive(Clone, Copy)]
struct Source {
    /// The index of the search, or of the set.
    at: usize,
    is_set: bool,
    minus: usize,
}

impl<I: Element> TableLayout<I> {
    /// The places of all splits; `None` if there are more than 256.
    pub(crate) fn new(coded: &Coded) -> Option<Self> {
        let mut read = vec![[false; 2]; coded.columns.len()];
        for split in coded.trees.iter().flat_map(|tree| &tree.splits) {
            read[split.column][usize::from(split.missing_true)] = true;
        }
        if read.as_flattened().iter().filter(|is_read| **is_read).count() > WINDOW * CHUNKS {
            return None;
        }
        let (sources, wanted, sets) = sources(coded);
        let mut levels = Levels::new();
        let mut searches: Vec<(usize, (usize, Search))> = Vec::new();
        for (i, (feature, thresholds)) in wanted.iter().enumerate() {
            searches.push((i, (*feature, levels.push(thresholds))));
        }
        searches.sort_by_key(|(_, (_, search))| search.levels);
        let ends = [1, 2].map(|levels| searches.partition_point(|(_, (_, search))| search.levels <= levels));
        let mut order = vec![0; wanted.len()];
        for (at, (i, _)) in searches.iter().enumerate() {
            order[*i] = at;
        }
        let searches: Vec<_> = searches.into_iter().map(|(_, search)| search).collect();
        let mut missing = vec![U16x32::ZERO; (searches.len() + sets.len()).div_ceil(WINDOW)];
        let codes =
            searches.iter().map(|(_, search)| search.missing()).chain(sets.iter().map(|_| SET_MISSING));
        for (i, code) in codes.enumerate() {
            missing[i / WINDOW].0[i % WINDOW] = code;
        }
        let mut made = Self {
            levels,
            searches,
            ends,
            sets,
            chunks: Vec::new(),
            missing,
            taken: 0,
            places: vec![[0; 2]; coded.columns.len()],
        };
        made.place(&read, &sources, &order)?;
        Some(made)
    }

    /// Gives each copy that is read a place.
    fn place(&mut self, read: &[[bool; 2]], sources: &[Source], order: &[usize]) -> Option<()> {
        let from = |column: usize| {
            let source = sources[column];
            if source.is_set { self.searches.len() + source.at } else { order[source.at] }
        };
        let copies = |(column, [high, low]): (usize, &[bool; 2])| {
            let both = [(*high, false), (*low, true)].into_iter().filter(|(is_read, _)| *is_read);
            both.map(move |(_, low)| (from(column), column, low))
        };
        let mut listed: Vec<_> = read.iter().enumerate().flat_map(copies).collect();
        listed.sort_unstable();
        let mut taken = WINDOW;
        for (from, column, low) in listed {
            let window = from / WINDOW;
            if taken == WINDOW || self.chunks.last().is_some_and(|chunk| chunk.window != window) {
                self.chunks.push(Chunk { window, from: U16x32::ZERO, minus: U16x32::ZERO });
                taken = 0;
            }
            let at = self.chunks.len() - 1;
            self.chunks[at].from.0[taken] = (from % WINDOW + if low { 0 } else { WINDOW }) as u16;
            self.chunks[at].minus.0[taken] = sources[column].minus as u16;
            self.places[column][usize::from(low)] = u8::try_from(at * WINDOW + taken).ok()?;
            taken += 1;
        }
        self.taken = taken;
        Some(())
    }

    /// The place that a split reads, and the bound that its byte is compared to: above it is false.
    ///
    /// # Panics
    /// The split is not of the trees that the places are of.
    pub(crate) fn of(&self, split: &CodedSplit) -> (u8, u8) {
        let place = self.places[split.column][usize::from(split.missing_true)];
        (place, (split.bound + usize::from(split.missing_true)) as u8)
    }

    /// Vectors of 64 bytes that the table takes: 1, 2 or 4.
    pub(crate) fn lines(&self) -> usize {
        self.chunks.len().div_ceil(2).max(1).next_power_of_two()
    }

    /// The bytes of a table.
    pub(crate) fn bytes_of_table(&self) -> usize {
        self.chunks.len().saturating_sub(1) * WINDOW + self.taken
    }

    /// Writes the codes of a row's searches and sets, by functions that count the thresholds of a step that are not at
    /// least a value.
    ///
    /// # Panics
    /// The row is too short.
    #[inline(always)]
    pub(crate) fn codes(&self, row: &[I], codes: &mut [u16], count: impl Fn(&SixteenNumbers<I>, I) -> usize) {
        let Self { levels, searches, ends, sets, .. } = self;
        macro_rules! search {
            ($levels:literal, $range:expr) => {
                for (code, (feature, search)) in codes[$range].iter_mut().zip(&searches[$range]) {
                    let value = row[*feature];
                    // SAFETY: the ends part the searches by their levels.
                    *code = unsafe { levels.code::<$levels>(search, |step| count(step, value)) };
                }
            };
        }
        search!(1, ..ends[0]);
        search!(2, ends[0]..ends[1]);
        search!(3, ends[1]..searches.len());
        for (code, (feature, members)) in codes[searches.len()..].iter_mut().zip(sets) {
            let value = row[*feature];
            *code = if value.double().is_nan() { SET_MISSING } else { u16::from(!members.contain(value)) };
        }
    }

    /// Writes the table of a row, with AVX2.
    ///
    /// # Panics
    /// The row or the table is too short.
    #[inline]
    #[target_feature(enable = "avx2,popcnt")]
    pub(crate) fn table_avx2(&self, row: &[I], table: &mut [u8]) {
        let mut codes = [U16x32::ZERO; CHUNKS];
        self.codes(row, U16x32::flat(&mut codes), |step, value| count_avx2(step, value));
        let table = &mut table[..self.chunks.len() * WINDOW];
        for (i, chunk) in self.chunks.iter().enumerate() {
            let (codes, missing) = (&codes[chunk.window].0, &self.missing[chunk.window].0);
            // The low copies, and then the high ones.
            let mut copies = [U16x32::ZERO; 2];
            for at in 0..WINDOW {
                copies[0].0[at] = if codes[at] == missing[at] { 0 } else { codes[at] + 1 };
            }
            copies[1].0 = *codes;
            let copies = U16x32::flat(&mut copies);
            let mut counts = U16x32::ZERO;
            for at in 0..WINDOW {
                counts.0[at] = copies[usize::from(chunk.from.0[at]) % (2 * WINDOW)];
            }
            for at in 0..WINDOW {
                table[i * WINDOW + at] = counts.0[at].saturating_sub(chunk.minus.0[at]).min(255) as u8;
            }
        }
    }

    /// The bytes that they hold.
    pub(crate) fn bytes(&self) -> usize {
        let sets: usize = self.sets.iter().map(|(_, members)| members.bytes()).sum();
        self.levels.bytes()
            + size_of_val(&self.searches[..])
            + size_of_val(&self.sets[..])
            + sets
            + size_of_val(&self.chunks[..])
            + size_of_val(&self.missing[..])
            + size_of_val(&self.places[..])
    }
}

/// The code of a missing value in a set.
pub(crate) const SET_MISSING: u16 = 2;

/// The source of each column, the feature and the thresholds of each search, and the feature and the members of each
/// set.
type Sources = (Vec<Source>, Vec<(usize, Vec<f64>)>, Vec<(usize, Members)>);

fn sources(coded: &Coded) -> Sources {
    let (mut sources, mut searches, mut sets) = (Vec::new(), Vec::<(usize, Vec<f64>)>::new(), Vec::new());
    for column in &coded.columns {
        match &column.question {
            Question::Set(members) => {
                sources.push(Source { at: sets.len(), is_set: true, minus: 0 });
                sets.push((column.feature, Members::new(members)));
            }
            Question::Thresholds(thresholds) => {
                let fits = |(feature, before): &(usize, Vec<f64>)| {
                    *feature == column.feature && before.len() + thresholds.len() <= MOST_SEARCHED
                };
                if !searches.last().is_some_and(fits) {
                    searches.push((column.feature, Vec::new()));
                }
                let at = searches.len() - 1;
                sources.push(Source { at, is_set: false, minus: searches[at].1.len() });
                searches[at].1.extend(thresholds);
            }
        }
    }
    (sources, searches, sets)
}
