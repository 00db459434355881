"""A graph that runs out of memory fails its call only, and the log tells the cause, on both engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from onnx import TensorProto, helper
from structlog.testing import capture_logs

from scorewire_contract import bundle as contract
from scorewire_proto.v1 import prediction_pb2
from scorewire_server.engine.factory import choose_engine
from scorewire_server.errors import INTERNAL_MESSAGE
from scorewire_server.settings import Settings
from tests.conformance.engines import ENGINES
from tests.conformance.wire import PREDICT
from tests.scorewire_server.engine.running import failure_of
from tests.scorewire_server.models import loaded_version, snapshot_of, write_slow_bundle


def _request(rounds: float) -> bytes:
    rows = prediction_pb2.Rows(row_count=1, numbers=[rounds])
    return prediction_pb2.PredictRequest(model="slow", rows=rows).SerializeToString()


def _graph() -> bytes:
    """Makes a tensor of a million times `rounds` elements; no machine has the addresses for 10^15 of them."""
    nodes = [
        helper.make_node("Constant", [], ["million"], value_float=1e6),
        helper.make_node("Constant", [], ["shape"], value_ints=[1]),
        helper.make_node("Cast", ["rounds"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["number", "million"], ["many"]),
        helper.make_node("Cast", ["many"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["whole", "shape"], ["size"]),
        helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["number", "sum"], ["value"]),
    ]
    graph = helper.make_graph(
        nodes,
        "memory",
        [helper.make_tensor_value_info("rounds", TensorProto.DOUBLE, [None, 1])],
        [helper.make_tensor_value_info("value", TensorProto.FLOAT, [None, 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString()


@pytest.mark.parametrize("engine", ENGINES)
async def test_the_log_names_the_cause_the_model_and_what_to_do(tmp_path: Path, engine: str) -> None:
    kind = choose_engine(engine)
    bundle = contract.read_bundle(write_slow_bundle(tmp_path))
    running = kind.make(Settings(listen="127.0.0.1:0"), [])
    running.publish(snapshot_of(loaded_version(bundle, kind.open_session(_graph(), threads=1))))
    try:
        async with aio.insecure_channel(await running.start()) as channel:
            predict: Any = channel.unary_unary(PREDICT)
            with capture_logs() as logged:
                failed = await failure_of(predict(_request(1e9), timeout=60))
            assert (failed.code, failed.message) == (grpc.StatusCode.INTERNAL, INTERNAL_MESSAGE)
            assert await predict(_request(1.0), timeout=60)
    finally:
        await running.stop(0)
    (line,) = logged
    told = str(line["exc_info"])
    assert told.startswith("memory ran out: model slow 1.0.0 failed on 1 rows: ")
    assert told.endswith("; send fewer rows in a call, or give the server more memory")
    assert "allocate memory" in told
