"""The border of the kernel to Python: what a program takes, and what it refuses."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

kernel = pytest.importorskip("scorewire_kernel")


def model(*nodes: onnx.NodeProto, element: int = TensorProto.FLOAT, width: int = 2) -> bytes:
    """A graph from x to y, both [rows, width], with the constant `two`."""
    tensors = [helper.make_tensor_value_info(name, element, ["rows", width]) for name in ("x", "y")]
    two = numpy_helper.from_array(np.array(2, helper.tensor_dtype_to_np_dtype(element)), "two")
    graph = helper.make_graph(list(nodes), "test", tensors[:1], tensors[1:], [two])
    opsets = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())


def twice(element: int) -> bytes:
    return model(helper.make_node("Mul", ["x", "two"], ["y"]), element=element)


@pytest.mark.parametrize(
    ("element", "dtype"),
    [(TensorProto.FLOAT, np.float32), (TensorProto.DOUBLE, np.float64), (TensorProto.INT64, np.int64)],
)
def test_arrays_go_in_and_come_out(element: int, dtype: Any) -> None:
    program = kernel.Program(twice(element))
    assert program.inputs == [("x", element, 2)]
    assert program.outputs == [("y", element, 2)]
    assert program.description
    x = np.arange(6, dtype=dtype).reshape(3, 2)
    (y,) = program.run(["y"], {"x": x})
    assert y.dtype == dtype
    assert np.array_equal(y, 2 * x)
    y[:] = 0  # the caller owns the answer


@pytest.mark.parametrize(
    "dtype", [np.int8, np.int16, np.int32, np.uint8, np.uint16, np.uint32, np.bool_], ids=lambda d: d.__name__
)
def test_whole_numbers_of_every_size_and_booleans_go_in(dtype: Any) -> None:
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    x = np.array([[0, 1], [1, 0]], dtype)
    if dtype is not np.bool_:
        x[0] = np.iinfo(dtype).min, np.iinfo(dtype).max
    tensors = [
        helper.make_tensor_value_info("x", element, ["rows", 2]),
        helper.make_tensor_value_info("y", TensorProto.DOUBLE, ["rows", 2]),
    ]
    cast = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.DOUBLE)
    graph = helper.make_graph([cast], "test", tensors[:1], tensors[1:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    (y,) = kernel.Program(made.SerializeToString()).run(["y"], {"x": x})
    assert np.array_equal(y, x.astype(np.float64))


def test_no_rows_give_no_rows() -> None:
    (y,) = kernel.Program(twice(TensorProto.FLOAT)).run(["y"], {"x": np.zeros((0, 2), np.float32)})
    assert y.shape == (0, 2)


@pytest.mark.parametrize(
    ("x", "told"),
    [
        (np.zeros((3, 2)), "is not taken"),
        (np.zeros((3, 3), np.float32), "has the shape"),
        (np.zeros(6, np.float32), "has the shape"),
        (np.zeros((2, 3), np.float32).T, "is not C-contiguous"),
        ("text", "is not taken"),
    ],
    ids=["type", "width", "dimensions", "order", "no array"],
)
def test_other_inputs_are_refused(x: NDArray[Any], told: str) -> None:
    program = kernel.Program(twice(TensorProto.FLOAT))
    with pytest.raises(ValueError, match=told):
        program.run(["y"], {"x": x})


def test_unknown_and_missing_names_are_refused() -> None:
    program = kernel.Program(twice(TensorProto.FLOAT))
    x = np.zeros((1, 2), np.float32)
    with pytest.raises(ValueError, match='input "x" is missing'):
        program.run(["y"], {})
    with pytest.raises(ValueError, match='no input has the name "z"'):
        program.run(["y"], {"x": x, "z": x})
    with pytest.raises(ValueError, match='no output has the name "z"'):
        program.run(["z"], {"x": x})


def test_graphs_that_do_not_run_are_told_with_the_reason() -> None:
    with pytest.raises(kernel.UnsupportedError, match="Erf"):
        kernel.Program(model(helper.make_node("Erf", ["x"], ["y"])))
    with pytest.raises(kernel.UnsupportedError):
        kernel.Program(b"no model")
    assert issubclass(kernel.UnsupportedError, ValueError)


def test_unknown_forms_are_refused() -> None:
    assert {"naive", "heap-avx2"} <= {*kernel.FORMS}
    with pytest.raises(ValueError, match='there is no form "fast" of trees'):
        kernel.Program(twice(TensorProto.FLOAT), "fast")


def test_outputs_that_there_is_no_memory_for_are_an_error() -> None:
    # 16 million rows of a million doubles are more than a process can address.
    nodes = [helper.make_node("Cast", ["x"], ["w0"], to=TensorProto.DOUBLE)]
    nodes += [helper.make_node("Concat", [f"w{i}"] * 2, [f"w{i + 1}"], axis=1) for i in range(20)]
    x = helper.make_tensor_value_info("x", TensorProto.BOOL, ["rows", 1])
    y = helper.make_tensor_value_info("w20", TensorProto.DOUBLE, ["rows", 1 << 20])
    graph = helper.make_graph(nodes, "test", [x], [y])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    program = kernel.Program(made.SerializeToString())
    with pytest.raises(MemoryError, match='there is no memory for output "w20"'):
        program.run(["w20"], {"x": np.zeros((1 << 24, 1), np.bool_)})


def test_threads_share_a_program() -> None:
    program = kernel.Program(twice(TensorProto.DOUBLE))

    def run(seed: int) -> bool:
        x = np.random.default_rng(seed).normal(size=(1_000, 2))
        return all(np.array_equal(program.run(["y"], {"x": x})[0], 2 * x) for _ in range(20))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(run, range(8)))
