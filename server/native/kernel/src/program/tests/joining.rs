//! Steps that become one.

use crate::program::testing::{Answer, Graph};
use crate::values::Values;

const DOUBLE: i64 = 11;

#[test]
fn a_curve_written_four_times_is_computed_once() {
    let graph = Graph::over(DOUBLE, 2)
        .integers("places", &[0, 1])
        .node_on_axis("Concat", "x x x x", "wide", 1)
        .node("Exp", "wide", "exponentials")
        .node_on_axis("Gather", "exponentials places", "y", 1)
        .output("y", DOUBLE, 2);
    let program = graph.compile().unwrap();
    assert_eq!(program.description(), "no trees, 1 step");
    assert_eq!(graph.of_doubles(&[0.0, 1.0]), [1.0, 1.0_f64.exp()]);
}

#[test]
fn functions_in_a_row_are_one_step() {
    let graph = Graph::over(DOUBLE, 3)
        .integers("places", &[1, 2])
        .doubles("two", &[1, 1], &[2.0])
        .node_on_axis("Gather", "x places", "picked", 1)
        .node("Sub", "two picked", "a")
        .node("Mul", "a two", "b")
        .node("Abs", "b", "y")
        .node("Neg", "y", "c")
        .node("Add", "c two", "z")
        .output("y", DOUBLE, 2)
        .output("z", DOUBLE, 2);
    // y is read twice, so the steps before it are one, and those after it another.
    assert_eq!(graph.compile().unwrap().description(), "no trees, 2 steps");
    let found = graph.run(&[Values::F64(&[9.0, 1.0, 5.0, 9.0, 2.0, 0.0])]);
    let y = vec![2.0, 6.0, 0.0, 4.0];
    let z = y.iter().map(|y| 2.0 - y).collect();
    assert_eq!(found, [Answer::F64(y), Answer::F64(z)]);
}

#[test]
fn the_logarithm_of_one_plus_an_exponential_keeps_small_ones() {
    let graph = Graph::over(DOUBLE, 1)
        .doubles("one", &[], &[1.0])
        .node("Exp", "x", "e")
        .node("Add", "e one", "sum")
        .node("Log", "sum", "y")
        .output("y", DOUBLE, 1);
    assert_eq!(graph.of_doubles(&[-50.0, 2.0]), [(-50.0_f64).exp().ln_1p(), 2.0_f64.exp().ln_1p()]);
}

#[test]
fn logarithms_of_one_plus_exponentials_keep_their_places() {
    let x = [-45.0, 2.0, -30.0];
    let sum = || {
        Graph::over(DOUBLE, 3)
            .doubles("one", &[], &[1.0])
            .integers("first", &[0])
            .integers("second", &[1])
            .integers("end", &[i64::MAX])
            .integers("shape", &[-1, 3, 1])
            .integers("reversed", &[2, 1, 0])
            .node("Exp", "x", "e")
            .node("Add", "e one", "sum")
    };
    let exact = x.map(|x: f64| x.exp().ln_1p());
    let rounded = x.map(|x: f64| (x.exp() + 1.0).ln());
    assert_ne!(exact[0], rounded[0]);
    let whole = sum().node("Log", "sum", "y").output("y", DOUBLE, 3);
    assert_eq!(whole.of_doubles(&x), exact);
    let reshaped = sum().node("Reshape", "sum shape", "cube").node("Log", "cube", "log");
    let reshaped = reshaped.node_on_axis("Flatten", "log", "y", 1).output("y", DOUBLE, 3);
    assert_eq!(reshaped.of_doubles(&x), exact);
    let sliced = sum().node("Slice", "sum second end second", "part").node("Log", "part", "y");
    assert_eq!(sliced.output("y", DOUBLE, 2).of_doubles(&x), exact[1..]);
    let one = sum().node_on_axis("Gather", "sum second", "part", 1).node("Log", "part", "y");
    assert_eq!(one.output("y", DOUBLE, 1).of_doubles(&x), exact[1..2]);
    let column = Graph::over(DOUBLE, 3)
        .doubles("one", &[], &[1.0])
        .integers("third", &[2])
        .node("Exp", "x", "e")
        .node_on_axis("Gather", "e third", "part", 1)
        .node("Add", "part one", "sum")
        .node("Log", "sum", "y");
    assert_eq!(column.output("y", DOUBLE, 1).of_doubles(&x), exact[2..]);
    // Where the numbers are put together anew, the logarithm is that of the sum.
    let gathered = sum().node_on_axis("Gather", "sum reversed", "back", 1).node("Log", "back", "y");
    assert_eq!(gathered.output("y", DOUBLE, 3).of_doubles(&x), [rounded[2], rounded[1], rounded[0]]);
    let joined = sum()
        .node("Slice", "sum first second second", "part")
        .node("Abs", "x", "others")
        .node_on_axis("Concat", "part others", "wide", 1)
        .node("Log", "wide", "y");
    let logs = x.map(|x| x.abs().ln());
    assert_eq!(joined.output("y", DOUBLE, 4).of_doubles(&x), [rounded[0], logs[0], logs[1], logs[2]]);
}

#[test]
fn a_sum_that_is_read_again_keeps_its_own_logarithm() {
    let x = [-45.0, 2.0, -30.0];
    let rounded = x.map(|x: f64| (x.exp() + 1.0).ln());
    let graph = Graph::over(DOUBLE, 3)
        .doubles("one", &[], &[1.0])
        .integers("shape", &[-1, 3, 1])
        .node("Exp", "x", "e")
        .node("Add", "e one", "sum")
        .node("Reshape", "sum shape", "cube")
        .node("Log", "cube", "log")
        .node_on_axis("Flatten", "log", "y", 1);
    // By another node, under another name, or by the caller.
    let corrected = graph.clone().node("Sub", "sum one", "z").output("y", DOUBLE, 3).output("z", DOUBLE, 3);
    let told = graph.output("y", DOUBLE, 3).output("sum", DOUBLE, 3);
    for graph in [corrected, told] {
        assert_eq!(graph.run(&[Values::F64(&x)])[0], Answer::F64(rounded.to_vec()));
    }
}

#[test]
fn a_logarithm_that_no_output_needs_leaves_its_sum_to_others() {
    let graph = Graph::over(DOUBLE, 1)
        .doubles("one", &[], &[1.0])
        .node("Exp", "x", "e")
        .node("Add", "e one", "sum")
        .node("Log", "sum", "unused")
        .node("Sub", "sum x", "y")
        .output("y", DOUBLE, 1);
    assert_eq!(graph.of_doubles(&[0.0]), [2.0]);
}
