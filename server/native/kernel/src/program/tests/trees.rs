//! TreeEnsemble: every mode, copies for targets, what comes before and after.

use crate::program::onnx::Data;
use crate::program::testing::{Answer, Attribute, Graph};
use crate::values::Values;

const FLOAT: i64 = 1;
const INT64: i64 = 7;
const DOUBLE: i64 = 11;

/// Trees in the form of ONNX.
#[derive(Debug, Clone, Default)]
pub(super) struct Trees {
    targets: i64,
    roots: Vec<i64>,
    features: Vec<i64>,
    modes: Vec<u8>,
    thresholds: Vec<f64>,
    missing_true: Vec<i64>,
    on_true: Vec<i64>,
    on_false: Vec<i64>,
    true_leaves: Vec<i64>,
    false_leaves: Vec<i64>,
    leaf_targets: Vec<i64>,
    leaf_values: Vec<f64>,
    members: Vec<f64>,
}

impl Trees {
    pub(super) fn new(targets: i64) -> Self {
        Self { targets, ..Self::default() }
    }

    fn leaf(&mut self, target: i64, value: f64) -> i64 {
        self.leaf_targets.push(target);
        self.leaf_values.push(value);
        self.leaf_values.len() as i64 - 1
    }

    fn node(&mut self, feature: i64, mode: u8, threshold: f64, missing_true: bool) -> usize {
        self.features.push(feature);
        self.modes.push(mode);
        self.thresholds.push(threshold);
        self.missing_true.push(i64::from(missing_true));
        for children in [&mut self.on_true, &mut self.on_false, &mut self.true_leaves, &mut self.false_leaves]
        {
            children.push(0);
        }
        self.features.len() - 1
    }

    /// A tree of one leaf.
    pub(super) fn start(mut self, target: i64, value: f64) -> Self {
        let (node, leaf) = (self.node(0, 0, 0.0, false), self.leaf(target, value));
        (self.on_true[node], self.on_false[node]) = (leaf, leaf);
        (self.true_leaves[node], self.false_leaves[node]) = (1, 1);
        self.roots.push(node as i64);
        self
    }

    /// A tree of one split, and what its two leaves add.
    pub(super) fn stump(
        mut self,
        feature: i64,
        (mode, threshold, missing_true): (u8, f64, bool),
        target: i64,
        values: [f64; 2],
    ) -> Self {
        let node = self.node(feature, mode, threshold, missing_true);
        (self.on_true[node], self.on_false[node]) =
            (self.leaf(target, values[0]), self.leaf(target, values[1]));
        (self.true_leaves[node], self.false_leaves[node]) = (1, 1);
        self.roots.push(node as i64);
        self
    }

    fn attributes(&self, is_double: bool) -> Vec<(&'static str, Attribute)> {
        let real = |values: &[f64]| {
            let data = if is_double {
                Data::F64(values.to_vec())
            } else {
                Data::F32(values.iter().map(|value| *value as f32).collect())
            };
            Attribute::Tensor(vec![values.len()], data)
        };
        let ints = |values: &[i64]| Attribute::Ints(values.to_vec());
        let mut attributes = vec![
            ("n_targets", Attribute::Int(self.targets)),
            ("aggregate_function", Attribute::Int(1)),
            ("post_transform", Attribute::Int(0)),
            ("tree_roots", ints(&self.roots)),
            ("nodes_featureids", ints(&self.features)),
            ("nodes_truenodeids", ints(&self.on_true)),
            ("nodes_falsenodeids", ints(&self.on_false)),
            ("nodes_trueleafs", ints(&self.true_leaves)),
            ("nodes_falseleafs", ints(&self.false_leaves)),
            ("nodes_missing_value_tracks_true", ints(&self.missing_true)),
            ("nodes_modes", Attribute::Modes(self.modes.clone())),
            ("nodes_splits", real(&self.thresholds)),
            ("leaf_targetids", ints(&self.leaf_targets)),
            ("leaf_weights", real(&self.leaf_values)),
        ];
        if !self.members.is_empty() {
            attributes.push(("membership_values", real(&self.members)));
        }
        attributes
    }

    pub(super) fn graph(&self, element: i64, width: usize) -> Graph {
        Graph::over(element, width)
            .node_with("TreeEnsemble", "x", "y", &self.attributes(element == DOUBLE))
            .output("y", element, self.targets as usize)
    }
}

/// A graph with trees of two targets, for other tests.
pub(super) fn forest() -> Graph {
    let mut trees = Trees::new(2)
        .start(0, 0.5)
        .start(1, -0.5)
        .stump(0, (0, 1.0, true), 0, [1.0, 2.0])
        .stump(0, (0, 1.0, true), 1, [3.0, 4.0])
        .stump(1, (6, 0.0, false), 1, [5.0, 6.0]);
    trees.members = vec![1.0, 4.0, f64::NAN];
    trees.graph(FLOAT, 2)
}

/// The attributes of one split over doubles.
pub(super) fn stump() -> Vec<(&'static str, Attribute)> {
    Trees::new(1).stump(0, (0, 1.0, true), 0, [1.0, 2.0]).attributes(true)
}

#[test]
fn every_mode_decides_as_onnx_says() {
    let x = [0.0, 1.0, 1.0_f64.next_up(), f64::INFINITY, f64::NAN];
    for missing_true in [false, true] {
        for (mode, holds) in
            [(0, [1, 1, 0, 0]), (1, [1, 0, 0, 0]), (2, [0, 1, 1, 1]), (3, [0, 0, 1, 1]), (4, [0, 1, 0, 0])]
        {
            let trees = Trees::new(1).stump(0, (mode, 1.0, missing_true), 0, [1.0, 0.0]);
            let mut wanted: Vec<f64> = holds.iter().map(|holds| f64::from(*holds)).collect();
            wanted.push(if missing_true { 1.0 } else { 0.0 });
            assert_eq!(trees.graph(DOUBLE, 1).of_doubles(&x), wanted, "mode {mode}, missing {missing_true}");
        }
    }
    let unequal = Trees::new(1).stump(0, (5, 1.0, false), 0, [1.0, 0.0]);
    assert_eq!(unequal.graph(DOUBLE, 1).refusal(), "nodes of mode 5 do not run here");
}

#[test]
fn nothing_compares_with_nan() {
    for mode in 0..5 {
        let trees = Trees::new(1).stump(0, (mode, f64::NAN, true), 0, [1.0, 0.0]);
        assert_eq!(trees.graph(DOUBLE, 1).of_doubles(&[1.0, f64::NAN]), [0.0, 1.0], "mode {mode}");
    }
}

#[test]
fn sets_end_with_nan() {
    let mut trees =
        Trees::new(1).stump(0, (6, 0.0, false), 0, [1.0, 0.0]).stump(0, (6, 0.0, true), 0, [10.0, 0.0]);
    trees.members = vec![2.0, 3.0, f64::NAN, 3.0, f64::NAN];
    let y = trees.graph(DOUBLE, 1).of_doubles(&[2.0, 3.0, 4.0, f64::NAN]);
    assert_eq!(y, [1.0, 11.0, 0.0, 10.0]);
    trees.members.pop();
    assert_eq!(trees.graph(DOUBLE, 1).refusal(), "a set of trees has no end");
}

#[test]
fn sums_start_at_the_first_leaves_and_keep_their_order() {
    let values = [1.0e8, -1.0e8, 0.3, 0.1, 0.2];
    let mut trees = Trees::new(1).start(0, 0.7);
    let mut sum = 0.7_f32;
    for value in values {
        trees = trees.stump(0, (0, 1.0, true), 0, [value, 0.0]);
        sum += value as f32;
    }
    let found = trees.graph(FLOAT, 1).run(&[Values::F32(&[0.0])]);
    assert_eq!(found, [Answer::F32(vec![sum])]);
}

#[test]
fn copies_of_a_tree_for_each_target_are_one_tree() {
    let found = forest().run(&[Values::F32(&[0.0, 4.0, 2.0, 0.0])]);
    assert_eq!(found, [Answer::F32(vec![1.5, 7.5, 2.5, 9.5])]);
    let ensemble = crate::program::compile::trees_of(&forest().model());
    assert_eq!((ensemble.base.as_slice(), ensemble.trees.len()), ([0.5, -0.5].as_slice(), 2));
    let entries: Vec<_> = ensemble.vectors.entries(ensemble.trees[0].leaves[0]).collect();
    assert_eq!(entries, [(0, 1.0), (1, 3.0)]);
    // The same splits for the same target are two trees.
    let twice = Trees::new(1).stump(0, (0, 1.0, true), 0, [1.0, 2.0]).stump(0, (0, 1.0, true), 0, [1.0, 2.0]);
    assert_eq!(twice.graph(DOUBLE, 1).of_doubles(&[0.0, 2.0]), [2.0, 4.0]);
}

#[test]
fn doubles_that_were_floats_are_scored_as_floats() {
    let threshold = 0.1;
    let trees = Trees::new(1).stump(1, (0, threshold, true), 0, [1.0, 0.0]);
    let graph = Graph::over(FLOAT, 3)
        .integers("places", &[2, 0])
        .node_with("Cast", "x", "doubles", &[("to", Attribute::Int(DOUBLE))])
        .node_on_axis("Gather", "doubles places", "picked", 1)
        .node_with("TreeEnsemble", "picked", "y", &trees.attributes(true))
        .output("y", DOUBLE, 1);
    let above = 0.1_f32;
    assert!(f64::from(above) > threshold);
    let x = [above, 0.0, 9.0, above.next_down(), 0.0, 9.0, f32::NAN, 0.0, 0.0];
    assert_eq!(graph.run(&[Values::F32(&x)]), [Answer::F64(vec![0.0, 1.0, 1.0])]);
    // Two steps: what the trees read, and the trees.
    let program = graph.compile().unwrap();
    assert_eq!(program.compiled.steps.len(), 2);
    // What scores so few trees is chosen by measurement.
    let description = program.description();
    assert!(description.ends_with(" kB") && !description.starts_with("no trees"), "{description}");
}

/// A graph over doubles x, [rows, 2], with some constants.
fn with_constants() -> Graph {
    Graph::over(DOUBLE, 2)
        .doubles("matrix", &[2, 2], &[0.1, 0.2, 0.3, 0.4])
        .doubles("number", &[], &[2.0])
        .integers("one", &[1])
        .constant("axis", &[], Data::I64(vec![1]))
}

/// The graph with trees that read the double `name`.
fn with_trees(graph: Graph, name: &str) -> Graph {
    let trees = Trees::new(1).stump(0, (0, 0.5, true), 0, [1.0, 0.0]);
    graph.node_with("TreeEnsemble", name, "y", &trees.attributes(true)).output("y", DOUBLE, 1)
}

#[test]
fn trees_do_not_read_what_differs_between_libraries() {
    for (operator, inputs) in [
        ("MatMul", "x matrix"),
        ("Gemm", "x matrix"),
        ("Softmax", "x"),
        ("ReduceSum", "x one"),
        ("ReduceMean", "x one"),
        ("ReduceSumSquare", "x one"),
        ("ReduceL1", "x one"),
        ("ReduceL2", "x one"),
        ("CumSum", "x axis"),
        ("Sum", "x x x"),
        ("Exp", "x"),
        ("Log", "x"),
        ("Pow", "x number"),
        ("Tanh", "x"),
        ("Sigmoid", "x"),
        ("Reciprocal", "x"),
    ] {
        let told = format!("trees read results of {operator}, whose last bits differ between libraries");
        let graph = || with_constants().node(operator, inputs, "made");
        assert_eq!(with_trees(graph(), "made").refusal(), told);
        // Also by way of exact operators, and of numbers that are chosen by it.
        let later = graph().node("Neg", "made", "negated").node_on_axis("Concat", "x negated", "both", 1);
        assert_eq!(with_trees(later, "both").refusal(), told);
        let chosen = graph().node("Less", "made number", "less").node("Where", "less x number", "chosen");
        assert_eq!(with_trees(chosen, "chosen").refusal(), told);
        // Beside the trees it does no harm.
        let beside = with_trees(graph().node("Neg", "made", "z").output("z", DOUBLE, 2), "x");
        assert!(beside.compile().is_ok(), "{operator}");
    }
}

#[test]
fn trees_read_what_is_exact() {
    for (operator, inputs) in [
        ("Add", "x number"),
        ("Sub", "x number"),
        ("Mul", "x number"),
        ("Div", "x number"),
        ("Min", "x number"),
        ("Clip", "x number"),
        ("Sqrt", "x"),
        ("Round", "x"),
        ("Relu", "x"),
        ("Flatten", "x"),
    ] {
        let graph = with_trees(with_constants().node(operator, inputs, "made"), "made");
        assert!(graph.compile().is_ok(), "{operator}");
    }
    // Sums of whole numbers have no rounding.
    let whole = Graph::over(INT64, 2)
        .constant("axis", &[], Data::I64(vec![1]))
        .node("CumSum", "x axis", "sums")
        .node_with("Cast", "sums", "made", &[("to", Attribute::Int(DOUBLE))]);
    assert_eq!(with_trees(whole, "made").run(&[Values::I64(&[0, 3])]), [Answer::F64(vec![1.0])]);
}

#[test]
fn the_score_of_trees_is_exact() {
    let wide = Trees::new(2).stump(0, (0, 0.5, true), 0, [1.0, 0.0]).stump(1, (0, 0.5, true), 1, [1.0, 0.0]);
    let scored = || with_constants().node_with("TreeEnsemble", "x", "scores", &wide.attributes(true));
    let summed = scored().node("MatMul", "scores matrix", "y").output("y", DOUBLE, 2);
    assert_eq!(summed.of_doubles(&[0.0, 0.0]), [0.1 + 0.3, 0.2 + 0.4]);
    assert_eq!(with_trees(scored(), "scores").of_doubles(&[0.0, 1.0]), [0.0]);
}

#[test]
fn a_classifier_has_the_bits_of_its_library() {
    let trees = Trees::new(1).start(0, 0.25).stump(0, (1, 1.0, true), 0, [0.3, -200.0]);
    let graph = Graph::over(FLOAT, 2)
        .constant("bound", &[], Data::F32(vec![88.7]))
        .constant("one", &[], Data::F32(vec![1.0]))
        .constant("half", &[], Data::F32(vec![0.5]))
        .node_with("TreeEnsemble", "x", "margin", &trees.attributes(false))
        .node("Neg", "margin", "negated")
        .node("Min", "negated bound", "bounded")
        .node("Exp", "bounded", "odds")
        .node("Add", "odds one", "sum")
        .node("Reciprocal", "sum", "positive")
        .node("Sub", "one positive", "rest")
        .node_on_axis("Concat", "rest positive", "both", 1)
        .node("Greater", "positive half", "second")
        .node_with("Cast", "second", "label", &[("to", Attribute::Int(INT64))])
        .node("Identity", "both", "probabilities")
        .output("probabilities", FLOAT, 2)
        .output("label", INT64, 1);
    let sigmoid = |margin: f32| 1.0 / ((-margin).min(88.7).exp() + 1.0);
    let wanted = [sigmoid(0.25 + 0.3), sigmoid(0.25 - 200.0)];
    assert!(wanted[1] > 0.0);
    let found = graph.run(&[Values::F32(&[0.5, 0.0, 1.0, 0.0])]);
    let probabilities = wanted.iter().flat_map(|positive| [1.0 - positive, *positive]).collect();
    assert_eq!(found, [Answer::F32(probabilities), Answer::I64(vec![1, 0])]);
}

#[test]
fn what_is_no_tree_is_refused() {
    let stump = || Trees::new(1).stump(0, (0, 1.0, true), 0, [1.0, 0.0]);
    let refusal = |change: fn(&mut Trees)| {
        let mut trees = stump();
        change(&mut trees);
        trees.graph(DOUBLE, 1).refusal()
    };
    assert!(refusal(|trees| trees.features[0] = 1).contains("feature that there is not"));
    assert!(refusal(|trees| trees.features[0] = -1).contains("negative number"));
    assert!(refusal(|trees| trees.on_true[0] = 2).contains("leaf that there is not"));
    assert!(refusal(|trees| trees.true_leaves[0] = 0).contains("two splits lead to one node"));
    assert!(refusal(|trees| trees.roots.push(0)).contains("two splits lead to one node"));
    assert!(refusal(|trees| trees.roots[0] = 5).contains("node that there is not"));
    assert!(refusal(|trees| trees.leaf_targets[0] = 1).contains("target that there is not"));
    assert!(refusal(|trees| trees.missing_true.push(1)).contains("different lengths"));
    let mut attributes = stump().attributes(true);
    attributes[1].1 = Attribute::Int(0);
    let averaged = Graph::over(DOUBLE, 1).node_with("TreeEnsemble", "x", "y", &attributes);
    assert_eq!(averaged.refusal(), "trees that are not summed do not run here");
    let narrow = Graph::over(FLOAT, 1).node_with("TreeEnsemble", "x", "y", &stump().attributes(true));
    assert!(narrow.refusal().contains("of a type that does not run here"));
}
