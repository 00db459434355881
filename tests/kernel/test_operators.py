"""Each operator that programs run, against onnxruntime over hard values: bit for bit, or within a bound."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.kernel.operator_cases import (
    BOOL,
    DTYPES,
    F32,
    F64,
    I64,
    WIDTH,
    Array,
    Case,
    differences,
    hard_values,
    node,
    session,
)

kernel = pytest.importorskip("scorewire_kernel")


def one(operator: str, element: int, ulps: int = 0, least: float = 0.0) -> Case:
    """An operator of one input."""
    one_zero = operator == "Relu"
    nodes = [node(operator, "x")]
    return Case(nodes, {"x": element}, element, ulps=ulps, least=least, one_zero=one_zero)


_NUMBERS = [F32, F64, I64]
_FRACTIONS = [F32, F64]
_NAMES: dict[int, str] = {F32: "float", F64: "double", I64: "int64"}
_BROADCAST = {
    "scalar": (),
    "one": (1,),
    "column": (1, 1),
    "row": (WIDTH,),
    "matrix": (1, WIDTH),
}


def _constant(shape: tuple[int, ...], element: int, seed: int) -> Array:
    values = hard_values(element)
    return np.random.default_rng(seed).choice(values, shape).astype(DTYPES[element])


def _unary() -> dict[str, Case]:
    cases = {}
    for operator in ("Neg", "Abs", "Sign", "Identity"):
        for element in _NUMBERS:
            cases[f"{operator}-{_NAMES[element]}"] = one(operator, element)
    for operator in ("Sqrt", "Reciprocal", "Floor", "Ceil", "Round", "Relu"):
        for element in _FRACTIONS:
            cases[f"{operator}-{_NAMES[element]}"] = one(operator, element)
    for operator, ulps, least in (("Exp", 2, 0.0), ("Log", 2, 0.0), ("Tanh", 8, 1e-30), ("Sigmoid", 2, 1.0)):
        for element in _FRACTIONS:
            cases[f"{operator}-{_NAMES[element]}"] = one(operator, element, ulps, least)
    for element in _FRACTIONS:
        nodes = [node("IsNaN", "x", "is"), node("Cast", "is", to=I64)]
        cases[f"IsNaN-{_NAMES[element]}"] = Case(nodes, {"x": element}, I64)
    return cases


def _binary() -> dict[str, Case]:
    cases = {}

    def add(operator: str, element: int, ulps: int = 0, **attributes: Any) -> None:
        name = f"{operator}-{_NAMES[element]}"
        both, one_zero = {"a": element, "b": element}, operator in ("Min", "Max")
        nodes = [node(operator, "a b", **attributes)]
        cases[name] = Case(nodes, both, element, ulps=ulps, one_zero=one_zero)
        for zero in (0.0, -0.0):
            nodes, constant = [node(operator, "x c", **attributes)], {"c": np.array(zero, DTYPES[element])}
            cases[f"{name}-{zero}"] = Case(
                nodes, {"x": element}, element, constant, ulps=ulps, one_zero=one_zero
            )
        for form, shape in _BROADCAST.items():
            for seed in range(4 if form in ("scalar", "matrix") else 1):
                constant = {"c": _constant(shape, element, seed)}
                for order in ("x c", "c x"):
                    nodes = [node(operator, order, **attributes)]
                    cases[f"{name}-{form}-{order.replace(' ', '')}-{seed}"] = Case(
                        nodes, {"x": element}, element, constant, ulps=ulps, one_zero=one_zero
                    )

    for operator in ("Add", "Sub", "Mul", "Min", "Max"):
        for element in _NUMBERS:
            add(operator, element)
    for element in _FRACTIONS:
        add("Div", element)
        add("Mod", element, fmod=1)
        add("Sum", element)
        add("Pow", element, 2)
        for exponent in (0.0, 0.5, 1.0, 2.0, 3.0, 4.0, -1.0):
            constant = {"c": np.array(exponent, DTYPES[element])}
            cases[f"Pow-{_NAMES[element]}-to-{exponent}"] = Case(
                [node("Pow", "x c")], {"x": element}, element, constant, ulps=2
            )
    return cases


def _comparisons() -> dict[str, Case]:
    cases = {}
    for operator in ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"):
        for element in _NUMBERS:
            nodes = [node(operator, "a b", "is"), node("Cast", "is", to=I64)]
            both = {"a": element, "b": element}
            cases[f"{operator}-{_NAMES[element]}"] = Case(nodes, both, I64)
            for form, shape in _BROADCAST.items():
                constant = {"c": _constant(shape, element, 3)}
                nodes = [node(operator, "c x", "is"), node("Cast", "is", to=I64)]
                cases[f"{operator}-{_NAMES[element]}-{form}"] = Case(nodes, {"x": element}, I64, constant)
    for operator in ("And", "Or", "Xor", "Equal"):
        nodes = [
            node("Less", "a zero", "p"),
            node("Less", "b zero", "q"),
            node("Not", "q", "r"),
            node(operator, "p r", "is"),
            node("Cast", "is", to=F32),
        ]
        zero = {"zero": np.zeros((), np.float32)}
        cases[f"{operator}-bool"] = Case(nodes, {"a": F32, "b": F32}, F32, zero)
    for element in _NUMBERS:
        for form, shape in _BROADCAST.items():
            constants = {"zero": np.zeros((), np.float32), "c": _constant(shape, element, 9)}
            for order in ("p x c", "p c x", "p c c"):
                nodes = [node("Less", "z zero", "p"), node("Where", order)]
                case = Case(nodes, {"x": element, "z": F32}, element, constants, one_zero=True)
                cases[f"Where-{_NAMES[element]}-{form}-{order.replace(' ', '')}"] = case
        first = {"zero": np.zeros((), DTYPES[element]), "first": np.array([0])}
        nodes = [
            node("Gather", "x first", "column", axis=1),
            node("Less", "column zero", "p"),
            node("Where", "p x column"),
        ]
        case = Case(nodes, {"x": element}, element, first, one_zero=True)
        cases[f"Where-{_NAMES[element]}-of-a-column"] = case
    return cases


def _casts() -> dict[str, Case]:
    cases = {}
    for element in _NUMBERS:
        for to in _NUMBERS:
            cases[f"Cast-{_NAMES[element]}-{_NAMES[to]}"] = Case(
                [node("Cast", "x", to=to)], {"x": element}, to
            )
        nodes = [node("Cast", "x", "is", to=BOOL), node("Cast", "is", to=I64)]
        cases[f"Cast-{_NAMES[element]}-bool"] = Case(nodes, {"x": element}, I64)
    return cases


def _clips() -> dict[str, Case]:
    cases = {}
    for element in _NUMBERS:
        for seed in range(8):
            bounds = {"low": _constant((), element, seed), "high": _constant((), element, seed + 50)}
            if seed == 7:
                bounds = {name: np.zeros_like(value) for name, value in bounds.items()}
            for order in (["x", "low", "high"], ["x", "low"], ["x", "", "high"], ["x"]):
                nodes = [helper.make_node("Clip", order, ["y"])]
                case = Case(nodes, {"x": element}, element, bounds, one_zero=True)
                cases[f"Clip-{_NAMES[element]}-{'-'.join(order)}-{seed}"] = case
    return cases


def _over_axes() -> dict[str, Case]:
    cases = {}
    cube = {"shape": np.array([-1, 2, 2]), "one": np.array([1]), "last": np.array([-1])}
    for element in _NUMBERS:
        name = _NAMES[element]
        for last in (0, 1):
            nodes = [node("ArgMax", "x", axis=1, select_last_index=last)]
            cases[f"ArgMax-{name}-{last}"] = Case(nodes, {"x": element}, I64)
        nodes = [node("Reshape", "x shape", "cube"), node("ArgMax", "cube", axis=1, keepdims=0)]
        cases[f"ArgMax-{name}-cube"] = Case(nodes, {"x": element}, I64, cube)
        cases[f"CumSum-{name}"] = Case([node("CumSum", "x one")], {"x": element}, element, cube)
    # Onnxruntime adds whole numbers as doubles.
    ends = {"low": np.array(-(2**50)), "high": np.array(2**50)}
    for operator in ("ReduceMin", "ReduceMax", "ReduceSum"):
        for keep in (0, 1):
            nodes = [
                node("Clip", "x low high", "z"),
                node("Reshape", "z shape", "cube"),
                node(operator, "cube last", keepdims=keep),
            ]
            cases[f"{operator}-int64-{keep}"] = Case(nodes, {"x": I64}, I64, cube | ends, rank=2 + keep)
        nodes = [node("Clip", "x low high", "z"), node(operator, "z one")]
        cases[f"{operator}-int64-row"] = Case(nodes, {"x": I64}, I64, cube | ends)
    for element in _FRACTIONS:
        name = _NAMES[element]
        cases[f"Softmax-{name}"] = Case([node("Softmax", "x", axis=1)], {"x": element}, element, ulps=8)
        # Two numbers have one sum.
        for operator in ("ReduceSum", "ReduceMean", "ReduceL1", "ReduceSumSquare", "ReduceL2"):
            nodes = [node("Reshape", "x shape", "cube"), node(operator, "cube last", keepdims=0)]
            ulps = 2 if operator in ("ReduceSumSquare", "ReduceL2") else 0
            cases[f"{operator}-{name}"] = Case(nodes, {"x": element}, element, cube, ulps=ulps)
        logistic = [
            node("Exp", "x", "e"),
            node("Add", "e c", "sum"),
            node("Log", "sum"),
        ]
        one_ = {"c": np.ones((), DTYPES[element])}
        if element == F32:  # in double it is log1p, on purpose
            cases[f"Log-of-Exp-{name}"] = Case(logistic, {"x": element}, element, one_, ulps=4)
            nodes = [
                node("Exp", "x", "e"),
                node("Add", "e c", "sum"),
                node("Gather", "sum back", "g", axis=1),
            ]
            nodes.append(node("Log", "g"))
            back = one_ | {"back": np.array([3, 1, 2, 0])}
            cases[f"Log-of-Exp-reversed-{name}"] = Case(nodes, {"x": element}, element, back, ulps=4)
        table = {"weights": np.eye(WIDTH, dtype=DTYPES[element])[:, ::-1].copy()}
        bounds = {"low": np.array(-9, DTYPES[element]), "high": np.array(9, DTYPES[element])}
        for operator, transposed in (("MatMul", 0), ("Gemm", 0), ("Gemm", 1)):
            attributes: dict[str, Any] = {"transB": 1} if transposed else {}
            nodes = [node("Clip", "x low high", "z"), node(operator, "z weights", **attributes)]
            case = Case(nodes, {"x": element}, element, table | bounds)
            cases[f"{operator}-{name}-{transposed}"] = case
    return cases


def _moves() -> dict[str, Case]:
    cases = {}
    for element in _NUMBERS:
        name, dtype = _NAMES[element], DTYPES[element]
        constants = {
            "places": np.array([3, 0, -1, -4, 2]),
            "pair": np.array([[1, 2], [-1, 0]]),
            "sizes": np.array([1, 3]),
            "cube": np.array([-1, 2, 2]),
            "kept": np.array([0, 2, -1]),
            "one": np.array([1]),
            "two": np.array([2]),
            "minus": np.array([-3]),
            "end": np.array([np.iinfo(np.int64).max]),
            "pads": np.array([0, 1, 0, 2]),
            "nine": np.array(9, dtype),
        }
        graphs: dict[str, tuple[list[onnx.NodeProto], int]] = {
            "Gather": ([node("Gather", "x places", axis=1)], 2),
            "Gather-pair": ([node("Gather", "x pair", axis=-1)], 3),
            "Split-Concat": ([node("Split", "x sizes", "a b", axis=1), node("Concat", "b x a", axis=-1)], 2),
            "Split-even": (
                [node("Split", "x", "a b", axis=1, num_outputs=2), node("Concat", "b a", axis=1)],
                2,
            ),
            "Slice": ([node("Slice", "x one end one")], 2),
            "Slice-from-the-end": ([node("Slice", "x minus end one")], 2),
            "Pad": ([node("Pad", "x pads nine")], 2),
            "Pad-with-zero": ([node("Pad", "x pads")], 2),
            "Reshape": ([node("Reshape", "x cube")], 3),
            "Reshape-open": ([node("Reshape", "x kept")], 3),
            "Flatten": ([node("Reshape", "x cube", "c"), node("Flatten", "c")], 2),
            "Unsqueeze": ([node("Unsqueeze", "x two")], 3),
            "Squeeze": ([node("Unsqueeze", "x one", "a"), node("Squeeze", "a one")], 2),
            "Concat-cubes": ([node("Reshape", "x cube", "c"), node("Concat", "c c", axis=1)], 3),
            "Gather-cubes": ([node("Reshape", "x cube", "c"), node("Gather", "c one", axis=2)], 3),
        }
        for label, (nodes, rank) in graphs.items():
            cases[f"{label}-{name}"] = Case(nodes, {"x": element}, element, constants, rank=rank)
    return cases


_OF_NUMBERS = _unary() | _binary() | _comparisons() | _casts() | _clips() | _over_axes()
_CASES = _OF_NUMBERS | _moves()


@pytest.mark.parametrize("name", _CASES)
def test_an_operator_gives_the_bits_of_onnxruntime(name: str) -> None:
    assert not differences(_CASES[name])


@pytest.mark.parametrize("name", _CASES)
def test_a_row_alone_gives_the_bits_of_onnxruntime(name: str) -> None:
    assert not differences(_CASES[name], alone=True)


def _fits_any_width(case: Case) -> bool:
    used = {name for each in case.nodes for name in each.input}
    return all(values.size == 1 for name, values in case.constants.items() if name in used)


# Onnxruntime computes several numbers at once, and those that are left one by one.
@pytest.mark.parametrize("width", [1, 3, 17])
@pytest.mark.parametrize("name", [name for name, case in _OF_NUMBERS.items() if _fits_any_width(case)])
def test_rows_of_any_width_give_the_bits_of_onnxruntime(name: str, width: int) -> None:
    case = replace(_CASES[name], width=width)
    assert not differences(case)
    assert not differences(case, alone=True)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.uint8, np.uint16, np.uint32, np.int64])
@pytest.mark.parametrize("raw", [False, True])
def test_tables_of_whole_numbers_of_each_size(dtype: Any, raw: bool) -> None:
    info = np.iinfo(dtype)
    values = np.array([info.min, 1, info.max], dtype)
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    written = values.tobytes() if raw else values.tolist()
    table = helper.make_tensor("table", element, values.shape, written, raw=raw)
    nodes = [node("Gather", "table x", "looked_up"), node("Cast", "looked_up", to=F64)]
    model = onnx.ModelProto.FromString(Case(nodes, {"x": I64}, F64, width=2).model())
    model.graph.initializer.append(table)
    feeds = {"x": np.array([[0, 1], [2, -3], [1, 1]])}
    (wanted,) = session(model.SerializeToString()).run(["y"], feeds)
    (found,) = kernel.Program(model.SerializeToString()).run(["y"], feeds)
    assert np.array_equal(found, wanted)
    assert np.array_equal(found, values[feeds["x"]].astype(np.float64))


def test_sums_of_a_table_of_32_bits_are_left_to_onnxruntime() -> None:
    constants = {"table": np.array([2**31 - 1], np.int32)}
    nodes = [node("Gather", "table x", "a"), node("Add", "a a", "b"), node("Cast", "b", to=F64)]
    case = Case(nodes, {"x": I64}, F64, constants, width=1)
    # It wraps around there.
    assert session(case.model()).run(["y"], {"x": np.array([[0]])})[0].tolist() == [[-2.0]]
    with pytest.raises(kernel.UnsupportedError, match="types that do not run here"):
        kernel.Program(case.model())


@pytest.mark.parametrize("index", [3, -4, 2**62, -(2**63)])
@pytest.mark.parametrize("operator", ["Gather", "GatherElements"])
def test_an_index_out_of_range_fails_the_run_as_in_onnxruntime(operator: str, index: int) -> None:
    if operator == "Gather":
        nodes = [node("Squeeze", "i one", "place"), node("Gather", "table place")]
        inputs = {"i": I64}
    else:
        nodes = [node("GatherElements", "x i", axis=1)]
        inputs = {"i": I64, "x": F32}
    constants = {"one": np.array([1]), "table": np.arange(3, dtype=np.float32)}
    case = Case(nodes, inputs, F32, constants, width=1, rank=1 if operator == "Gather" else 2)
    feeds: dict[str, Array] = {"i": np.array([[0], [index], [0]]), "x": np.ones((3, 1), np.float32)}
    feeds = {name: feeds[name] for name in inputs}
    runtime = session(case.model())
    with pytest.raises(Exception, match="(?i)out of|bounds"):
        runtime.run(["y"], feeds)
    with pytest.raises(ValueError, match="an index is out of range"):
        kernel.Program(case.model()).run(["y"], feeds)


@pytest.mark.parametrize("operator", ["ReduceMin", "ReduceMax"])
def test_what_depends_on_the_place_of_nan_is_left_to_onnxruntime(operator: str) -> None:
    case = Case([node(operator, "x one")], {"x": F32}, F32, {"one": np.array([1])})
    with pytest.raises(kernel.UnsupportedError, match="gets numbers that do not run here"):
        kernel.Program(case.model())
