"""Graphs of random nodes give the bits of onnxruntime, also where they compute what no exporter writes."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.kernel.operator_cases import BOOL, DTYPES, F32, F64, I64, Array, hard_values, node, session

kernel = pytest.importorskip("scorewire_kernel")

_ROWS = 23
_NODES = 25
_TYPES = (F32, F64, I64)


@dataclass
class _Graph:
    """A graph under construction: its tensors, [rows, width], with type and width."""

    chance: random.Random
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    tensors: dict[str, tuple[int, int]] = field(
        default_factory=lambda: {"f": (F32, 3), "d": (F64, 3), "i": (I64, 3)}
    )

    def pick(self, *types: int) -> str:
        """A tensor of one of the types; late ones are likely, so that graphs get deep."""
        fitting = [name for name, (element, _) in self.tensors.items() if element in types]
        return self.chance.choice(fitting + fitting[-4:] * 2)

    def constant(self, values: Any, dtype: Any = np.int64) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.array(values, dtype)
        return name

    def add(self, operator: str, inputs: str, element: int, width: int, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(node(operator, inputs, name, **attributes))
        self.tensors[name] = (element, width)
        return name

    def grow(self) -> None:
        """Add a node, or two of which the first gives truths."""
        self.chance.choice([self._unary, self._binary, self._binary, self._truth, self._move, self._cast])()

    def _unary(self) -> None:
        operator = self.chance.choice(["Neg", "Abs", "Sign", "Sqrt", "Floor", "Ceil", "Round", "Identity"])
        whole = operator in ("Neg", "Abs", "Sign", "Identity")
        of = self.pick(*(_TYPES if whole else (F32, F64)))
        self.add(operator, of, *self.tensors[of])

    def _second(self, element: int, width: int) -> str:
        """Another operand of the same type and width, or a constant, which may be spread over the columns."""
        alike = [name for name, described in self.tensors.items() if described == (element, width)]
        if self.chance.random() < 0.6:
            return self.chance.choice(alike)
        shape = self.chance.choice([(), (1,), (width,), (1, width)])
        values = np.random.default_rng(self.chance.randrange(1 << 30)).choice(hard_values(element), shape)
        return self.constant(values, DTYPES[element])

    def _binary(self) -> None:
        of = self.pick(*_TYPES)
        element, width = self.tensors[of]
        operator = self.chance.choice(["Add", "Sub", "Mul"] + ["Div"] * (element != I64))
        pair = [of, self._second(element, width)]
        self.chance.shuffle(pair)
        self.add(operator, " ".join(pair), element, width)

    def _truth(self) -> None:
        of = self.pick(*_TYPES)
        element, width = self.tensors[of]
        operator = self.chance.choice(["Equal", "Less", "GreaterOrEqual", "IsNaN"])
        if operator == "IsNaN" and element == I64:
            return
        inputs = of if operator == "IsNaN" else f"{of} {self._second(element, width)}"
        truth = self.add(operator, inputs, BOOL, width)
        if element != I64 or self.chance.random() < 0.5:
            self.add("Cast", truth, F64, width, to=F64)
        else:
            # Of fractions onnxruntime adds what it chooses to zeros, so that none is negative.
            self.add("Where", f"{truth} {of} {self._second(element, width)}", element, width)

    def _move(self) -> None:
        of = self.pick(*_TYPES)
        element, width = self.tensors[of]
        move = self.chance.choice(["Gather", "Concat", "Slice", "Reshape", "Pad"])
        if move == "Gather":
            places = [self.chance.randrange(-width, width) for _ in range(3)]
            self.add("Gather", f"{of} {self.constant(places)}", element, 3, axis=1)
        elif move == "Concat" and width <= 12:
            other = self.pick(element)
            self.add("Concat", f"{of} {other}", element, width + self.tensors[other][1], axis=1)
        elif move == "Slice" and width > 1:
            bounds = " ".join(self.constant([at]) for at in (1, width, 1))
            self.add("Slice", f"{of} {bounds}", element, width - 1)
        elif move == "Reshape":
            cube = f"r{len(self.nodes)}"
            self.nodes.append(node("Reshape", f"{of} {self.constant([-1, width, 1])}", cube))
            self.add("Reshape", f"{cube} {self.constant([-1, width])}", element, width)
        elif move == "Pad" and width <= 12:
            value = self.constant(self.chance.choice(hard_values(element)), DTYPES[element])
            self.add("Pad", f"{of} {self.constant([0, 1, 0, 0])} {value}", element, width + 1)

    def _cast(self) -> None:
        of = self.pick(*_TYPES)
        to = self.chance.choice(_TYPES)
        self.add("Cast", of, to, self.tensors[of][1], to=to)

    def outputs(self) -> list[str]:
        """Tensors that nothing reads, and some others."""
        read = {name for each in self.nodes for name in each.input}
        made = [name for name, (element, _) in self.tensors.items() if element != BOOL and name[0] == "t"]
        return [name for name in made if name not in read or self.chance.random() < 0.2]

    def model(self, outputs: list[str]) -> bytes:
        """The graph, serialized."""

        def info(name: str) -> onnx.ValueInfoProto:
            element, width = self.tensors[name]
            return helper.make_tensor_value_info(name, element, ["rows", width])

        constants = [numpy_helper.from_array(values, name) for name, values in self.constants.items()]
        inputs, made = [info(name) for name in ("f", "d", "i")], [info(name) for name in outputs]
        graph = helper.make_graph(self.nodes, "test", inputs, made, constants)
        opsets = [helper.make_opsetid("", 18)]
        return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())


@pytest.mark.parametrize("seed", range(150))
def test_a_random_graph_gives_the_bits_of_onnxruntime(seed: int) -> None:
    graph = _Graph(random.Random(seed))
    for _ in range(_NODES):
        graph.grow()
    outputs = graph.outputs()
    model, rng = graph.model(outputs), np.random.default_rng(seed)
    feeds = {
        name: rng.choice(hard_values(element), (_ROWS, 3))
        for name, element in zip("fdi", _TYPES, strict=True)
    }
    # Its optimizations remove some casts, and with them their rounding.
    run, program = session(model, is_optimized=False).run, kernel.Program(model)
    for rows in (slice(None), *(slice(row, row + 1) for row in range(_ROWS))):
        part = {name: values[rows] for name, values in feeds.items()}
        for name, found, wanted in zip(outputs, program.run(outputs, part), run(outputs, part), strict=True):
            assert found.dtype == wanted.dtype
            assert np.array_equal(_bits(found), _bits(wanted)), (name, rows)


def _bits(values: Array) -> Array:
    """The bits of numbers, where every NaN is one."""
    if values.dtype == np.int64:
        return values
    return np.where(np.isnan(values), np.nan, values).view({4: np.int32, 8: np.int64}[values.itemsize])
