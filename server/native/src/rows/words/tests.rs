//! The counts of terms, which are those of scikit-learn's vectorizers.

use super::*;

fn tokens(pattern: &str) -> Tokens {
    let set = CharacterSet {
        word: pattern != "[a-z]",
        space: false,
        ranges: vec![('a'.into(), 'z'.into())],
        excluded: false,
    };
    let stop_words = HashSet::from_iter(["the".to_owned()]);
    Tokens { set, shortest: 2, whole_words: pattern == "[a-z]", stop_words }
}

fn bag(analyzer: Analyzer, sizes: (usize, usize), terms: &[&str]) -> Bag {
    let terms = TermIndex::listed(terms.iter().map(|&term| term.to_owned()).collect());
    Bag {
        text: 0,
        fold: Fold::None,
        lowercase: true,
        accents: Accents::Stripped,
        analyzer,
        min_n: sizes.0,
        max_n: sizes.1,
        terms,
        characters: Characters::of("15.1.0").unwrap(),
    }
}

fn count(bag: &Bag, text: &str) -> Vec<(u32, f64)> {
    let mut out = vec![(7, 7.0)];
    bag.count(text.as_bytes(), &mut WordScratch::default(), &mut out);
    out.split_off(1)
}

#[test]
fn words_are_counted_in_the_order_of_their_indices() {
    let words = bag(Analyzer::Words(tokens("word")), (1, 1), &["sea", "caf\u{301}e", "cafe", "a"]);
    assert_eq!(count(&words, "Caf\u{e9} a the sea, SEA the CAFE sea_"), [(0, 2.0), (2, 2.0)]);
    assert_eq!(count(&words, ""), []);
}

#[test]
fn a_text_is_folded_before_it_is_cut() {
    let terms = TermIndex::listed(vec!["ab cd".to_owned(), " ab".to_owned()]);
    let (lowercase, sizes) = (false, (3, 5));
    let fold = Fold::AsciiLowerStrip;
    let ngrams = Bag {
        fold,
        lowercase,
        accents: Accents::Kept,
        terms,
        characters: Characters::of("14.0.0").unwrap(),
        ..bag(Analyzer::Characters, sizes, &[])
    };
    assert_eq!(count(&ngrams, " AB CD "), [(0, 1.0)]);
}

#[test]
fn stop_words_are_left_out_before_words_are_joined() {
    let pairs = bag(Analyzer::Words(tokens("word")), (1, 2), &["big sea", "sea", "the sea"]);
    assert_eq!(count(&pairs, "Big the, sea"), [(0, 1.0), (1, 1.0)]);
}

#[test]
fn whole_words_touch_no_other_word_character() {
    let words = bag(Analyzer::Words(tokens("[a-z]")), (1, 1), &["ab", "cd", "ef"]);
    assert_eq!(count(&words, "ab ab1 1ab \u{4e2d}cd cd- ef"), [(0, 1.0), (1, 1.0), (2, 1.0)]);
}

#[test]
fn n_grams_of_characters_cross_spaces_that_are_collapsed() {
    let ngrams = bag(Analyzer::Characters, (2, 2), &["a ", " b", "\tb"]);
    assert_eq!(count(&ngrams, "a \n b\tb"), [(0, 1.0), (1, 1.0), (2, 1.0)]);
}

#[test]
fn a_word_shorter_than_the_n_grams_counts_once() {
    let ngrams = bag(Analyzer::CharactersOfWords, (3, 5), &[" a ", " ab", "ab ", " ab "]);
    assert_eq!(count(&ngrams, "a  ab"), [(0, 1.0), (1, 1.0), (2, 1.0), (3, 1.0)]);
}

#[test]
fn hashes_are_those_of_scikit_learn() {
    assert_eq!([murmur3(b""), murmur3(b"foo"), murmur3(b"words")], [0, -156_908_512, -1_964_897_834]);
    let terms = TermIndex::Hashed(10, true);
    assert_eq!(terms.find("foo"), Some((2, -1.0)));
}

#[test]
fn a_long_text_takes_memory_for_its_different_terms_only() {
    let words = bag(Analyzer::Words(tokens("word")), (1, 1), &["ab", "cd"]);
    let mut out = Vec::new();
    words.count("ab cd ab ".repeat(100_000).as_bytes(), &mut WordScratch::default(), &mut out);
    assert_eq!(out, [(0, 200_000.0), (1, 100_000.0)]);
    assert!(out.capacity() <= 2 * MIN_MERGED);
}
