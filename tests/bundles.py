"""Small bundles whose scores can be computed by hand.

They are written with onnx and the contract only, so that tests of the server and
the clients do not need the training side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from scorewire_contract import bundle as bundles
from scorewire_contract.folding import ascii_lower_strip
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import errors_pb2, schema_pb2

# The known texts of the feature `country`, and the number that each stands for.
COUNTRIES = {"": 0.5, "de": 1.0, "pe": 2.0}
LOWEST_CLASSED = -1e30
UNKNOWN_COUNTRY = -1.0


def expected_value(numbers: Sequence[float], country: str, offset: float = 0.0) -> float:
    """The score of `write_sum_bundle`: the sum of numbers, country and offset."""
    return float(sum(numbers)) + COUNTRIES.get(ascii_lower_strip(country), UNKNOWN_COUNTRY) + offset


def write_sum_bundle(
    output_dir: Path,
    *,
    model: str = "sum",
    version: str = "1.0.0",
    offset: float = 0.0,
    number_count: int = 2,
) -> Path:
    """Write a regression on the numbers x0, x1, ... and the text country: their sum plus the offset.

    x0 must not be missing, and magnitudes may not exceed 1e30. Any country is scored.
    """
    manifest = manifest_pb2.Manifest(model=model, version=version, description="Adds its features.")
    manifest.created_at.GetCurrentTime()
    schema = manifest.schema
    for i in range(number_count):
        schema.features.add(
            name=f"x{i}",
            kind=schema_pb2.FEATURE_KIND_NUMBER,
            minimum=-10,
            maximum=10,
            missing_allowed=i > 0,
            missing_share=0.25 if i else 0.0,
            magnitude_limit=1e30,
        )
    schema.features.add(
        name="country",
        kind=schema_pb2.FEATURE_KIND_TEXT,
        missing_allowed=True,
        unknown_allowed=True,
        vocabulary_size=len(COUNTRIES),
    )
    schema.outputs.add(name="value", kind=schema_pb2.OUTPUT_KIND_NUMBER, width=1)
    vocabulary = manifest.coding.vocabularies.add(text=0, fold=manifest_pb2.TEXT_FOLD_ASCII_LOWER_STRIP)
    vocabulary.texts.extend(COUNTRIES)
    graph_input = manifest.coding.inputs.add(name="features", type=manifest_pb2.ELEMENT_TYPE_DOUBLE)
    for i in range(number_count):
        graph_input.columns.add(number=i)
    coded = graph_input.columns.add().coded
    coded.values.extend(COUNTRIES.values())
    coded.unknown_value = UNKNOWN_COUNTRY
    manifest.metrics["mae"] = 0.25
    manifest.provenance.family = "sum"

    golden = manifest_pb2.Golden()
    golden.tolerance.absolute = 1e-9
    rows = [
        ([1.0] + [2.0] * (number_count - 1), "de"),
        ([math.nan] * number_count, "pe"),
        ([0.5] * number_count, "?"),
        # Enough rows for a proof that rows of different calls may share a run.
        *(([i / 7] * number_count, f"?{i}") for i in range(16)),
    ]
    golden.rows.row_count = golden.expected.row_count = len(rows)
    values = golden.expected.outputs.add(name="value").numbers
    for i, (numbers, country) in enumerate(rows):
        golden.rows.numbers.extend(numbers)
        golden.rows.texts.append(country)
        if math.isnan(numbers[0]):
            values.append(math.nan)
            golden.expected.errors.add(row=i, reason=errors_pb2.ERROR_REASON_MISSING_VALUE, feature="x0")
        else:
            values.append(expected_value(numbers, country, offset))
    return bundles.write_bundle(
        output_dir,
        manifest,
        {bundles.GRAPH: _sum_graph(number_count + 1, offset), bundles.GOLDEN: bundles.to_json(golden)},
    )


def _sum_graph(width: int, offset: float) -> bytes:
    """Sums of rows, with NaN as 0, added from the left, so that they do not depend on other rows."""
    columns = [f"x{i}" for i in range(width)]
    sums = [columns[0], *(f"sum{i}" for i in range(1, width))]
    nodes = [
        helper.make_node("IsNaN", ["features"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "features"], ["filled"]),
        helper.make_node("Split", ["filled"], columns, axis=1, num_outputs=width),
        *(helper.make_node("Add", [sums[i - 1], columns[i]], [sums[i]]) for i in range(1, width)),
        helper.make_node("Add", [sums[-1], "offset"], ["value"]),
    ]
    graph = helper.make_graph(
        nodes,
        "sum",
        [helper.make_tensor_value_info("features", TensorProto.DOUBLE, ["rows", width])],
        [helper.make_tensor_value_info("value", TensorProto.DOUBLE, ["rows", 1])],
        [
            numpy_helper.from_array(np.array(0.0), "zero"),
            numpy_helper.from_array(np.array(float(offset)), "offset"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def write_classifier_bundle(output_dir: Path, *, model: str = "classes", version: str = "1.0.0") -> Path:
    """Write a classifier of the number x: probabilities [1 - s, s] with s = sigmoid(x), and the label.

    x must be above LOWEST_CLASSED.
    """
    manifest = manifest_pb2.Manifest(model=model, version=version, description="Squashes its feature.")
    manifest.created_at.GetCurrentTime()
    schema = manifest.schema
    schema.features.add(
        name="x",
        kind=schema_pb2.FEATURE_KIND_NUMBER,
        missing_allowed=False,
        magnitude_limit=math.inf,
        lower_limit=math.nextafter(LOWEST_CLASSED, 0.0),
    )
    schema.outputs.add(
        name="probabilities", kind=schema_pb2.OUTPUT_KIND_PROBABILITY, width=2, class_labels=["no", "yes"]
    )
    schema.outputs.add(name="label", kind=schema_pb2.OUTPUT_KIND_CLASS, width=1, class_labels=["no", "yes"])
    graph_input = manifest.coding.inputs.add(name="features", type=manifest_pb2.ELEMENT_TYPE_FLOAT)
    graph_input.columns.add(number=0)
    nodes = [
        helper.make_node("Sigmoid", ["features"], ["yes"]),
        helper.make_node("Sub", ["one", "yes"], ["no"]),
        helper.make_node("Concat", ["no", "yes"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=1),
    ]
    graph = helper.make_graph(
        nodes,
        "classes",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", 1])],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", 2]),
            helper.make_tensor_value_info("label", TensorProto.INT64, ["rows", 1]),
        ],
        [numpy_helper.from_array(np.array(1, dtype=np.float32), "one")],
    )
    onnx_model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    golden = manifest_pb2.Golden()
    golden.tolerance.absolute = 1e-6
    inputs = [-2.0, 0.5, 3.0]
    golden.rows.row_count = golden.expected.row_count = len(inputs)
    golden.rows.numbers.extend(inputs)
    probabilities = golden.expected.outputs.add(name="probabilities").numbers
    label = golden.expected.outputs.add(name="label").numbers
    for x in inputs:
        yes = 1 / (1 + math.exp(-x))
        probabilities.extend([1 - yes, yes])
        label.append(float(yes > 0.5))
    return bundles.write_bundle(
        output_dir,
        manifest,
        {
            bundles.GRAPH: bytes(onnx_model.SerializeToString()),
            bundles.GOLDEN: bundles.to_json(golden),
        },
    )


# The texts that `write_greeting_bundle` knows, and their scores.
GREETINGS = {"hello": 1.0, "bye": 2.0}


def write_greeting_bundle(output_dir: Path, *, model: str = "greeting", version: str = "1.0.0") -> Path:
    """Write a regression on the text `word`, which the graph gets as it is: the word's number in GREETINGS.

    Rows with another word, or without a word, are refused.
    """
    manifest = manifest_pb2.Manifest(model=model, version=version, description="Looks its feature up.")
    manifest.created_at.GetCurrentTime()
    schema = manifest.schema
    schema.features.add(
        name="word",
        kind=schema_pb2.FEATURE_KIND_TEXT,
        missing_allowed=False,
        unknown_allowed=False,
        vocabulary_size=len(GREETINGS),
    )
    schema.outputs.add(name="value", kind=schema_pb2.OUTPUT_KIND_NUMBER, width=1)
    vocabulary = manifest.coding.vocabularies.add(text=0, fold=manifest_pb2.TEXT_FOLD_NONE)
    vocabulary.texts.extend(GREETINGS)
    graph_input = manifest.coding.inputs.add(name="word", type=manifest_pb2.ELEMENT_TYPE_STRING)
    graph_input.columns.add().text.fold = manifest_pb2.TEXT_FOLD_NONE
    node = helper.make_node(
        "LabelEncoder",
        ["word"],
        ["value"],
        domain="ai.onnx.ml",
        keys_strings=list(GREETINGS),
        values_floats=list(GREETINGS.values()),
    )
    graph = helper.make_graph(
        [node],
        "greeting",
        [helper.make_tensor_value_info("word", TensorProto.STRING, ["rows", 1])],
        [helper.make_tensor_value_info("value", TensorProto.FLOAT, ["rows", 1])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx_model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    onnx.checker.check_model(onnx_model)
    golden = manifest_pb2.Golden()
    golden.rows.row_count = golden.expected.row_count = len(GREETINGS) + 1
    golden.rows.texts.extend([*GREETINGS, "?"])
    golden.expected.outputs.add(name="value").numbers.extend([*GREETINGS.values(), math.nan])
    golden.expected.errors.add(
        row=len(GREETINGS), reason=errors_pb2.ERROR_REASON_UNKNOWN_TEXT, feature="word"
    )
    return bundles.write_bundle(
        output_dir,
        manifest,
        {
            bundles.GRAPH: bytes(onnx_model.SerializeToString()),
            bundles.GOLDEN: bundles.to_json(golden),
        },
    )


def write_tensor_bundle(output_dir: Path, *, model: str = "tensors", version: str = "1.0.0") -> Path:
    """Write a model with tensors: `twice` is `pair` (INT32 [rows, 2]) doubled, `echo` is `word` (BYTES)."""
    manifest = manifest_pb2.Manifest(model=model, version=version, description="Doubles and echoes.")
    manifest.created_at.GetCurrentTime()
    schema, coding, tensors = manifest.schema, manifest.coding, manifest.tensors
    pair = coding.inputs.add(name="pair", type=manifest_pb2.ELEMENT_TYPE_INT32)
    for i in range(2):
        schema.features.add(
            name=f"pair[{i}]", kind=schema_pb2.FEATURE_KIND_NUMBER, whole=True, magnitude_limit=2.0**31
        )
        pair.columns.add(number=i)
    schema.features.add(
        name="word", kind=schema_pb2.FEATURE_KIND_TEXT, missing_allowed=True, unknown_allowed=True
    )
    word = coding.inputs.add(name="word", type=manifest_pb2.ELEMENT_TYPE_STRING)
    word.columns.add().text.fold = manifest_pb2.TEXT_FOLD_NONE
    word.shape.SetInParent()
    schema.outputs.add(name="twice", kind=schema_pb2.OUTPUT_KIND_NUMBER, width=2)
    schema.outputs.add(name="echo", kind=schema_pb2.OUTPUT_KIND_TEXT, width=1)
    tensors.inputs.add(name="pair", datatype="INT32", dims=[2])
    tensors.inputs.add(name="word", datatype="BYTES")
    tensors.outputs.add(name="twice", datatype="INT32", dims=[2])
    tensors.outputs.add(name="echo", datatype="BYTES")
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["pair", "pair"], ["twice"]),
            helper.make_node("Identity", ["word"], ["echo"]),
        ],
        "tensors",
        [
            helper.make_tensor_value_info("pair", TensorProto.INT32, ["rows", 2]),
            helper.make_tensor_value_info("word", TensorProto.STRING, ["rows"]),
        ],
        [
            helper.make_tensor_value_info("twice", TensorProto.INT32, ["rows", 2]),
            helper.make_tensor_value_info("echo", TensorProto.STRING, ["rows"]),
        ],
    )
    onnx_model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(onnx_model)
    golden = manifest_pb2.Golden()
    golden.rows.row_count = golden.expected.row_count = 2
    golden.rows.numbers.extend([1, -2, 3, 0.5])
    golden.rows.texts.extend(["ß", "b"])
    golden.expected.outputs.add(name="twice").numbers.extend([2, -4, math.nan, math.nan])
    golden.expected.outputs.add(name="echo").texts.extend(["ß", ""])
    golden.expected.errors.add(row=1, reason=errors_pb2.ERROR_REASON_NUMBER_NOT_WHOLE, feature="pair[1]")
    files = {bundles.GRAPH: bytes(onnx_model.SerializeToString()), bundles.GOLDEN: bundles.to_json(golden)}
    return bundles.write_bundle(output_dir, manifest, files)


def write_echo_bundle(output_dir: Path, *, model: str = "echo", version: str = "1.0.0") -> Path:
    """Write a model that answers what it gets: `numbers` are x and y, any doubles, and `text` is any text."""
    manifest = manifest_pb2.Manifest(model=model, version=version, description="Echoes its features.")
    manifest.created_at.GetCurrentTime()
    schema, coding = manifest.schema, manifest.coding
    numbers = coding.inputs.add(name="given", type=manifest_pb2.ELEMENT_TYPE_DOUBLE)
    for i, name in enumerate("xy"):
        schema.features.add(
            name=name, kind=schema_pb2.FEATURE_KIND_NUMBER, missing_allowed=True, magnitude_limit=math.inf
        )
        numbers.columns.add(number=i)
    schema.features.add(
        name="text", kind=schema_pb2.FEATURE_KIND_TEXT, missing_allowed=True, unknown_allowed=True
    )
    texts = coding.inputs.add(name="word", type=manifest_pb2.ELEMENT_TYPE_STRING)
    texts.columns.add().text.fold = manifest_pb2.TEXT_FOLD_NONE
    schema.outputs.add(name="numbers", kind=schema_pb2.OUTPUT_KIND_NUMBER, width=2)
    schema.outputs.add(name="text", kind=schema_pb2.OUTPUT_KIND_TEXT, width=1)
    graph = helper.make_graph(
        [
            helper.make_node("Identity", ["given"], ["numbers"]),
            helper.make_node("Identity", ["word"], ["text"]),
        ],
        "echo",
        [
            helper.make_tensor_value_info("given", TensorProto.DOUBLE, ["rows", 2]),
            helper.make_tensor_value_info("word", TensorProto.STRING, ["rows", 1]),
        ],
        [
            helper.make_tensor_value_info("numbers", TensorProto.DOUBLE, ["rows", 2]),
            helper.make_tensor_value_info("text", TensorProto.STRING, ["rows", 1]),
        ],
    )
    onnx_model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(onnx_model)
    golden = manifest_pb2.Golden()
    golden.rows.row_count = golden.expected.row_count = 2
    golden.rows.numbers.extend([1, -2, 3, 0.5])
    golden.rows.texts.extend(["ß", "b"])
    golden.expected.outputs.add(name="numbers").numbers.extend([1, -2, 3, 0.5])
    golden.expected.outputs.add(name="text").texts.extend(["ß", "b"])
    files = {bundles.GRAPH: bytes(onnx_model.SerializeToString()), bundles.GOLDEN: bundles.to_json(golden)}
    return bundles.write_bundle(output_dir, manifest, files)
