//! Bytes that are no model, and models that would take much memory.

use crate::program::onnx::Data;
use crate::program::testing::{Attribute, Graph};
use crate::program::tests::trees;
use crate::program::{Options, Program};
use crate::trees::FormName;
use crate::trees::testing::Random;

const DOUBLE: i64 = 11;

/// Compiles a model with each of the forms of trees, and runs what is made of it.
fn compile(model: &[u8], forms: &[FormName]) {
    for form in forms {
        let options = Options { form: Some(*form), ..Options::default() };
        if let Ok(program) = Program::compile(model, options) {
            let rows = 3;
            crate::program::testing::run_zeros(&program, rows);
        }
    }
}

/// Models, and the forms in which their trees are scored.
fn models() -> Vec<(Vec<u8>, &'static [FormName])> {
    let graph = Graph::over(DOUBLE, 3)
        .doubles("weights", &[3, 2], &[0.5; 6])
        .doubles("bias", &[1, 2], &[1.0, 2.0])
        .integers("places", &[2, 0])
        .integers("shape", &[-1, 1, 2])
        .integers("axes", &[1])
        .node("MatMul", "x weights", "product")
        .node("Add", "product bias", "sum")
        .node_on_axis("Gather", "x places", "picked", 1)
        .node_on_axis("Concat", "sum picked", "wide", 1)
        .node_on_axis("Split", "wide", "left right", 1)
        .node("Reshape", "left shape", "cube")
        .node("Squeeze", "cube axes", "flat")
        .node("Less", "flat right", "less")
        .node("Where", "less flat right", "chosen")
        .node_on_axis("Softmax", "chosen", "shares", 1)
        .node_on_axis("ArgMax", "shares", "label", 1)
        .node("ReduceSum", "shares axes", "total")
        .output("shares", DOUBLE, 2)
        .output("label", 7, 1)
        .output("total", DOUBLE, 1);
    vec![(graph.model(), &[FormName::Naive]), (trees::forest().model(), &FormName::ALL)]
}

#[test]
fn a_model_cut_anywhere_is_refused_without_a_panic() {
    for (model, forms) in models() {
        for end in 0..model.len() {
            compile(&model[..end], forms);
        }
    }
}

#[test]
fn flipped_bytes_do_no_harm() {
    let mut random = Random(77);
    for (model, forms) in models() {
        for _ in 0..3000 {
            let mut changed = model.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(changed.len());
                changed[at] = match random.below(3) {
                    0 => changed[at] ^ (1 << random.below(8)),
                    1 => [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
                    _ => random.below(256) as u8,
                };
            }
            compile(&changed, forms);
        }
    }
}

#[test]
fn a_tensor_that_doubles_again_and_again_is_refused() {
    let mut graph = Graph::over(DOUBLE, 2);
    for i in 0..60 {
        let before = if i == 0 { "x".to_owned() } else { format!("c{}", i - 1) };
        graph = graph.node_on_axis("Concat", &format!("{before} {before}"), &format!("c{i}"), 1);
    }
    assert_eq!(graph.refusal(), "the graph makes too many numbers of a row");
}

#[test]
fn sizes_that_overflow_are_refused() {
    let shape = Graph::over(DOUBLE, 2).integers("shape", &[-1, i64::MAX, i64::MAX]);
    assert_eq!(shape.node("Reshape", "x shape", "y").refusal(), "Reshape works across rows");
    let pads = Graph::over(DOUBLE, 2).integers("pads", &[0, i64::MAX, 0, i64::MAX]);
    assert!(pads.node("Pad", "x pads", "y").refusal().contains("too many numbers"));
    let wide = Graph::over(DOUBLE, usize::MAX >> 1);
    assert!(wide.refusal().contains("too wide"));
    let many = Graph::over(DOUBLE, 1).constant("c", &[usize::MAX >> 1, 8], Data::F64(vec![0.0]));
    let many = many.node("Add", "x c", "y");
    assert_eq!(many.refusal(), "the model cannot be read");
    let targets = [("n_targets", Attribute::Int(i64::MAX))];
    let trees = Graph::over(DOUBLE, 1).node_with("TreeEnsemble", "x", "y", &targets);
    assert_eq!(trees.refusal(), "trees have no targets, or too many");
}

#[test]
fn tensors_without_numbers_are_refused() {
    assert_eq!(
        Graph::over(DOUBLE, 0).node("Exp", "x", "y").output("y", DOUBLE, 0).refusal(),
        "a tensor has no numbers"
    );
    let sliced = Graph::over(DOUBLE, 2).integers("one", &[1]).node("Slice", "x one one one", "y");
    assert_eq!(sliced.output("y", DOUBLE, 0).refusal(), "a tensor has no numbers");
    // Without numbers a huge axis would take much memory and time, and no number would count.
    let padded = Graph::over(DOUBLE, 2)
        .integers("one", &[1])
        .node("Slice", "x one one one", "nothing")
        .integers("pads", &[0, 0, 1 << 40, 0, 0, 0])
        .node("Unsqueeze", "nothing one", "y")
        .node("Pad", "y pads", "z");
    assert_eq!(padded.refusal(), "a tensor has no numbers");
    let empty = Graph::over(DOUBLE, 1).constant("c", &[1 << 62, 0], Data::F64(vec![]));
    assert!(empty.node("Add", "x c", "y").node("Neg", "y", "z").output("z", DOUBLE, 1).compile().is_err());
}

#[test]
fn a_name_is_given_once() {
    let graph = Graph::over(DOUBLE, 1).node("Neg", "x", "y").node("Exp", "x", "y");
    assert_eq!(graph.refusal(), "two tensors have the name y");
    assert_eq!(Graph::over(DOUBLE, 1).node("Neg", "x", "x").refusal(), "two tensors have the name x");
    let later = Graph::over(DOUBLE, 1).node("Neg", "z", "y").node("Neg", "x", "z");
    assert!(later.refusal().contains("z"));
}

#[test]
fn many_nodes_take_time_in_proportion() {
    let mut chain = Graph::over(DOUBLE, 1);
    for i in 0..20_000 {
        let before = if i == 0 { "x".to_owned() } else { format!("c{}", i - 1) };
        chain = chain.node("Neg", &before, &format!("c{i}"));
    }
    assert_eq!(chain.output("c19999", DOUBLE, 1).of_doubles(&[2.0]), [2.0]);
    let (mut many, mut names) = (Graph::over(DOUBLE, 1), String::new());
    for i in 0..20_000 {
        many = many.doubles(&format!("k{i}"), &[], &[f64::from(i)]).node(
            "Add",
            &format!("x k{i}"),
            &format!("s{i}"),
        );
        names = format!("{names} s{i}");
    }
    let many = many.node_on_axis("Concat", names.trim(), "y", 1).output("y", DOUBLE, 20_000);
    assert_eq!(many.compile().unwrap().outputs()[0].width, 20_000);
}

#[test]
fn copies_of_wide_tensors_are_counted() {
    for operator in ["Slice", "Neg", "Split"] {
        let mut graph = Graph::over(DOUBLE, 1 << 20)
            .integers("zero", &[0])
            .integers("one", &[1])
            .integers("end", &[i64::MAX]);
        for i in 0..10 {
            let inputs = if operator == "Slice" { "x zero end one" } else { "x" };
            graph = graph.node_on_axis(operator, inputs, &format!("c{i}"), 1);
        }
        assert_eq!(graph.refusal(), "the graph makes too many numbers of a row", "{operator}");
    }
    // What reads much is counted, also where it writes little.
    let attributes = trees::stump();
    for operator in ["ReduceSum", "ArgMax", "GatherElements", "TreeEnsemble"] {
        let mut graph = Graph::over(DOUBLE, 1 << 20).input("i", 7, 1).integers("one", &[1]);
        for i in 0..10 {
            let output = format!("c{i}");
            graph = match operator {
                "TreeEnsemble" => graph.node_with(operator, "x", &output, &attributes),
                "ReduceSum" => graph.node(operator, "x one", &output),
                _ => graph.node_on_axis(operator, "x i", &output, 1),
            };
        }
        assert_eq!(graph.refusal(), "the graph makes too many numbers of a row", "{operator}");
    }
    let sum = Graph::over(DOUBLE, 1 << 20).node("Sum", "x x x x x x", "y");
    assert_eq!(sum.refusal(), "the graph makes too many numbers of a row");
}

#[test]
fn axes_are_few() {
    let mut graph = Graph::over(DOUBLE, 1).integers("one", &[1]);
    for i in 0..9 {
        let before = if i == 0 { "x".to_owned() } else { format!("c{}", i - 1) };
        graph = graph.node("Unsqueeze", &format!("{before} one"), &format!("c{i}"));
    }
    assert_eq!(graph.refusal(), "a tensor has too many axes");
    let ones = vec![1; 100_000];
    for (operator, inputs) in [
        ("Reshape", "x ones"),
        ("Squeeze", "x ones"),
        ("Unsqueeze", "x ones"),
        ("Slice", "x ones ones ones"),
        ("Split", "x ones"),
    ] {
        let graph = Graph::over(DOUBLE, 1).integers("ones", &ones).node_on_axis(operator, inputs, "y", 1);
        assert!(graph.compile().is_err(), "{operator}");
    }
}

#[test]
fn ensembles_are_counted() {
    let attributes = trees::stump();
    let mut graph = Graph::over(DOUBLE, 1);
    for i in 0..257 {
        graph = graph.node_with("TreeEnsemble", "x", &format!("y{i}"), &attributes);
    }
    assert_eq!(graph.refusal(), "the graph has too many ensembles of trees");
}
