//! How Python says which words are counted.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::rows::entries::EntryPart;
use crate::rows::vocabulary::Fold;
use crate::rows::words::characters::Characters;
use crate::rows::words::{Accents, Analyzer, Bag, CharacterSet, TermIndex, Tokens};

/// Which characters make up tokens, and which tokens count.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct TokenParts {
    /// Whether word characters are characters of tokens, and white space.
    word: bool,
    space: bool,
    /// Ranges of further characters.
    ranges: Vec<(u32, u32)>,
    /// Whether characters of tokens are all but those above.
    excluded: bool,
    /// The least number of characters of a token.
    shortest: usize,
    whole_words: bool,
    stop_words: Vec<String>,
}

/// How the texts of one feature are cut and counted.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(super) struct BagParts {
    /// The position of the text in a row.
    text: usize,
    fold: bool,
    unicode: String,
    lowercase: bool,
    accents: String,
    analyzer: String,
    tokens: TokenParts,
    /// The least and the largest number of tokens or characters of a term.
    sizes: (usize, usize),
    terms: Vec<String>,
    /// For terms that are hashed: the number of places, and whether counts have signs.
    hashing: Option<(u32, bool)>,
}

/// The bag of its parts.
pub(super) fn bag(parts: BagParts) -> PyResult<Bag> {
    let accents = match &*parts.accents {
        "kept" => Accents::Kept,
        "stripped" => Accents::Stripped,
        "ascii" => Accents::Ascii,
        other => return Err(PyValueError::new_err(format!("accents are not {other}"))),
    };
    let analyzer = match &*parts.analyzer {
        "words" => Analyzer::Words(tokens(parts.tokens)),
        "characters" => Analyzer::Characters,
        "characters_of_words" => Analyzer::CharactersOfWords,
        other => return Err(PyValueError::new_err(format!("terms are not made of {other}"))),
    };
    let terms = match parts.hashing {
        Some((width, signed)) => TermIndex::Hashed(width, signed),
        None => TermIndex::listed(parts.terms),
    };
    let unknown = || PyValueError::new_err(format!("Unicode {} is not known", parts.unicode));
    Ok(Bag {
        text: parts.text,
        fold: fold(parts.fold),
        lowercase: parts.lowercase,
        accents,
        analyzer,
        min_n: parts.sizes.0,
        max_n: parts.sizes.1,
        terms,
        characters: Characters::of(&parts.unicode).ok_or_else(unknown)?,
    })
}

pub(super) fn fold(folded: bool) -> Fold {
    if folded { Fold::AsciiLowerStrip } else { Fold::None }
}

/// The part of the entries that an input has.
pub(super) fn part(name: &str) -> PyResult<EntryPart> {
    match name {
        "row" => Ok(EntryPart::Row),
        "place" => Ok(EntryPart::Place),
        "count" => Ok(EntryPart::Count),
        _ => Err(PyValueError::new_err(format!("entries have no {name}"))),
    }
}

fn tokens(parts: TokenParts) -> Tokens {
    let TokenParts { word, space, ranges, excluded, shortest, whole_words, stop_words } = parts;
    let set = CharacterSet { word, space, ranges, excluded };
    Tokens { set, shortest, whole_words, stop_words: stop_words.into_iter().collect() }
}
