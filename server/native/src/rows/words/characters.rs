//! The properties of characters in one version of Unicode: the same as in scorewire_contract.unicode.
//!
//! A model counts the same terms for ever, whatever version of Unicode other software has. So the tables of all
//! versions are compiled in, and a bag names the version that the model was fitted with.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use foldhash::fast::RandomState;

/// The tables of all versions, older versions first. A version adds lines to those before it. This is a copy of
/// scorewire_contract/unicode.txt; proto/generate_unicode.py writes both files.
const TABLES: &str = include_str!("unicode.txt");

// The flags of a character.
const WORD: u8 = 1;
const CASED: u8 = 2;
const IGNORABLE: u8 = 4;
const HAS_LOWER: u8 = 8;
const HAS_STRIPPED: u8 = 16;
const SPACE: u8 = 32;

const SIGMA: char = '\u{3a3}';
const SMALL_SIGMA: char = '\u{3c3}';
const FINAL_SIGMA: char = '\u{3c2}';
/// White space, as in Python's `str.split` and regular expressions.
const SPACES: [(char, char); 10] = [
    ('\t', '\r'),
    ('\u{1c}', ' '),
    ('\u{85}', '\u{85}'),
    ('\u{a0}', '\u{a0}'),
    ('\u{1680}', '\u{1680}'),
    ('\u{2000}', '\u{200a}'),
    ('\u{2028}', '\u{2029}'),
    ('\u{202f}', '\u{202f}'),
    ('\u{205f}', '\u{205f}'),
    ('\u{3000}', '\u{3000}'),
];
const LAST: usize = char::MAX as usize;
/// The first of the syllables of Hangul, and their number.
const HANGUL: u32 = 0xac00;
const HANGUL_COUNT: u32 = 11_172;

/// The properties of characters in one version of Unicode.
pub(crate) struct Characters {
    /// The flags of each character, by code point.
    flags: Box<[u8]>,
    /// The lower case of characters that have one.
    lower: HashMap<char, Box<str>, RandomState>,
    /// Characters without their accents and marks, where they have some.
    stripped: HashMap<char, Box<str>, RandomState>,
}

/// The versions that were read, by name.
static CACHE: LazyLock<Mutex<HashMap<String, Arc<Characters>>>> = LazyLock::new(Mutex::default);

impl Characters {
    /// The characters of a version of Unicode, such as "15.1.0". `None`: the version is not in the tables.
    pub(crate) fn of(version: &str) -> Option<Arc<Self>> {
        let versions = TABLES.lines().filter_map(|line| line.split(' ').nth(1));
        // A version consists of its own lines and of all lines before them.
        let last = versions.enumerate().filter(|(_, name)| *name == version).last()?.0;
        let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
        let characters = cache.entry(version.to_owned()).or_insert_with(|| Arc::new(Self::read(last + 1)));
        Some(Arc::clone(characters))
    }

    /// Reads the first lines of the tables.
    fn read(line_count: usize) -> Self {
        let mut characters = Self {
            flags: vec![0; LAST + 1].into_boxed_slice(),
            lower: HashMap::default(),
            stripped: HashMap::default(),
        };
        for line in TABLES.lines().take(line_count) {
            let mut entries = line.split(' ');
            let kind = entries.next().unwrap_or_default();
            for entry in entries.skip(1) {
                characters.add(kind, entry);
            }
        }
        for (first, last) in SPACES {
            characters.mark(first as u32, last as u32, SPACE);
        }
        for code in (HANGUL..).take(HANGUL_COUNT as usize) {
            let syllable = char::from_u32(code).unwrap_or_default();
            characters.stripped.insert(syllable, decomposed(code - HANGUL));
        }
        characters.mark(HANGUL, HANGUL + HANGUL_COUNT - 1, HAS_STRIPPED);
        characters
    }

    /// Adds one entry of a table: "FIRST-LAST>TO+TO", in hexadecimal, where LAST and the targets may be missing.
    /// The last code point of the target grows with the character of the range.
    fn add(&mut self, kind: &str, entry: &str) {
        let code = |text: &str| u32::from_str_radix(text, 16).unwrap_or_default();
        let (span, to) = entry.split_once('>').unwrap_or((entry, ""));
        let (first, last) = span.split_once('-').unwrap_or((span, span));
        let (first, last) = (code(first), code(last));
        let (table, flag) = match kind {
            "word" => return self.mark(first, last, WORD),
            "cased" => return self.mark(first, last, CASED),
            "ignorable" => return self.mark(first, last, IGNORABLE),
            "lower" => (&mut self.lower, HAS_LOWER),
            _ => (&mut self.stripped, HAS_STRIPPED),
        };
        let to = to.split('+').filter(|text| !text.is_empty()).map(code).collect::<Vec<_>>();
        for i in 0..=last - first {
            let shifted = |(j, code): (usize, &u32)| if j + 1 == to.len() { code + i } else { *code };
            let text = to.iter().enumerate().map(shifted).filter_map(char::from_u32).collect::<String>();
            table.insert(char::from_u32(first + i).unwrap_or_default(), text.into_boxed_str());
        }
        self.mark(first, last, flag);
    }

    /// Sets a flag of the characters of a range.
    fn mark(&mut self, first: u32, last: u32, flag: u8) {
        for flags in &mut self.flags[first as usize..=last as usize] {
            *flags |= flag;
        }
    }

    fn has(&self, c: char, flag: u8) -> bool {
        self.flags[c as usize] & flag != 0
    }

    /// Whether a character is a word character (`\w`) of Python's regular expressions.
    pub(crate) fn is_word(&self, c: char) -> bool {
        self.has(c, WORD)
    }

    /// Whether a character is white space (`\s`) of Python's regular expressions.
    pub(crate) fn is_space(&self, c: char) -> bool {
        self.has(c, SPACE)
    }

    /// Appends the text in lower case, as Python's `str.lower` returns it.
    pub(crate) fn lower(&self, text: &str, out: &mut String) {
        if text.is_ascii() {
            let start = out.len();
            out.push_str(text);
            out[start..].make_ascii_lowercase();
            return;
        }
        for (at, c) in text.char_indices() {
            if c == SIGMA {
                out.push(if self.is_final(text, at) { FINAL_SIGMA } else { SMALL_SIGMA });
            } else if self.has(c, HAS_LOWER) {
                out.push_str(&self.lower[&c]);
            } else {
                out.push(c);
            }
        }
    }

    /// Whether the sigma at `at` ends a word: the character before it has case, and the one behind it has not.
    /// Characters that Unicode calls case-ignorable are passed over.
    fn is_final(&self, text: &str, at: usize) -> bool {
        let matters = |c: &char| !self.has(*c, IGNORABLE);
        let cased = |found: Option<char>| found.is_some_and(|c| self.has(c, CASED));
        cased(text[..at].chars().rev().find(matters))
            && !cased(text[at + SIGMA.len_utf8()..].chars().find(matters))
    }

    /// Appends the text without accents and marks: the text is decomposed (NFKD), and combining characters are
    /// left out. With `ascii`, all that is not ASCII then is left out, too.
    pub(crate) fn strip(&self, text: &str, ascii: bool, out: &mut String) {
        if text.is_ascii() {
            out.push_str(text);
            return;
        }
        for c in text.chars() {
            if !self.has(c, HAS_STRIPPED) {
                out.extend(Some(c).filter(|c| !ascii || c.is_ascii()));
            } else if ascii {
                out.extend(self.stripped[&c].chars().filter(char::is_ascii));
            } else {
                out.push_str(&self.stripped[&c]);
            }
        }
    }
}

/// The letters of a syllable of Hangul, by its index among the syllables (Unicode, section 3.12).
fn decomposed(index: u32) -> Box<str> {
    let (lead, vowel, tail) = (0x1100 + index / 588, 0x1161 + index % 588 / 28, 0x11a7 + index % 28);
    let letters = [lead, vowel, tail].into_iter().take(if index.is_multiple_of(28) { 2 } else { 3 });
    letters.filter_map(char::from_u32).collect::<String>().into_boxed_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lower(text: &str) -> String {
        let mut out = String::new();
        Characters::of("14.0.0").unwrap().lower(text, &mut out);
        out
    }

    fn strip(text: &str, ascii: bool) -> String {
        let mut out = String::new();
        Characters::of("14.0.0").unwrap().strip(text, ascii, &mut out);
        out
    }

    #[test]
    fn lower_case_is_that_of_python() {
        assert_eq!(lower("ABC Z"), "abc z");
        assert_eq!(lower("\u{130}I \u{1e9e}"), "i\u{307}i \u{df}");
        assert_eq!(
            lower("\u{391}\u{3a3} \u{3a3}\u{391} \u{391}\u{3a3}.\u{391} \u{391}'\u{3a3}"),
            "ας σα ας.α α'ς".replace("ας.α", "ασ.α")
        );
    }

    #[test]
    fn accents_are_stripped() {
        assert_eq!(strip("n\u{303} \u{e9}\u{fb01}\u{ac01}", false), "n efi\u{1100}\u{1161}\u{11a8}");
        assert_eq!(strip("\u{e9}\u{fb01} \u{4e2d}\u{df}x", true), "efi x");
        assert_eq!(strip("plain", true), "plain");
    }

    #[test]
    fn a_later_version_knows_more_characters() {
        let later = '\u{1e030}';
        assert!(!Characters::of("14.0.0").unwrap().is_word(later));
        assert!(Characters::of("15.0.0").unwrap().is_word(later));
        assert!(Characters::of("1.0").is_none());
    }
}
