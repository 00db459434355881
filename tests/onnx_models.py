"""Writes ONNX files such as those of Triton's examples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_simple(path: Path, *, rows: str | int = "rows", kind: int = TensorProto.INT32) -> Path:
    """Write `simple`: OUTPUT0 is the sum and OUTPUT1 the difference of two tensors with 16 values per row."""
    nodes = [
        helper.make_node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]),
        helper.make_node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"]),
    ]
    return _write(
        path,
        nodes,
        _tensors(kind, rows, "INPUT0", "INPUT1"),
        _tensors(kind, rows, "OUTPUT0", "OUTPUT1"),
    )


def write_simple_string(path: Path) -> Path:
    """Write `simple_string`: as `simple`, for whole numbers as decimal texts."""
    nodes = [
        helper.make_node("Cast", ["INPUT0"], ["a"], to=TensorProto.INT64),
        helper.make_node("Cast", ["INPUT1"], ["b"], to=TensorProto.INT64),
        helper.make_node("Add", ["a", "b"], ["sum"]),
        helper.make_node("Sub", ["a", "b"], ["difference"]),
        helper.make_node("Cast", ["sum"], ["OUTPUT0"], to=TensorProto.STRING),
        helper.make_node("Cast", ["difference"], ["OUTPUT1"], to=TensorProto.STRING),
    ]
    return _write(
        path,
        nodes,
        _tensors(TensorProto.STRING, "rows", "INPUT0", "INPUT1"),
        _tensors(TensorProto.STRING, "rows", "OUTPUT0", "OUTPUT1"),
    )


def write_simple_identity(path: Path) -> Path:
    """Write `simple_identity`: OUTPUT0 is the 16 texts of INPUT0."""
    nodes = [helper.make_node("Identity", ["INPUT0"], ["OUTPUT0"])]
    return _write(
        path,
        nodes,
        _tensors(TensorProto.STRING, "rows", "INPUT0"),
        _tensors(TensorProto.STRING, "rows", "OUTPUT0"),
    )


def write_echo(path: Path, names: list[str]) -> Path:
    """Write a model that returns each named double of a row as `out_0`, `out_1`, ..."""
    nodes = [helper.make_node("Identity", [name], [f"out_{i}"]) for i, name in enumerate(names)]
    inputs = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["rows", 1]) for name in names]
    outputs = [
        helper.make_tensor_value_info(f"out_{i}", TensorProto.DOUBLE, ["rows", 1]) for i in range(len(names))
    ]
    return _write(path, nodes, inputs, outputs)


def write_square(path: Path) -> Path:
    """Write a model that squares: `y` is the square of the INT64 `a`."""
    nodes = [helper.make_node("Mul", ["a", "a"], ["y"])]
    tensors = [helper.make_tensor_value_info(name, TensorProto.INT64, ["rows", 1]) for name in ("a", "y")]
    return _write(path, nodes, tensors[:1], tensors[1:])


def write_reshaped(path: Path, shape: list[int]) -> Path:
    """Write a model that declares any number of rows of FLOAT `x` but reshapes them to `shape`; `y` is -x."""
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["flat"]),
        helper.make_node("Neg", ["flat"], ["y"]),
    ]
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 2]) for name in ("x", "y")]
    return _write(path, nodes, tensors[:1], tensors[1:], [numpy_helper.from_array(np.array(shape), "shape")])


def write_wide(path: Path, width: int) -> Path:
    """Write a model whose output `wide` repeats the DOUBLE `x` of a row `width` times."""
    nodes = [helper.make_node("Mul", ["x", "ones"], ["wide"])]
    inputs = [helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["rows", 1])]
    outputs = [helper.make_tensor_value_info("wide", TensorProto.DOUBLE, ["rows", width])]
    return _write(path, nodes, inputs, outputs, [numpy_helper.from_array(np.ones((1, width)), "ones")])


def write_mixed(
    path: Path, *, rows: str | int = "rows", reshaped: int | None = None, extra: bool = False
) -> Path:
    """Write a model with an input of every number type: `total` [rows, 1, 2] is their sum, and twice that.

    `reshaped` fixes the number of rows within the graph. `extra` adds an input of
    that name, which may be missing.
    """
    kinds = {
        "f": TensorProto.FLOAT,
        "d": TensorProto.DOUBLE,
        "b": TensorProto.BOOL,
        "i8": TensorProto.INT8,
        "u8": TensorProto.UINT8,
        "i64": TensorProto.INT64,
        "u64": TensorProto.UINT64,
    }
    nodes = [helper.make_node("Cast", [name], [f"{name}_cast"], to=TensorProto.DOUBLE) for name in kinds]
    if extra:
        kinds["extra"] = TensorProto.DOUBLE
        nodes += [
            helper.make_node("IsNaN", ["extra"], ["missing"]),
            helper.make_node("Where", ["missing", "nothing", "extra"], ["extra_cast"]),
        ]
    nodes += [
        helper.make_node("Sum", [f"{name}_cast" for name in kinds], ["sum"]),
        helper.make_node("Mul", ["sum", "factors"], ["both"]),
        helper.make_node("Reshape", ["both", "shape"], ["total"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([[1.0, 2.0]]), "factors"),
        numpy_helper.from_array(np.array(0.0), "nothing"),
        numpy_helper.from_array(np.array([reshaped or -1, 1, 2]), "shape"),
    ]
    inputs = [helper.make_tensor_value_info(name, kind, [rows, 1]) for name, kind in kinds.items()]
    outputs = [helper.make_tensor_value_info("total", TensorProto.DOUBLE, [rows, 1, 2])]
    return _write(path, nodes, inputs, outputs, constants)


def _tensors(kind: int, rows: str | int, *names: str) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(name, kind, [rows, 16]) for name in names]


def _write(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: list[onnx.TensorProto] | None = None,
) -> Path:
    graph = helper.make_graph(nodes, path.stem, inputs, outputs, constants or [])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path
