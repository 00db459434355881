//! How models are read: their constants, and what they say twice.

use crate::program::testing::{Answer, Attribute, Graph};
use crate::program::{Options, Program};
use crate::values::Values;

const INT32: i64 = 6;
const INT64: i64 = 7;
const BOOL: i64 = 9;
const DOUBLE: i64 = 11;

#[test]
fn constants_of_each_size_are_read() {
    let wide = |graph: Graph| {
        let cast = graph.node_with("Cast", "a", "y", &[("to", Attribute::Int(DOUBLE))]);
        cast.output("y", DOUBLE, 1)
    };
    let looked_up = |element, field, values: &[i64]| {
        wide(Graph::over(INT64, 1).listed("table", element, field, values).node("Gather", "table x", "a"))
    };
    for (element, field, values) in [
        (2, 5, [0, 255]),
        (3, 5, [-128, 127]),
        (4, 5, [0, 65_535]),
        (5, 5, [-32_768, 32_767]),
        (INT32, 5, [i32::MIN.into(), i32::MAX.into()]),
        (INT64, 7, [i64::MIN, i64::MAX]),
        (12, 11, [0, u32::MAX.into()]),
    ] {
        let found = looked_up(element, field, &values).run(&[Values::I64(&[0, 1])]);
        assert_eq!(found, [Answer::F64(values.map(|value| value as f64).to_vec())], "type {element}");
        if element == INT64 {
            continue;
        }
        for beyond in [values[0] - 1, values[1] + 1] {
            let refusal = looked_up(element, field, &[0, beyond]).refusal();
            assert_eq!(refusal, "the model cannot be read", "{beyond} of type {element}");
        }
    }
    // In the field of another type there are none.
    assert_eq!(looked_up(12, 5, &[1, 2]).refusal(), "the model cannot be read");
    let truths = Graph::over(BOOL, 1).listed("c", BOOL, 5, &[2]).node("And", "x c", "a");
    assert_eq!(wide(truths).refusal(), "the model cannot be read");
}

#[test]
fn constants_that_no_node_reads_are_not_decoded() {
    let graph = || Graph::over(DOUBLE, 1).listed("c", INT64, 5, &[1]);
    assert!(graph().node("Neg", "x", "y").output("y", DOUBLE, 1).compile().is_ok());
    assert_eq!(graph().node("Unknown", "x c", "y").refusal(), "the operator Unknown does not run here");
    assert_eq!(graph().node("Add", "x c", "y").refusal(), "the model cannot be read");
}

#[test]
fn what_a_model_has_once_is_refused_twice() {
    let read =
        |model: &[u8]| Program::compile(model, Options::default()).map(|_| ()).map_err(|error| error.0);
    let unreadable = Err("the model cannot be read".to_owned());
    let over = || Graph::over(DOUBLE, 2);
    let model = over().model();
    assert_eq!(read(&model), Ok(()));
    // Another version of the operators, also under their other name, and one with two numbers.
    for opset in
        [&b"\x42\x02\x10\x09"[..], b"\x42\x0b\x0a\x07ai.onnx\x10\x12", b"\x42\x07\x0a\x01m\x10\x01\x10\x02"]
    {
        assert_eq!(read(&[&model, opset].concat()), unreadable, "{opset:?}");
    }
    // Another graph.
    assert_eq!(read(&[&model[..], b"\x3a\x00"].concat()), unreadable);
    let axes = [("axis", Attribute::Int(1)), ("axis", Attribute::Int(0))];
    assert_eq!(over().node_with("Softmax", "x", "y", &axes).refusal(), "the model cannot be read");
    for (number, message) in [
        // A node with two operators, with two domains, and with attributes of two names and of two values.
        (1, &b"\x0a\x01x\x12\x01y\x22\x03Neg\x22\x03Abs"[..]),
        (1, b"\x0a\x01x\x12\x01y\x22\x03Neg\x3a\x01m\x3a\x00"),
        (1, b"\x0a\x01x\x12\x01y\x22\x03Neg\x2a\x0c\x0a\x04axis\x0a\x04keep"),
        (1, b"\x0a\x01x\x12\x01y\x22\x03Neg\x2a\x0a\x0a\x04axis\x18\x01\x18\x02"),
        // A tensor with two names, and with two types.
        (5, b"\x42\x01a\x42\x01b"),
        (5, b"\x10\x01\x10\x07\x42\x01a"),
        // An output with two names, and with two types, shapes and sizes.
        (12, b"\x0a\x01x\x0a\x01y"),
        (12, b"\x0a\x01x\x12\x00\x12\x00"),
        (12, b"\x0a\x01x\x12\x04\x0a\x00\x0a\x00"),
        (12, b"\x0a\x01x\x12\x06\x0a\x04\x08\x01\x08\x02"),
        (12, b"\x0a\x01x\x12\x06\x0a\x04\x12\x00\x12\x00"),
        (12, b"\x0a\x01x\x12\x0a\x0a\x08\x12\x06\x0a\x04\x08\x01\x08\x02"),
    ] {
        assert_eq!(over().field(number, message).refusal(), "the model cannot be read", "{message:?}");
    }
    // Its values twice.
    let values =
        over().field(5, b"\x08\x01\x10\x02\x42\x01c\x4a\x01\x00\x4a\x01\x00").node("Add", "x c", "y");
    assert_eq!(values.refusal(), "the model cannot be read");
}
