"""Versions whose graph is a Python function, and bundles with special graphs."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from scorewire_contract import bundle as bundles
from scorewire_contract.bundle import Bundle
from scorewire_contract.scoring import RunGraph, Scorer
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import models_pb2, schema_pb2
from scorewire_server.engine.snapshot import LoadedVersion, Routing, Snapshot, VersionRecord
from scorewire_server.engine.snapshot_builder import build_snapshot
from scorewire_server.loading.audit import audit
from tests.bundles import write_sum_bundle


class Gate:
    """A graph that waits until `open` is set, and then answers zeros."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()
        self.runs = 0

    def run(self, names: list[str], feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        self.runs += 1
        self.entered.release()
        assert self.open.wait(60)
        return [np.zeros((len(next(iter(feeds.values()))), 1)) for _ in names]


def zeros(names: list[str], feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
    return [np.zeros((len(next(iter(feeds.values()))), 1)) for _ in names]


def loaded_version(bundle: Bundle, run: RunGraph, *, row_ns: float = 1.0) -> LoadedVersion:
    """The version of a bundle, with another graph and another cost of a row."""
    return LoadedVersion(
        model=bundle.model,
        version=bundle.version.text,
        fingerprint=bundle.manifest.schema.fingerprint,
        manifest=bundle.manifest,
        scorer=Scorer(bundle.manifest.schema, bundle.manifest.coding, run),
        row_ns=row_ns,
    )


def snapshot_of(*versions: LoadedVersion, **routings: Routing) -> Snapshot:
    """A snapshot in which these versions serve, with the routings of models by name."""
    records = (
        VersionRecord(
            model=version.model,
            version=version.version,
            state=models_pb2.VERSION_STATE_SERVING,
            loaded=version,
        )
        for version in versions
    )
    return build_snapshot(records, routings)


def write_slow_bundle(output_dir: Path) -> Path:
    """A regression over the one number `rounds`: it counts up to it, one round at a time.

    It fails for a negative number.
    """
    manifest = manifest_pb2.Manifest(model="slow", version="1.0.0", description="Counts.")
    manifest.created_at.GetCurrentTime()
    manifest.schema.features.add(
        name="rounds", kind=schema_pb2.FEATURE_KIND_NUMBER, missing_allowed=False, magnitude_limit=1e9
    )
    manifest.schema.outputs.add(name="value", kind=schema_pb2.OUTPUT_KIND_NUMBER, width=1)
    graph_input = manifest.coding.inputs.add(name="rounds", type=manifest_pb2.ELEMENT_TYPE_DOUBLE)
    graph_input.columns.add(number=0)
    golden = manifest_pb2.Golden()
    golden.rows.row_count = golden.expected.row_count = 1
    golden.rows.numbers.append(3.0)
    golden.expected.outputs.add(name="value").numbers.append(3.0)
    golden.tolerance.absolute = 1e-9
    files = {bundles.GRAPH: _counting_graph(), bundles.GOLDEN: bundles.to_json(golden)}
    return bundles.write_bundle(output_dir, manifest, files)


def write_quick_bundle(output_dir: Path, slow: Path) -> Path:
    """A version of the slow model that answers at once."""
    bundle = bundles.read_bundle(slow)
    manifest = manifest_pb2.Manifest()
    manifest.CopyFrom(bundle.manifest)
    manifest.version = "2.0.0"
    graph = helper.make_graph(
        [helper.make_node("Identity", ["rounds"], ["value"])],
        "know",
        [helper.make_tensor_value_info("rounds", TensorProto.DOUBLE, ["rows", 1])],
        [helper.make_tensor_value_info("value", TensorProto.DOUBLE, ["rows", 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    golden = bundles.to_json(bundle.golden)
    files = {bundles.GRAPH: model.SerializeToString(), bundles.GOLDEN: golden}
    return bundles.write_bundle(output_dir, manifest, files)


def write_crowd_bundle(output_dir: Path) -> Path:
    """A regression over the one number `x`: x and a thousand for each row of the run.

    Where a row of the run is less than none, the run fails.
    """
    rows = 20
    manifest = manifest_pb2.Manifest(model="crowd", version="1.0.0", description="Counts its company.")
    manifest.created_at.GetCurrentTime()
    manifest.schema.features.add(
        name="x", kind=schema_pb2.FEATURE_KIND_NUMBER, missing_allowed=False, magnitude_limit=1e9
    )
    manifest.schema.outputs.add(name="value", kind=schema_pb2.OUTPUT_KIND_NUMBER, width=1)
    manifest.coding.inputs.add(name="x", type=manifest_pb2.ELEMENT_TYPE_DOUBLE).columns.add(number=0)
    golden = manifest_pb2.Golden()
    golden.rows.row_count = golden.expected.row_count = rows
    golden.rows.numbers.extend(range(rows))
    golden.expected.outputs.add(name="value").numbers.extend(1000 * rows + x for x in range(rows))
    golden.tolerance.absolute = 1e-9
    nodes = [
        helper.make_node("ReduceMin", ["x"], ["least"], keepdims=0),
        # An index of -1 is the last of one, -2 is out of range.
        helper.make_node("Min", ["least", "none"], ["below"]),
        helper.make_node("Cast", ["below"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["thousand", "index"], ["each"]),
        helper.make_node("Shape", ["x"], ["count"], end=1),
        helper.make_node("Cast", ["count"], ["company"], to=TensorProto.DOUBLE),
        helper.make_node("Mul", ["company", "each"], ["thousands"]),
        helper.make_node("Add", ["x", "thousands"], ["value"]),
    ]
    graph = helper.make_graph(
        nodes,
        "crowd",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["rows", 1])],
        [helper.make_tensor_value_info("value", TensorProto.DOUBLE, ["rows", 1])],
        [
            numpy_helper.from_array(np.array(0.0), "none"),
            numpy_helper.from_array(np.array([1000.0]), "thousand"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    files = {bundles.GRAPH: model.SerializeToString(), bundles.GOLDEN: bundles.to_json(golden)}
    return bundles.write_bundle(output_dir, manifest, files)


def _counting_graph() -> bytes:
    """A loop over the first row's number; more rows get the same."""
    double, whole, truth = TensorProto.DOUBLE, TensorProto.INT64, TensorProto.BOOL
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Add", ["count", "step"], ["next"]),
        ],
        "round",
        [
            helper.make_tensor_value_info("i", whole, []),
            helper.make_tensor_value_info("go", truth, []),
            helper.make_tensor_value_info("count", double, ["rows", 1]),
        ],
        [
            helper.make_tensor_value_info("on", truth, []),
            helper.make_tensor_value_info("next", double, ["rows", 1]),
        ],
        [numpy_helper.from_array(np.array([[1.0]]), "step")],
    )
    nodes = [
        helper.make_node("ReduceMax", ["rounds"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["trips"], to=whole),
        # An index of -1 is the last of one, -2 is out of range.
        helper.make_node("Min", ["most", "none"], ["below"]),
        helper.make_node("Cast", ["below"], ["index"], to=whole),
        helper.make_node("Gather", ["table", "index"], ["start"]),
        helper.make_node("Mul", ["rounds", "start"], ["zeros"]),
        helper.make_node("Loop", ["trips", "", "zeros"], ["value"], body=body),
    ]
    graph = helper.make_graph(
        nodes,
        "count",
        [helper.make_tensor_value_info("rounds", double, ["rows", 1])],
        [helper.make_tensor_value_info("value", double, ["rows", 1])],
        [
            numpy_helper.from_array(np.array(0.0), "none"),
            numpy_helper.from_array(np.array([0.0]), "table"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return bytes(model.SerializeToString())


def write_bundle_of(models: Path, model: str, graph: onnx.ModelProto) -> None:
    """The bundle of `write_sum_bundle`, with another graph, which passes the audit."""
    path = write_sum_bundle(models.parent / "sound", model=model)
    bundle = bundles.read_bundle(path)
    content = graph.SerializeToString()
    audit(content, bundle.manifest)
    files = {bundles.GRAPH: content, bundles.GOLDEN: bundles.to_json(bundle.golden)}
    bundles.write_bundle(models, bundle.manifest, files)


def sum_graph(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> onnx.ModelProto:
    """A graph with the inputs and outputs of that bundle."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("features", TensorProto.DOUBLE, ["rows", 3])],
        [helper.make_tensor_value_info("value", TensorProto.DOUBLE, ["rows", 1])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def write_endless_bundle(models: Path, model: str = "endless") -> None:
    """A bundle whose graph never ends."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["condition"], ["go_on"]),
            helper.make_node("Add", ["state", "state"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("condition", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.DOUBLE, None),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.DOUBLE, None),
        ],
    )
    nodes = [
        helper.make_node("ReduceSum", ["features", "axis"], ["sum"], keepdims=1),
        helper.make_node("Loop", ["turns", "yes", "sum"], ["value"], body=body),
    ]
    constants = {"axis": np.array([1]), "turns": np.array(2**62), "yes": np.array(True)}
    write_bundle_of(models, model, sum_graph(nodes, constants))
