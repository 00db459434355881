//! What operators give, and which graphs are refused.

use crate::program::onnx::Data;
use crate::program::testing::{Answer, Attribute, Graph};
use crate::program::{Failure, Memory};
use crate::values::{Values, ValuesMut};

const FLOAT: i64 = 1;
const INT32: i64 = 6;
const INT64: i64 = 7;
const BOOL: i64 = 9;
const DOUBLE: i64 = 11;

/// A graph of doubles with one node, and its answer.
fn one_node(operator: &str, x: &[f64]) -> Vec<f64> {
    Graph::over(DOUBLE, 1).node(operator, "x", "y").output("y", DOUBLE, 1).of_doubles(x)
}

#[test]
fn functions_of_one_number() {
    assert_eq!(one_node("Neg", &[1.5, -0.0]), [-1.5, 0.0]);
    assert_eq!(one_node("Abs", &[-1.5, 2.0]), [1.5, 2.0]);
    assert_eq!(one_node("Sign", &[-1.5, 0.0, 7.0]), [-1.0, 0.0, 1.0]);
    assert!(one_node("Sign", &[f64::NAN])[0].is_nan());
    assert_eq!(one_node("Sqrt", &[2.0]), [2.0_f64.sqrt()]);
    assert_eq!(one_node("Reciprocal", &[4.0, 0.0]), [0.25, f64::INFINITY]);
    assert_eq!(one_node("Floor", &[-1.5]), [-2.0]);
    assert_eq!(one_node("Ceil", &[-1.5]), [-1.0]);
    assert_eq!(one_node("Round", &[0.5, 1.5, -2.5]), [0.0, 2.0, -2.0]);
    assert_eq!(one_node("Relu", &[-1.0, 2.0]), [0.0, 2.0]);
    assert_eq!(one_node("Sigmoid", &[0.0, 800.0, -800.0]), [0.5, 1.0, 0.0]);
    assert_eq!(one_node("Identity", &[3.0]), [3.0]);
}

#[test]
fn exponentials_and_logarithms_are_those_of_the_c_library() {
    unsafe extern "C" {
        safe fn expf(x: f32) -> f32;
        safe fn exp(x: f64) -> f64;
        safe fn log(x: f64) -> f64;
        safe fn tanh(x: f64) -> f64;
    }
    let x: Vec<f64> = (1..2000).map(|i| f64::from(i) * 0.037).collect();
    let of = |function: fn(f64) -> f64| x.iter().map(|x| function(*x)).collect::<Vec<_>>();
    assert_eq!(one_node("Exp", &x), of(|x| exp(x)));
    assert_eq!(one_node("Log", &x), of(|x| log(x)));
    assert_eq!(one_node("Tanh", &x), of(|x| tanh(x)));
    let floats: Vec<_> = x.iter().map(|x| *x as f32).collect();
    let graph = Graph::over(FLOAT, 1).node("Exp", "x", "y").output("y", FLOAT, 1);
    let wanted = floats.iter().map(|x| expf(*x)).collect();
    assert_eq!(graph.run(&[Values::F32(&floats)]), [Answer::F32(wanted)]);
}

/// x of two columns and a constant, by an operator.
fn with_constant(operator: &str, dims: &[usize], constant: &[f64], x: &[f64]) -> Vec<f64> {
    let graph = Graph::over(DOUBLE, 2).doubles("c", dims, constant).node(operator, "x c", "y");
    graph.output("y", DOUBLE, 2).of_doubles(x)
}

#[test]
fn constants_are_spread_over_rows_and_columns() {
    let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    assert_eq!(with_constant("Add", &[], &[10.0], &x), [11.0, 12.0, 13.0, 14.0, 15.0, 16.0]);
    assert_eq!(with_constant("Sub", &[2], &[1.0, 2.0], &x), [0.0, 0.0, 2.0, 2.0, 4.0, 4.0]);
    assert_eq!(with_constant("Mul", &[1, 2], &[1.0, 2.0], &x), [1.0, 4.0, 3.0, 8.0, 5.0, 12.0]);
    assert_eq!(with_constant("Div", &[1, 1], &[2.0], &x), [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]);
    assert_eq!(with_constant("Min", &[1], &[3.0], &x), [1.0, 2.0, 3.0, 3.0, 3.0, 3.0]);
    assert_eq!(with_constant("Max", &[1], &[3.0], &x), [3.0, 3.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(with_constant("Pow", &[1], &[2.0], &x), [1.0, 4.0, 9.0, 16.0, 25.0, 36.0]);
    let nothing = [f64::NAN, 1.0];
    assert!(with_constant("Max", &[], &[3.0], &nothing)[0].is_nan());
    assert!(with_constant("Min", &[], &[f64::NAN], &nothing).iter().all(|value| value.is_nan()));
}

#[test]
fn columns_of_one_number_are_spread() {
    let graph = Graph::over(DOUBLE, 3)
        .integers("first", &[0])
        .node_on_axis("Gather", "x first", "a", 1)
        .node("Sub", "x a", "y")
        .output("y", DOUBLE, 3);
    assert_eq!(graph.of_doubles(&[1.0, 2.0, 3.0, 10.0, 20.0, 31.0]), [0.0, 1.0, 2.0, 0.0, 10.0, 21.0]);
    let graph = Graph::over(DOUBLE, 3)
        .integers("last", &[-1])
        .node_on_axis("Gather", "x last", "a", 1)
        .node("Div", "a x", "y")
        .output("y", DOUBLE, 3);
    assert_eq!(graph.of_doubles(&[1.0, 2.0, 4.0]), [4.0, 2.0, 1.0]);
}

#[test]
fn a_remainder_has_the_sign_of_the_first() {
    let graph = Graph::over(DOUBLE, 1)
        .doubles("c", &[], &[1.0])
        .node_with("Mod", "x c", "y", &[("fmod", Attribute::Int(1))])
        .output("y", DOUBLE, 1);
    assert_eq!(graph.of_doubles(&[2.75, -2.75]), [0.75, -0.75]);
}

#[test]
fn conditions_choose() {
    let graph = Graph::over(DOUBLE, 3)
        .doubles("bounds", &[1, 3], &[1.0, 2.0, 3.0])
        .doubles("nan", &[], &[f64::NAN])
        .node("Abs", "x", "magnitude")
        .node("LessOrEqual", "magnitude bounds", "small")
        .node("Where", "small nan x", "y")
        .output("y", DOUBLE, 3);
    let y = graph.of_doubles(&[1.0, -2.5, -3.0, 1.5, 0.0, f64::NAN]);
    assert_eq!(format!("{y:?}"), "[NaN, -2.5, NaN, 1.5, NaN, NaN]");
    let filled = Graph::over(DOUBLE, 2)
        .doubles("means", &[2], &[7.0, 8.0])
        .node("IsNaN", "x", "missing")
        .node("Where", "missing means x", "y")
        .output("y", DOUBLE, 2);
    assert_eq!(filled.of_doubles(&[f64::NAN, 1.0, 2.0, f64::NAN]), [7.0, 1.0, 2.0, 8.0]);
    // A condition for the whole row.
    let whole = Graph::over(DOUBLE, 2)
        .integers("first", &[0])
        .doubles("zero", &[1], &[0.0])
        .node_on_axis("Gather", "x first", "a", 1)
        .node("Greater", "a zero", "above")
        .node("Where", "above x zero", "y")
        .output("y", DOUBLE, 2);
    assert_eq!(whole.of_doubles(&[1.0, 2.0, -1.0, 2.0]), [1.0, 2.0, 0.0, 0.0]);
}

#[test]
fn comparisons_and_logic_give_numbers_by_casts() {
    for (operator, wanted) in [
        ("Equal", [0.0, 1.0, 0.0, 0.0]),
        ("Less", [1.0, 0.0, 0.0, 0.0]),
        ("LessOrEqual", [1.0, 1.0, 0.0, 0.0]),
        ("Greater", [0.0, 0.0, 1.0, 0.0]),
        ("GreaterOrEqual", [0.0, 1.0, 1.0, 0.0]),
    ] {
        let graph = Graph::over(DOUBLE, 1)
            .doubles("c", &[1, 1], &[2.0])
            .node(operator, "x c", "holds")
            .node_with("Cast", "holds", "y", &[("to", Attribute::Int(DOUBLE))])
            .output("y", DOUBLE, 1);
        assert_eq!(graph.of_doubles(&[1.0, 2.0, 3.0, f64::NAN]), wanted, "{operator}");
    }
    for (operator, wanted) in [("And", [0, 0, 1]), ("Or", [0, 1, 1]), ("Xor", [0, 1, 0])] {
        let graph = Graph::over(DOUBLE, 2)
            .doubles("zero", &[], &[0.0])
            .node("Greater", "x zero", "above")
            .node_with("Split", "above", "a b", &[("axis", Attribute::Int(1))])
            .node(operator, "a b", "c")
            .node("Not", "c", "d")
            .node("Not", "d", "e")
            .node_with("Cast", "e", "y", &[("to", Attribute::Int(INT64))])
            .output("y", INT64, 1);
        let found = graph.run(&[Values::F64(&[-1.0, -1.0, 1.0, -1.0, 1.0, 1.0])]);
        assert_eq!(found, [Answer::I64(wanted.to_vec())], "{operator}");
    }
}

#[test]
fn numbers_move() {
    let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
    let graph = Graph::over(DOUBLE, 4).integers("places", &[3, 0, -4]);
    let gathered = graph.node_on_axis("Gather", "x places", "y", 1).output("y", DOUBLE, 3);
    assert_eq!(gathered.of_doubles(&x), [4.0, 1.0, 1.0, 8.0, 5.0, 5.0]);
    let parts = Graph::over(DOUBLE, 4)
        .integers("sizes", &[1, 3])
        .node_on_axis("Split", "x sizes", "a b", 1)
        .node_on_axis("Concat", "b a b", "y", 1)
        .output("y", DOUBLE, 7);
    assert_eq!(parts.of_doubles(&x[..4]), [2.0, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0]);
    let sliced = Graph::over(DOUBLE, 4)
        .integers("one", &[1])
        .integers("end", &[i64::MAX])
        .node("Slice", "x one end one", "y")
        .output("y", DOUBLE, 3);
    assert_eq!(sliced.of_doubles(&x), [2.0, 3.0, 4.0, 6.0, 7.0, 8.0]);
    let padded = Graph::over(DOUBLE, 2)
        .integers("pads", &[0, 1, 0, 2])
        .doubles("value", &[], &[9.0])
        .node("Pad", "x pads value", "y")
        .output("y", DOUBLE, 5);
    assert_eq!(padded.of_doubles(&[1.0, 2.0]), [9.0, 1.0, 2.0, 9.0, 9.0]);
}

#[test]
fn axes_within_a_row_work() {
    let cube = Graph::over(DOUBLE, 6)
        .integers("shape", &[-1, 2, 3])
        .integers("axis", &[2])
        .node("Reshape", "x shape", "cube")
        .node_with("ReduceSum", "cube axis", "y", &[("keepdims", Attribute::Int(0))])
        .output("y", DOUBLE, 2);
    assert_eq!(cube.of_doubles(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), [6.0, 15.0]);
    let across = Graph::over(DOUBLE, 6)
        .integers("shape", &[0, 2, -1])
        .integers("axis", &[1])
        .node("Reshape", "x shape", "cube")
        .node("CumSum", "cube axis", "sums")
        .node_with("ReduceMean", "sums", "y", &[("axes", Attribute::Ints(vec![-1]))])
        .output("y", DOUBLE, 2);
    assert_eq!(across.of_doubles(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), [2.0, 7.0]);
}

#[test]
fn reductions() {
    let reduce = |operator: &str, x: &[f64]| {
        let graph = Graph::over(DOUBLE, 3).integers("one", &[1]).node(operator, "x one", "y");
        graph.output("y", DOUBLE, 1).of_doubles(x)
    };
    let x = [1.0, -2.0, 4.0];
    assert_eq!(reduce("ReduceSum", &x), [3.0]);
    assert_eq!(reduce("ReduceMean", &x), [1.0]);
    for (operator, wanted) in [("ReduceMin", -2), ("ReduceMax", 4), ("ReduceSum", 3)] {
        let graph = Graph::over(INT64, 3).integers("one", &[1]).node(operator, "x one", "y");
        let found = graph.output("y", INT64, 1).run(&[Values::I64(&[1, -2, 4])]);
        assert_eq!(found, [Answer::I64(vec![wanted])], "{operator}");
    }
    assert_eq!(reduce("ReduceSumSquare", &x), [21.0]);
    assert_eq!(reduce("ReduceL1", &x), [7.0]);
    assert_eq!(reduce("ReduceL2", &[3.0, 0.0, 4.0]), [5.0]);
}

#[test]
fn products_of_matrices() {
    let product = Graph::over(DOUBLE, 2)
        .doubles("weights", &[2, 3], &[1.0, 2.0, 3.0, 10.0, 20.0, 30.0])
        .node("MatMul", "x weights", "y")
        .output("y", DOUBLE, 3);
    assert_eq!(product.of_doubles(&[1.0, 1.0, 0.0, 2.0]), [11.0, 22.0, 33.0, 20.0, 40.0, 60.0]);
    let weights: Vec<_> = (0..19).map(f64::from).collect();
    let line =
        Graph::over(DOUBLE, 19).doubles("weights", &[19, 1], &weights).node("MatMul", "x weights", "y");
    assert_eq!(line.output("y", DOUBLE, 1).of_doubles(&[1.0; 19]), [171.0]);
    let gemm = Graph::over(DOUBLE, 2)
        .doubles("weights", &[1, 2], &[1.0, 2.0])
        .doubles("bias", &[1], &[0.5])
        .node_with("Gemm", "x weights bias", "y", &[("transB", Attribute::Int(1))])
        .output("y", DOUBLE, 1);
    assert_eq!(gemm.of_doubles(&[1.0, 1.0]), [3.5]);
}

#[test]
fn products_with_large_matrices_are_left_to_onnxruntime() {
    let graph = |columns: usize| {
        Graph::over(DOUBLE, 64)
            .doubles("a", &[64, 64], &[1.0; 4096])
            .doubles("b", &[64, columns], &vec![1.0; 64 * columns])
            .node("MatMul", "x a", "product")
            .node("MatMul", "product b", "y")
            .output("y", DOUBLE, columns)
    };
    assert!(graph(64).compile().is_ok());
    assert_eq!(graph(65).refusal(), "products with so large matrices are faster in onnxruntime");
}

#[test]
fn shares_and_the_greatest_of_them() {
    let graph = Graph::over(FLOAT, 3)
        .node_on_axis("Softmax", "x", "shares", 1)
        .node_on_axis("ArgMax", "shares", "label", 1)
        .output("shares", FLOAT, 3)
        .output("label", INT64, 1);
    let found = graph.run(&[Values::F32(&[1.0, 1.0, 1.0, 0.0, 90.0, 1.0])]);
    assert_eq!(found[1], Answer::I64(vec![0, 1]));
    let Answer::F32(shares) = &found[0] else { panic!("shares are floats") };
    assert_eq!(shares[..3], [1.0 / 3.0; 3]);
    let last = Graph::over(DOUBLE, 2)
        .node_with(
            "ArgMax",
            "x",
            "label",
            &[("axis", Attribute::Int(-1)), ("select_last_index", Attribute::Int(1))],
        )
        .output("label", INT64, 1);
    assert_eq!(last.run(&[Values::F64(&[2.0, 2.0, 3.0, 1.0])]), [Answer::I64(vec![1, 0])]);
}

#[test]
fn rows_of_tables_are_looked_up() {
    let graph = Graph::over(INT64, 1)
        .doubles("table", &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
        .integers("one", &[1])
        .node("Squeeze", "x one", "place")
        .node("Gather", "table place", "y")
        .output("y", DOUBLE, 2);
    let found = graph.run(&[Values::I64(&[2, -3, 0])]);
    assert_eq!(found, [Answer::F64(vec![5.0, 6.0, 1.0, 2.0, 1.0, 2.0])]);
    let taken = Graph::over(DOUBLE, 3)
        .input("index", INT64, 2)
        .node_on_axis("GatherElements", "x index", "y", 1)
        .output("y", DOUBLE, 2);
    let found = taken.run(&[Values::F64(&[1.0, 2.0, 3.0]), Values::I64(&[2, -3])]);
    assert_eq!(found, [Answer::F64(vec![3.0, 1.0])]);
    for index in [3, -4, i64::MAX, i64::MIN] {
        let mut y = [0.0; 6];
        let inputs = [Values::I64(&[0, index, 0])];
        let outputs = &mut [ValuesMut::F64(&mut y)];
        let program = graph.compile().unwrap();
        let ran = program.run(3, &inputs, outputs, &mut Memory::default(), &|| false);
        assert_eq!(ran, Err(Failure::OutOfRange), "{index}");
        let inputs = [Values::F64(&[1.0, 2.0, 3.0]), Values::I64(&[0, index])];
        let outputs = &mut [ValuesMut::F64(&mut y[..2])];
        let program = taken.compile().unwrap();
        let ran = program.run(1, &inputs, outputs, &mut Memory::default(), &|| false);
        assert_eq!(ran, Err(Failure::OutOfRange), "{index}");
    }
}

#[test]
fn whole_numbers_and_truths_are_inputs() {
    let graph = Graph::default()
        .input("a", INT32, 1)
        .input("b", BOOL, 1)
        .node_with("Cast", "a", "c", &[("to", Attribute::Int(DOUBLE))])
        .node_with("Cast", "b", "d", &[("to", Attribute::Int(DOUBLE))])
        .node("Add", "c d", "y")
        .output("y", DOUBLE, 1);
    let found = graph.run(&[Values::I32(&[5, -7]), Values::Bool(&[true, false])]);
    assert_eq!(found, [Answer::F64(vec![6.0, -7.0])]);
    let widened = graph.run(&[Values::I64(&[5, -7]), Values::Bool(&[true, false])]);
    assert_eq!(widened, found);
    let overflowing = Graph::over(INT32, 1).node("Add", "x x", "y").output("y", INT32, 1);
    assert!(overflowing.refusal().contains("types that do not run here"));
    let of_a_table = Graph::over(INT64, 1)
        .listed("table", INT32, 5, &[i32::MAX.into(), 1])
        .node("Gather", "table x", "a")
        .node("Add", "a a", "b")
        .node_with("Cast", "b", "y", &[("to", Attribute::Int(DOUBLE))])
        .output("y", DOUBLE, 1);
    assert!(of_a_table.refusal().contains("types that do not run here"));
}

#[test]
fn whole_numbers_of_each_size_are_inputs() {
    // More rows than are computed at once.
    const ROWS: usize = 600;
    fn column<T: Copy>(ends: [T; 3]) -> Vec<T> {
        ends.into_iter().cycle().take(ROWS).collect()
    }
    let (i32s, i16s, i8s) =
        (column([i32::MIN, 0, i32::MAX]), column([i16::MIN, 0, i16::MAX]), column([i8::MIN, 0, i8::MAX]));
    let (u32s, u16s, u8s) = (column([0, 1, u32::MAX]), column([0, 1, u16::MAX]), column([0, 1, u8::MAX]));
    let each = [
        (INT32, Values::I32(&i32s), [f64::from(i32::MIN), 0.0, f64::from(i32::MAX)]),
        (5, Values::I16(&i16s), [-32_768.0, 0.0, 32_767.0]),
        (3, Values::I8(&i8s), [-128.0, 0.0, 127.0]),
        (12, Values::U32(&u32s), [0.0, 1.0, f64::from(u32::MAX)]),
        (4, Values::U16(&u16s), [0.0, 1.0, 65_535.0]),
        (2, Values::U8(&u8s), [0.0, 1.0, 255.0]),
    ];
    for (element, values, wanted) in each {
        let graph = Graph::over(element, 1)
            .node_with("Cast", "x", "y", &[("to", Attribute::Int(DOUBLE))])
            .output("y", DOUBLE, 1);
        assert_eq!(graph.run(&[values]), [Answer::F64(column(wanted))]);
    }
    assert_eq!(Graph::over(13, 1).refusal(), "the input x is of type 13");
}

#[test]
fn one_tensor_may_be_several_outputs() {
    let graph = Graph::over(DOUBLE, 1)
        .node("Neg", "x", "y")
        .node("Identity", "y", "z")
        .output("y", DOUBLE, 1)
        .output("z", DOUBLE, 1)
        .output("x", DOUBLE, 1);
    let found = graph.run(&[Values::F64(&[1.0, 2.0])]);
    let negated = Answer::F64(vec![-1.0, -2.0]);
    assert_eq!(found, [negated.clone(), negated, Answer::F64(vec![1.0, 2.0])]);
}

#[test]
fn what_does_not_run_here_is_said() {
    let reason = |graph: Graph| graph.refusal();
    let over = || Graph::over(DOUBLE, 2).integers("zero", &[0]).doubles("c", &[3, 2], &[0.0; 6]);
    assert_eq!(reason(over().node("Scan", "x", "y")), "the operator Scan does not run here");
    assert_eq!(reason(Graph::over(8, 1)), "the input x has texts");
    assert_eq!(reason(over().node("Add", "x c", "y")), "a constant has rows of its own");
    assert_eq!(
        reason(over().node("Softmax", "x _", "y y2")),
        "an output of the operator Softmax does not run here"
    );
    assert_eq!(reason(over().node_on_axis("ArgMax", "x", "y", 0)), "an operator works across rows");
    assert_eq!(
        reason(over().node_on_axis("ArgMax", "x", "y", 2)),
        "an operator names an axis that there is not"
    );
    assert_eq!(reason(over().output("y", DOUBLE, 1)), "the output y has no node");
    assert_eq!(reason(over().output("c", DOUBLE, 1)), "the output c is a constant");
    assert_eq!(
        reason(over().node("Neg", "x", "y").output("y", FLOAT, 2)),
        "the output y is of a type that does not run here"
    );
    assert_eq!(
        reason(Graph::over(DOUBLE, 1).input_of_rows("entries", INT64, "entries_0")),
        "the input entries has other rows than the other inputs"
    );
    let texts = Graph::over(DOUBLE, 1).constant("flags", &[1], Data::Bool(vec![true]));
    assert!(reason(texts.node("Add", "x flags", "y")).contains("types"));
}
