use super::*;
use crate::protocol::reasons::{NOT_WHOLE, OUT_OF_RANGE};
use crate::rows::checks::NumberCheck;

const LIMIT: f64 = 1e30;

fn check(source: CheckSource, missing_allowed: bool) -> FeatureCheck {
    let refusals = ["missing", "range", "unknown", "whole"].map(|reason| reason.as_bytes().to_vec());
    FeatureCheck { source, missing_allowed, refusals }
}

fn number(position: usize, whole: bool) -> CheckSource {
    CheckSource::Number(NumberCheck { position, low: -LIMIT, high: LIMIT, whole })
}

fn examined(coder: &Coder, count: usize, numbers: &[f64], texts: &[&str]) -> CodingScratch {
    let mut request = Request::default();
    let rows = wire_texts(texts);
    let mut message = Vec::new();
    crate::protocol::protobuf::put_bytes_head(&mut message, 5, rows.len());
    message.extend_from_slice(&rows);
    request.decode(&message).unwrap();
    let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>();
    let mut scratch = CodingScratch::default();
    coder.examine(Rows { count, numbers: &bytes, texts: &request.texts, data: &message }, &mut scratch);
    scratch
}

fn wire_texts(texts: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for text in texts {
        crate::protocol::protobuf::put_bytes_head(&mut out, 3, text.len());
        out.extend_from_slice(text.as_bytes());
    }
    out
}

#[test]
fn the_room_of_a_huge_call_is_given_up() {
    let mut scratch =
        CodingScratch { codes: vec![0; 1 << 20], folded: vec![0; 1 << 20], ..CodingScratch::default() };
    scratch.kept.extend(0..1 << 20);
    scratch.errors.resize(1 << 20, RowError::new(0, 0, 0));
    scratch.release();
    let held = [scratch.codes.capacity(), scratch.kept.capacity(), scratch.errors.capacity()];
    assert!(held.iter().all(|&held| held <= 2 * KEPT) && scratch.folded.capacity() <= 2 * KEPT);
}

#[test]
fn texts_are_folded_in_ascii_only() {
    let mut folded = Vec::new();
    let mut fold = |text: &str| {
        String::from_utf8(Fold::AsciiLowerStrip.apply(text.as_bytes(), &mut folded).to_vec()).unwrap()
    };
    assert_eq!(fold(" \t\n\r\u{b}\u{c}De \n"), "de");
    assert_eq!(fold("\u{a0}D\u{130}\u{c9}"), "\u{a0}d\u{130}\u{c9}");
    assert_eq!(fold("  "), "");
    assert_eq!(fold("a B"), "a b");
}

#[test]
fn the_first_bad_feature_of_a_row_is_its_error() {
    let checks = vec![check(number(0, false), false), check(number(1, false), true)];
    let coder = Coder::new((2, 0), Vec::new(), Vec::new(), Vec::new(), checks);
    let nan = f64::NAN;
    let scratch = examined(&coder, 5, &[1.0, nan, nan, 1e31, -1e31, 0.0, 1.0, -1e31, LIMIT, -LIMIT], &[]);
    let found = scratch.errors.iter().map(|error| (error.row, error.check(), error.reason()));
    assert_eq!(found.collect::<Vec<_>>(), [(1, 0, MISSING), (2, 0, OUT_OF_RANGE), (3, 1, OUT_OF_RANGE)]);
    assert_eq!(scratch.kept, [0, 4]);
    assert_eq!(coder.refusal(&scratch.errors[0]), b"missing");
    assert_eq!(coder.refusal(&scratch.errors[1]), b"range");
}

#[test]
fn a_number_that_must_be_whole_is_first_in_range() {
    let bounds = NumberCheck { position: 0, low: 0.0, high: 255.0, whole: true };
    let coder = Coder::new(
        (1, 0),
        Vec::new(),
        Vec::new(),
        Vec::new(),
        vec![check(CheckSource::Number(bounds), false)],
    );
    let infinity = f64::INFINITY;
    let scratch = examined(&coder, 8, &[0.0, 255.0, -0.5, 255.5, 1.5, f64::NAN, infinity, -infinity], &[]);
    let found = scratch.errors.iter().map(|error| (error.row, error.reason())).collect::<Vec<_>>();
    let out = OUT_OF_RANGE;
    assert_eq!(found, [(2, out), (3, out), (4, NOT_WHOLE), (5, MISSING), (6, out), (7, out)]);
}

#[test]
fn texts_are_refused_where_they_are_missing_or_not_known() {
    let vocabulary = || Vocabulary::new(0, Fold::None, vec!["a".into(), "b".into()]);
    let strict = Coder::new(
        (0, 1),
        vec![vocabulary()],
        Vec::new(),
        Vec::new(),
        vec![check(CheckSource::Text(0, vec![0]), false)],
    );
    let scratch = examined(&strict, 4, &[], &["a", "", "c", "b"]);
    let found = scratch.errors.iter().map(|error| (error.row, error.reason())).collect::<Vec<_>>();
    assert_eq!(found, [(1, MISSING), (2, UNKNOWN)]);
    let lax = Coder::new(
        (0, 1),
        vec![vocabulary()],
        Vec::new(),
        Vec::new(),
        vec![check(CheckSource::Text(0, vec![]), true)],
    );
    let scratch = examined(&lax, 4, &[], &["a", "", "c", "b"]);
    assert!(scratch.errors.is_empty());
    assert_eq!(scratch.codes, [0, 2, 2, 1]);
}
