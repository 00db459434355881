"""A model that takes nearly all of the server's time, and calls of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onnx import TensorProto, helper

from scorewire_contract import bundle as bundles
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import prediction_pb2, schema_pb2
from tests.conformance.wire import PREDICT
from tests.processes import ServerProcess, serving
from tests.scorewire_server.models import write_slow_bundle

_NODES = 4000
_ROUNDS = 1500.0
# Rows that are scored on the thread that reads them, and by the threads for batches.
KINDS = ("inline", "batch")

__all__ = ["KINDS", "PREDICT", "overloaded_server"]


def write_chain_bundle(output_dir: Path, nodes: int = _NODES) -> Path:
    """Write a regression that negates the number `x` an even number of times, so that it returns `x`."""
    manifest = manifest_pb2.Manifest(model="chain", version="1.0.0", description="Negates.")
    manifest.created_at.GetCurrentTime()
    manifest.schema.features.add(
        name="x", kind=schema_pb2.FEATURE_KIND_NUMBER, missing_allowed=False, magnitude_limit=1e9
    )
    manifest.schema.outputs.add(name="value", kind=schema_pb2.OUTPUT_KIND_NUMBER, width=1)
    manifest.coding.inputs.add(name="x0", type=manifest_pb2.ELEMENT_TYPE_DOUBLE).columns.add(number=0)
    golden = manifest_pb2.Golden()
    golden.rows.row_count = golden.expected.row_count = 1
    golden.rows.numbers.append(3.0)
    golden.expected.outputs.add(name="value").numbers.append(3.0)
    golden.tolerance.absolute = 1e-9
    double = TensorProto.DOUBLE
    graph = helper.make_graph(
        [
            helper.make_node("Neg", [f"x{i}"], [f"x{i + 1}" if i + 1 < nodes else "value"])
            for i in range(nodes)
        ],
        "chain",
        [helper.make_tensor_value_info("x0", double, ["rows", 1])],
        [helper.make_tensor_value_info("value", double, ["rows", 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    files = {bundles.GRAPH: model.SerializeToString(), bundles.GOLDEN: bundles.to_json(golden)}
    return bundles.write_bundle(output_dir, manifest, files)


@contextmanager
def overloaded_server(folder: Path, engine: str, kind: str) -> Iterator[tuple[ServerProcess, bytes]]:
    """A server with one thread and a model that takes about a millisecond, and a request for it."""
    models = folder / "models"
    name = "chain" if kind == "inline" else "slow"
    if kind == "inline":
        write_chain_bundle(models)
    else:
        write_slow_bundle(models)
    rows = prediction_pb2.Rows(row_count=1, numbers=[_ROUNDS])
    request = prediction_pb2.PredictRequest(model=name, rows=rows)
    # The kernel would need a few microseconds for it.
    flags = ("--engine", engine, "--kernel", "onnxruntime", "--threads", "1", "--batch-threads", "1")
    with serving(folder, models, *flags) as server:
        yield server, request.SerializeToString()
