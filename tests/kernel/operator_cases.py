"""Graphs in the kernel against onnxruntime over hard values: bit for bit, or within a bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

F32, F64, I64, BOOL = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.BOOL
Array = NDArray[Any]
DTYPES: dict[int, Any] = {F32: np.float32, F64: np.float64, I64: np.int64}
_OPSET = 18
WIDTH = 4


@dataclass(frozen=True)
class Case:
    """A graph from inputs to the output `y`, each [rows, ...], of the nodes and constants."""

    nodes: Sequence[onnx.NodeProto]
    inputs: Mapping[str, int]
    output: int
    constants: Mapping[str, Array] = field(default_factory=dict)
    width: int = WIDTH
    rank: int = 2
    # Units in the last place by which finite numbers may differ: where the functions are libm's.
    ulps: int = 0
    # The least magnitude whose units count: onnxruntime's functions may be this much less exact near 0.
    least: float = 0.0
    # Whether zeros of either sign are one: onnxruntime's own depend on the place among a vector's numbers.
    one_zero: bool = False

    def model(self) -> bytes:
        """The graph, serialized."""
        inputs = [
            helper.make_tensor_value_info(name, element, ["rows", self.width])
            for name, element in self.inputs.items()
        ]
        dims: list[Any] = ["rows", *(f"d{i}" for i in range(1, self.rank))]
        outputs = [helper.make_tensor_value_info("y", self.output, dims)]
        constants = [numpy_helper.from_array(value, name) for name, value in self.constants.items()]
        graph = helper.make_graph(list(self.nodes), "test", inputs, outputs, constants)
        opsets = [helper.make_opsetid("", _OPSET)]
        return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())

    def feeds(self, seed: int) -> dict[str, Array]:
        """Hard values: for two inputs all pairs of them, and more at random."""
        rng = np.random.default_rng(seed)
        hard = {name: hard_values(element) for name, element in self.inputs.items()}
        pairs = np.stack(np.meshgrid(*hard.values(), indexing="ij")).reshape(len(hard), -1)
        if len({*self.inputs.values()}) > 1:  # one array would have one type
            pairs = np.empty((len(hard), 0))
        made = {}
        for row, (name, values) in zip(pairs, hard.items(), strict=True):
            more = rng.choice(values, 64 * self.width - (row.size + values.size) % self.width)
            every = np.concatenate([row.astype(values.dtype), values, more])
            made[name] = every
        size = min(every.size for every in made.values()) // self.width * self.width
        return {name: every[:size].reshape(-1, self.width) for name, every in made.items()}


def hard_values(element: int) -> Array:
    """Numbers of an element type at which operators differ."""
    if element == I64:
        whole = np.iinfo(np.int64)
        listed = [
            0,
            1,
            -1,
            2,
            -2,
            3,
            7,
            -7,
            2**24 + 1,
            -(2**31),
            2**53 + 1,
            whole.max,
            whole.min,
            whole.max - 1,
        ]
        return np.array(listed, np.int64)
    dtype = DTYPES[element]
    info = np.finfo(dtype)
    some = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 0.1, 7.3, 88.0, 104.0, 710.0, 2.0**31, 2.0**63, 2.0**64]
    ends = [np.inf, info.max, info.tiny, info.smallest_subnormal, 1 - info.epsneg, 1 + info.eps]
    positive = np.array([*some, *ends], dtype)
    return np.concatenate([positive, -positive, np.array([np.nan], dtype)])


def node(operator: str, inputs: str, outputs: str = "y", **attributes: Any) -> onnx.NodeProto:
    """A node, whose inputs and outputs are words."""
    return helper.make_node(operator, inputs.split(), outputs.split(), **attributes)


def session(model: bytes, *, is_optimized: bool = True) -> onnxruntime.InferenceSession:
    """A session of onnxruntime that logs nothing."""
    options = onnxruntime.SessionOptions()
    if not is_optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def differences(case: Case, *, alone: bool = False) -> str:
    """What differs between the kernel and onnxruntime; "" for nothing.

    Args:
        case: the graph.
        alone: whether each row has a run of its own.
    """
    from scorewire_kernel import Program

    model, feeds = case.model(), case.feeds(5)
    run, program = session(model).run, Program(model)
    runs = [slice(row, row + 1) for row in _rows_alone(feeds)] if alone else [slice(None)]
    for rows in runs:
        part = {name: values[rows] for name, values in feeds.items()}
        if told := _differences(case, part, program.run(["y"], part)[0], run(["y"], part)[0]):
            return told
    return ""


def _rows_alone(feeds: Mapping[str, Array]) -> list[int]:
    """Some rows at random, and all that have NaN up to a number."""
    (count,) = {len(values) for values in feeds.values()}
    missing = np.any([np.isnan(values).any(axis=1) for values in feeds.values()], axis=0)
    some = np.random.default_rng(3).permutation(count)[:30]
    return sorted({*some.tolist(), *np.flatnonzero(missing)[:30].tolist()})


def _differences(case: Case, feeds: Mapping[str, Array], found: Array, wanted: Array) -> str:
    wanted = wanted.reshape(len(found), -1)
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    differ = ~same(found, wanted, case)
    if not differ.any():
        return ""
    rows = np.flatnonzero(differ.any(axis=1))[:6]
    given = "; ".join(
        f"{ {name: values[row].tolist() for name, values in feeds.items()} }:"
        f" {found[row].tolist()} is not {wanted[row].tolist()}"
        for row in rows
    )
    return f"{differ.sum()} of {differ.size} differ: {given}"


def same(found: Array, wanted: Array, case: Case) -> NDArray[np.bool_]:
    """Where numbers have the same bits, are both NaN, or are finite and as near as the case allows."""
    if found.dtype == np.int64:
        same_integers: NDArray[np.bool_] = found == wanted
        return same_integers
    bits = {4: np.int32, 8: np.int64}[found.dtype.itemsize]
    found_bits, wanted_bits = found.view(bits), wanted.view(bits)
    equal: NDArray[np.bool_] = (found_bits == wanted_bits) | (np.isnan(found) & np.isnan(wanted))
    if case.one_zero:
        equal |= (found == 0) & (wanted == 0)
    if not case.ulps:
        return equal
    finite = np.isfinite(found) & np.isfinite(wanted)
    with np.errstate(over="ignore", invalid="ignore"):
        largest = np.maximum(np.abs(found), np.abs(wanted))
        scale = np.spacing(np.maximum(largest, found.dtype.type(case.least)))
        equal |= finite & (np.abs(found - wanted) <= case.ulps * scale)
    return equal
