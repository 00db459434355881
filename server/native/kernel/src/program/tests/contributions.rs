//! Contributions to the sums of TreeEnsemble nodes.

use crate::contributions::{Choice, Contributions, Memory, Term};
use crate::program::tests::trees::{Trees, forest};
use crate::program::{Failure, Unsupported};
use crate::values::Values;

const FLOAT: i64 = 1;
const DOUBLE: i64 = 11;

fn term<'a>(features: &'a [u32], node_covers: &'a [f64], leaf_covers: &'a [f64]) -> Term<'a> {
    Term { ensemble: "y", features, node_covers, leaf_covers, scale: 1.0, first_margin: 0 }
}

/// Margins and contributions.
fn explain(made: &Contributions, rows: usize, inputs: &[Values<'_>], features: usize) -> [Vec<f64>; 2] {
    let count = rows * made.base().len();
    let (mut margins, mut values) = (vec![0.0; count], vec![0.0; count * features]);
    let mut memory = Memory::default();
    made.add(rows, inputs, &mut margins, &mut values, &mut memory, &|| false).expect("it is not stopped");
    [margins, values]
}

fn both(model: &[u8], terms: &[Term<'_>], features: usize, margins: usize) -> [Contributions; 2] {
    [false, true].map(|only_quadrature| {
        let choice = Choice { only_quadrature, ..Choice::default() };
        Contributions::with(model, terms, features, margins, choice).expect("the terms are right")
    })
}

#[test]
fn covers_belong_to_the_nodes_also_where_children_are_swapped() {
    // LEQ, LT, GTE, GT and EQ, with the leaf of the true branch first.
    for (mode, at_one) in [(0, true), (1, false), (2, true), (3, false), (4, true)] {
        let trees = Trees::new(1).stump(0, (mode, 1.0, true), 0, [8.0, 4.0]);
        let model = trees.graph(DOUBLE, 1).model();
        for made in both(&model, &[term(&[0], &[4.0], &[3.0, 1.0])], 1, 1) {
            assert_eq!(made.base(), [7.0]);
            let [margins, values] = explain(&made, 2, &[Values::F64(&[1.0, f64::NAN])], 1);
            let wanted = if at_one { [8.0, 8.0] } else { [4.0, 8.0] };
            assert_eq!(margins, wanted);
            assert_eq!(values, wanted.map(|margin| margin - 7.0));
        }
    }
}

#[test]
fn copies_of_a_tree_are_one_where_their_covers_are_the_same() {
    let stump = |trees: Trees, target, values| trees.stump(0, (0, 1.0, true), target, values);
    let trees = stump(stump(Trees::new(2), 0, [1.0, 2.0]), 1, [3.0, 5.0]);
    let model = trees.graph(FLOAT, 1).model();
    for (covers, base) in [([1.0, 1.0, 1.0, 1.0], [1.5, 4.0]), ([1.0, 1.0, 2.0, 0.0], [1.5, 3.0])] {
        for made in both(&model, &[term(&[0], &[2.0, 2.0], &covers)], 1, 2) {
            assert_eq!(made.base(), base);
            let [margins, values] = explain(&made, 1, &[Values::F32(&[2.0])], 1);
            assert_eq!(margins, [2.0, 5.0]);
            assert_eq!(values, [2.0 - base[0], 5.0 - base[1]]);
        }
    }
}

#[test]
fn terms_are_scaled_and_add_up() {
    let model = Trees::new(1).start(0, 0.5).stump(1, (0, 1.0, true), 0, [1.0, 3.0]).graph(FLOAT, 2).model();
    let covers = ([9.0, 2.0], [9.0, 1.0, 1.0]);
    let one = term(&[3, 0], &covers.0, &covers.1);
    let terms =
        [one, Term { scale: 2.0, first_margin: 1, features: &[3, 2], ..one }, Term { scale: -1.0, ..one }];
    for made in both(&model, &terms, 3, 2) {
        assert_eq!((made.widths(), made.doubles()), (vec![2; 3], vec![false; 3]));
        assert_eq!(made.base(), [0.0, 5.0]);
        let input = Values::F32(&[0.0, 0.0, 0.0, 2.0]);
        let [margins, values] = explain(&made, 2, &[input; 3], 3);
        assert_eq!(margins, [0.0, 3.0, 0.0, 7.0]);
        assert_eq!(values, [0.0, 0.0, 0.0, 0.0, 0.0, -2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0]);
    }
}

#[test]
fn what_makes_contributions_is_told() {
    let model = Trees::new(1).stump(0, (0, 1.0, true), 0, [8.0, 4.0]).graph(DOUBLE, 1).model();
    let terms = [term(&[0], &[4.0], &[3.0, 1.0])];
    let [tables, quadrature] = both(&model, &terms, 1, 1);
    assert!(tables.description().starts_with("tables, ") && tables.bytes() > 64 << 10);
    assert!(quadrature.description().starts_with("quadrature of 1 node, ") && quadrature.bytes() < 10_000);
    assert_eq!(Contributions::new(&model, &[], 1, 1).unwrap().description(), "no trees");
    let leaf = Trees::new(1).start(0, 0.5).graph(DOUBLE, 1).model();
    let made = Contributions::new(&leaf, &[term(&[1], &[1.0], &[1.0])], 1, 1).unwrap();
    assert!(made.description().starts_with("no splits, "));
    assert_eq!(explain(&made, 1, &[Values::F64(&[0.0])], 1), [vec![0.5], vec![0.0]]);
}

#[test]
fn a_stop_is_a_failure() {
    let model = Trees::new(1).stump(0, (0, 1.0, true), 0, [8.0, 4.0]).graph(DOUBLE, 1).model();
    for made in both(&model, &[term(&[0], &[4.0], &[3.0, 1.0])], 1, 1) {
        let (mut margins, mut values) = ([0.0], [0.0]);
        let mut memory = Memory::default();
        let inputs = [Values::F64(&[0.0])];
        let stopped = made.add(1, &inputs, &mut margins, &mut values, &mut memory, &|| true);
        assert_eq!(stopped, Err(Failure::Stopped));
    }
}

#[test]
fn terms_that_are_not_of_the_model_are_refused() {
    let model = forest().model();
    let (nodes, leaves) = ([1.0; 5], [1.0; 8]);
    let good = term(&[0, 1], &nodes, &leaves);
    assert!(Contributions::new(&model, &[good], 2, 2).is_ok());
    let told = |term: Term<'_>, margins: usize| {
        let Unsupported(told) = Contributions::new(&model, &[term], 2, margins).unwrap_err();
        told
    };
    assert_eq!(told(Term { ensemble: "x", ..good }, 2), "no trees have the output x");
    assert!(told(Term { node_covers: &nodes[1..], ..good }, 2).contains("another number"));
    assert!(told(Term { leaf_covers: &leaves[1..], ..good }, 2).contains("another number"));
    assert!(told(Term { features: &[0], ..good }, 2).contains("feature that there is not"));
    assert!(told(Term { features: &[2, 2], ..good }, 2).contains("without a feature"));
    assert!(told(Term { first_margin: usize::MAX, ..good }, 2).contains("margin that there is not"));
    assert!(told(good, 1).contains("margin that there is not"));
    assert!(told(Term { scale: f64::INFINITY, ..good }, 2).contains("not finite"));
    for wrong in [-1.0, f64::NAN, f64::INFINITY] {
        let wrong = [wrong; 8];
        assert!(told(Term { leaf_covers: &wrong, ..good }, 2).contains("a cover is"));
    }
    assert!(Contributions::new(b"no model", &[good], 2, 2).is_err());
}
