//! How Python says which words are counted.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::fold;
use crate::rows::entries::Part;
use crate::rows::words::{Accents, Analyzer, Bag, CharacterSet, Places, Tokens};

/// Whether word characters and white space are tokens' characters, ranges of further ones, whether it
/// is all others; how many make a token, whether tokens are whole words, stop words.
#[derive(FromPyObject)]
struct TokenParts(bool, bool, Vec<(u32, u32)>, bool, usize, bool, Vec<String>);

/// Position of the text, whether it is folded, version of Unicode, whether capitals become small, what
/// becomes of accents, what terms are made of, tokens, sizes of terms, and terms or the number of places
/// for their hashes and whether these have signs.
#[derive(FromPyObject)]
pub struct BagParts(
    usize,
    bool,
    String,
    bool,
    String,
    String,
    TokenParts,
    (usize, usize),
    Vec<String>,
    Option<(u32, bool)>,
);

/// The bag of its parts.
pub fn bag(parts: BagParts) -> PyResult<Bag> {
    let BagParts(text, folded, unicode, lowercase, accents, analyzer, tokens, sizes, terms, hashing) = parts;
    let accents = match &*accents {
        "kept" => Accents::Kept,
        "stripped" => Accents::Stripped,
        "ascii" => Accents::Ascii,
        _ => return Err(PyValueError::new_err(format!("accents are not {accents}"))),
    };
    let analyzer = match &*analyzer {
        "words" => Analyzer::Words(made(tokens)),
        "characters" => Analyzer::Characters,
        "characters_of_words" => Analyzer::CharactersOfWords,
        _ => return Err(PyValueError::new_err(format!("terms are not made of {analyzer}"))),
    };
    let places = match hashing {
        Some((width, signed)) => Places::Hashed(width, signed),
        None => Places::listed(terms),
    };
    let bag = Bag::new(text, fold(folded), &unicode, lowercase, accents, analyzer, sizes, places);
    bag.ok_or_else(|| PyValueError::new_err(format!("Unicode {unicode} is not known")))
}

/// The part of the entries that an input has.
pub fn part(name: &str) -> PyResult<Part> {
    match name {
        "row" => Ok(Part::Row),
        "place" => Ok(Part::Place),
        "count" => Ok(Part::Count),
        _ => Err(PyValueError::new_err(format!("entries have no {name}"))),
    }
}

fn made(parts: TokenParts) -> Tokens {
    let TokenParts(word, space, ranges, excluded, shortest, whole_words, stop_words) = parts;
    let set = CharacterSet { word, space, ranges, excluded };
    Tokens { set, shortest, whole_words, stop_words: stop_words.into_iter().collect() }
}
