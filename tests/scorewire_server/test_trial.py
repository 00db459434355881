from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from scorewire_contract import bundle as contract
from scorewire_server.audit import audit
from scorewire_server.repository import Candidate, scan
from scorewire_server.trial import Trial
from tests import bundles
from tests.conformance.engines import ENGINES


def _with_graph(models: Path, model: str, graph: onnx.ModelProto) -> None:
    """The bundle of `write_sum_bundle`, with another graph, which passes the audit."""
    path = bundles.write_sum_bundle(models.parent / "sound", model=model)
    bundle = contract.read_bundle(path)
    content = graph.SerializeToString()
    audit(content, bundle.manifest)
    files = {contract.GRAPH: content, contract.GOLDEN: contract.to_json(bundle.golden)}
    contract.write_bundle(models, bundle.manifest, files)


def _graph(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("features", TensorProto.DOUBLE, ["rows", 3])],
        [helper.make_tensor_value_info("value", TensorProto.DOUBLE, ["rows", 1])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def _bomb() -> onnx.ModelProto:
    """Asks for 64 GiB, in a shape that is known at run time only."""
    nodes = [
        helper.make_node("Mul", ["big", "big"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["huge"]),
        helper.make_node("ReduceSum", ["huge"], ["total"], keepdims=0),
        helper.make_node("ReduceSum", ["features", "axis"], ["sum"], keepdims=1),
        helper.make_node("Cast", ["total"], ["wide"], to=TensorProto.DOUBLE),
        helper.make_node("Add", ["sum", "wide"], ["value"]),
    ]
    return _graph(nodes, {"big": np.array([1 << 17]), "axis": np.array([1])})


def _endless() -> onnx.ModelProto:
    """Counts for ever."""
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
    return _graph(nodes, constants)


@pytest.mark.parametrize("engine", ENGINES)
async def test_bundles_that_ask_for_too_much_are_refused_and_the_next_is_tried(
    models: Path, engine: str
) -> None:
    _with_graph(models, "bomb", _bomb())
    _with_graph(models, "endless", _endless())
    bundles.write_sum_bundle(models)
    (bundles.write_sum_bundle(models, version="2.0.0") / "golden.json").unlink()
    trial = Trial(seconds=3, memory_bytes=1 << 30, threads=1, engine=engine)
    reasons = {f"{each.model} {each.version}": await trial.refusal(each) for each in scan(models)}
    await trial.close()
    assert "allocate memory" in reasons["bomb 1.0.0"]
    assert reasons["endless 1.0.0"] == "its first load took more than 3 seconds"
    assert reasons["sum 1.0.0"] == ""
    assert reasons["sum 2.0.0"] == "golden.json is missing"


def test_a_trial_ends_by_itself_where_its_server_is_gone(models: Path) -> None:
    _with_graph(models, "endless", _endless())
    command = [sys.executable, "-m", "scorewire_server.trial", "1", str(1 << 30), "1", "reference"]
    line = json.dumps([str(models / "endless" / "1.0.0"), "endless", "1.0.0"]) + "\n"
    ended = subprocess.run(command, input=line, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == -signal.SIGALRM
    assert ended.stdout == "ready\n"


async def test_a_bundle_that_ends_its_trial_is_refused_and_the_next_is_tried(models: Path) -> None:
    bundles.write_sum_bundle(models)
    (candidate,) = scan(models)
    trial = Trial(seconds=30, memory_bytes=1 << 30, threads=1, engine="reference")
    await trial.start()
    child = trial._child  # as if the runtime crashed
    assert child is not None
    child.kill()
    assert "ended the process" in await trial.refusal(candidate)
    assert await trial.refusal(Candidate(candidate.path, "other", "1.0.0")) != ""
    assert await trial.refusal(candidate) == ""
    await trial.close()
