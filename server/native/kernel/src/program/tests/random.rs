//! Graphs of random nodes.

use crate::program::Memory;
use crate::program::onnx::Data;
use crate::program::testing::{Answer, Attribute, Graph, try_rows};
use crate::program::tests::trees;
use crate::trees::testing::Random;
use crate::values::Values;

const DOUBLE: i64 = 11;

/// Adds a node of any operator, with inputs and attributes at random.
fn with_random_node(graph: &Graph, names: &[String], made: &str, random: &mut Random) -> Graph {
    #[rustfmt::skip]
    const OPERATORS: [&str; 62] = [
        "Neg", "Abs", "Sign", "Exp", "Log", "Sqrt", "Reciprocal", "Floor", "Ceil", "Round", "Tanh", "Sigmoid", "Relu",
        "Add", "Sum", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Mod", "Clip", "Equal", "Less", "LessOrEqual",
        "Greater", "GreaterOrEqual", "And", "Or", "Xor", "Not", "IsNaN", "Where", "Cast", "Cast", "Identity", "Split",
        "Gather", "GatherElements", "Concat", "Slice", "Pad", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "MatMul",
        "Gemm", "Softmax", "ArgMax", "CumSum", "ReduceSum", "ReduceMean", "ReduceMin", "ReduceMax", "ReduceSumSquare",
        "ReduceL1", "ReduceL2", "TreeEnsemble", "Constant", "Unknown",
    ];
    let operator = OPERATORS[random.below(OPERATORS.len())];
    let inputs: Vec<_> = (0..=random.below(4)).map(|_| names[random.below(names.len())].as_str()).collect();
    let mut attributes = match operator {
        "TreeEnsemble" => trees::stump(),
        "Cast" => vec![("to", Attribute::Int([1, 7, 9, 11][random.below(4)]))],
        "Gemm" => vec![("transB", Attribute::Int(random.below(2) as i64))],
        "Mod" => vec![("fmod", Attribute::Int(1))],
        _ => vec![("axis", Attribute::Int([1, 1, 1, 2, -1, 0, i64::MIN][random.below(7)]))],
    };
    if operator.starts_with("Reduce") || operator == "ArgMax" {
        attributes.push(("keepdims", Attribute::Int(random.below(2) as i64)));
    }
    graph.clone().node_with(operator, &inputs.join(" "), made, &attributes)
}

/// Graphs of random nodes: each node is refused or runs, and each row gives the same alone and among others. For so
/// many seconds as `FUZZ_SECONDS` says, else 2.
#[test]
fn random_graphs_do_no_harm() {
    const ROWS: usize = 7;
    let asked = std::env::var("FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let (begin, limit) = (std::time::Instant::now(), std::time::Duration::from_secs(asked.unwrap_or(2)));
    let first = asked.map_or(1, |_| u64::from(std::process::id()) << 20);
    let base = Graph::over(DOUBLE, 3)
        .input("f", 1, 3)
        .input("i", 7, 2)
        .input("n", 6, 1)
        .input("b", 9, 1)
        .doubles("number", &[], &[0.5])
        .doubles("unit", &[], &[1.0])
        .doubles("matrix", &[3, 2], &[0.5, -1.0, f64::NAN, 3.0, 1e300, 0.0])
        .doubles("row", &[1, 3], &[0.0, -0.0, f64::INFINITY])
        .constant("floats", &[3], Data::F32(vec![1.0, 2.0, -3.0]))
        .constant("whole", &[], Data::I64(vec![1]))
        .integers("places", &[1, 0])
        .integers("shape", &[-1, 1, 3])
        .integers("one", &[1])
        .integers("odd", &[0, i64::MAX, i64::MIN, -1])
        .integers("pads", &[0, 1, 0, 2]);
    let known = "x f i n b number unit matrix row floats whole places shape one odd pads";
    let (mut nodes, mut runs) = (0, 0);
    for seed in first.. {
        if begin.elapsed() > limit {
            break;
        }
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            random.next();
        }
        let mut names: Vec<_> = known.split(' ').map(str::to_owned).collect();
        let (mut graph, mut outputs) = (base.clone(), Vec::new());
        for i in 0..60 {
            let made = format!("t{i}");
            let more = with_random_node(&graph, &names, &made, &mut random);
            let element = [DOUBLE, 1, 7]
                .into_iter()
                .find(|element| more.clone().output(&made, *element, 1).compile().is_ok());
            let is_truth = || {
                more.clone().node("Not", &made, "not").node_with(
                    "Cast",
                    "not",
                    "cast",
                    &[("to", Attribute::Int(DOUBLE))],
                )
            };
            if element.is_some() || is_truth().output("cast", DOUBLE, 1).compile().is_ok() {
                outputs.extend(element.map(|element| (made.clone(), element)));
                (graph, nodes) = (more, nodes + 1);
                names.push(made);
            }
        }
        for (name, element) in &outputs {
            graph = graph.output(name, *element, 1);
        }
        let Ok(program) = graph.compile() else { continue };
        let special = [0.0, -0.0, 1.0, -2.5, 1e308, f64::NAN, f64::INFINITY, 5e-324];
        let x: Vec<_> = (0..3 * ROWS).map(|_| special[random.below(special.len())]).collect();
        let f: Vec<_> = x.iter().map(|value| *value as f32).collect();
        let i: Vec<_> = (0..2 * ROWS)
            .map(|_| [0, 1, -1, 2, i64::MIN][random.below(if seed % 2 == 0 { 2 } else { 5 })])
            .collect();
        let n: Vec<_> = (0..ROWS).map(|_| [0, 1, -1, i32::MIN][random.below(4)]).collect();
        let b: Vec<_> = (0..ROWS).map(|_| random.below(2) == 1).collect();
        let mut memory = Memory::default();
        let mut run = |rows: std::ops::Range<usize>| {
            let (count, of) = (rows.len(), |width: usize| rows.start * width..rows.end * width);
            let inputs = [
                Values::F64(&x[of(3)]),
                Values::F32(&f[of(3)]),
                Values::I64(&i[of(2)]),
                Values::I32(&n[of(1)]),
                Values::Bool(&b[of(1)]),
            ];
            try_rows(&program, count, &inputs, &mut memory)
        };
        // An index may be out of range.
        let Ok(all) = run(0..ROWS) else { continue };
        runs += 1;
        for row in 0..ROWS {
            let alone = run(row..row + 1).expect("all rows ran");
            for ((alone, all), port) in alone.iter().zip(&all).zip(program.outputs()) {
                let own = row * port.width..(row + 1) * port.width;
                let among = match all {
                    Answer::F32(values) => format!("{:?}", &values[own]),
                    Answer::F64(values) => format!("{:?}", &values[own]),
                    Answer::I64(values) => format!("{:?}", &values[own]),
                };
                let alone = match alone {
                    Answer::F32(values) => format!("{values:?}"),
                    Answer::F64(values) => format!("{values:?}"),
                    Answer::I64(values) => format!("{values:?}"),
                };
                assert_eq!(alone, among, "output {} of seed {seed}", port.name);
            }
        }
    }
    println!("{nodes} nodes, {runs} graphs ran");
    assert!(runs > 0);
}
