"""Programs of the kernel in the native engine: the scores of onnxruntime, the same limits, and no crash."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from scorewire_contract.bundle import read_bundle
from scorewire_proto.v1 import prediction_pb2
from scorewire_server.catalog.repository import BundleFolder
from scorewire_server.engine.factory import choose_engine
from scorewire_server.engine.interpreted.run_limit import run_until
from scorewire_server.engine.runs_on import KERNEL, ONNXRUNTIME, RunsOn, UnsupportedGraphError
from scorewire_server.engine.snapshot import LoadedVersion
from scorewire_server.loading.loader import load
from scorewire_server.loading.microbatching import MAX_SHARED_ROWS
from tests import bundles
from tests.conformance.engines import NATIVE_MISSING
from tests.conformance.wire import values
from tests.scorewire_server.engine.running import CONTROL, Start, starting
from tests.scorewire_server.models import snapshot_of
from tests.tree_bundles import Trees, write_trees_bundle

pytestmark = pytest.mark.skipif(bool(NATIVE_MISSING), reason=NATIVE_MISSING)

TREES = Trees()
LARGE = Trees(count=500, features=40, seed=5)


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts engines, and stops them after the test."""
    from scorewire_server.engine.native.engine import NativeEngine

    async with starting(lambda settings: NativeEngine(settings, CONTROL), threads=2) as start_one:
        yield start_one


def _load(path: Path, kernel: str) -> LoadedVersion:
    kind = choose_engine("native", kernel)
    record = load(
        BundleFolder(path, path.parent.name, path.name),
        lambda graph: kind.open_session(graph, threads=1),
        compile_graph=kind.compile_graph,
    )
    assert record.loaded is not None, record.reason
    return record.loaded


def _compile(graph: bytes) -> Any:
    from scorewire_server.engine.native.session import compile_graph

    return compile_graph(graph)


def _request(rows: NDArray[np.float64]) -> bytes:
    sent = prediction_pb2.Rows(row_count=len(rows), numbers=rows.ravel())
    return prediction_pb2.PredictRequest(model="trees", rows=sent).SerializeToString()


@pytest.mark.parametrize("trees", [TREES, LARGE], ids=["few", "many"])
@pytest.mark.parametrize("kernel", ["auto", "onnxruntime"])
async def test_calls_get_the_same_bits_from_a_program_and_from_onnxruntime(
    start: Start, models: Path, trees: Trees, kernel: str
) -> None:
    loaded = _load(write_trees_bundle(models, trees), kernel)
    assert loaded.runs_on.name == (KERNEL if kernel == "auto" else ONNXRUNTIME)
    running = await start(max_rows=10_000)
    running.engine.publish(snapshot_of(loaded))
    for count in (1, 2, 17, 600, 3000):
        rows = trees.rows(count, seed=count)
        answer = prediction_pb2.PredictResponse.FromString(await running.unary(_request(rows)))
        assert values(answer) == trees.score(rows).tolist()
    # Calls that come together, each with a row of its own.
    rows = trees.rows(200, seed=7)
    answers = await asyncio.gather(*(running.unary(_request(row[None])) for row in rows))
    scores = [values(prediction_pb2.PredictResponse.FromString(answer))[0] for answer in answers]
    assert scores == trees.score(rows).tolist()


def test_a_version_says_what_runs_it(models: Path) -> None:
    loaded = _load(write_trees_bundle(models), "onnxruntime")
    assert loaded.runs_on == RunsOn(ONNXRUNTIME, "--kernel is onnxruntime")
    loaded = _load(bundles.write_greeting_bundle(models), "auto")
    assert loaded.runs_on.name == ONNXRUNTIME
    assert loaded.runs_on.details
    loaded = _load(write_trees_bundle(models, model="more"), "auto")
    assert loaded.runs_on.name == KERNEL
    assert loaded.runs_on.details
    assert loaded.max_shared_rows == MAX_SHARED_ROWS


def _two_outputs() -> bytes:
    """The graph of the trees, whose second output is the trees' own input."""
    model = onnx.ModelProto.FromString(TREES.graph())
    model.graph.output.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 3]))
    return bytes(model.SerializeToString())


def test_outputs_come_by_name() -> None:
    program, rows = _compile(_two_outputs()), TREES.rows(5)
    for names in (["value"], ["x"], ["value", "x"], ["x", "value"]):
        answers = dict(zip(names, program(names, {"features": rows}), strict=True))
        for name, wanted in (("value", TREES.score(rows)[:, None]), ("x", rows.astype(np.float32))):
            if name in names:
                np.testing.assert_array_equal(answers[name], wanted)


@pytest.mark.parametrize(
    ("names", "feeds", "message"),
    [
        (["value"], {}, "the inputs have no rows"),
        (["value"], {"other": np.zeros((2, 3))}, 'the graph has no "other"'),
        (["other"], {"features": np.zeros((2, 3))}, 'the graph has no "other"'),
        (["value", "value"], {"features": np.zeros((2, 3))}, 'output "value" is named twice'),
        (["value"], {"features": np.zeros((2, 4))}, '"features" has 8 values for 2 rows of 3'),
        (["value"], {"features": np.zeros((2, 3), np.float32)}, "is not one tensor of the ONNX type 11"),
        (["value"], {"features": np.zeros((2, 3)), "more": np.zeros((2, 3))}, 'the graph has no "more"'),
    ],
)
def test_inputs_that_do_not_fit_a_program_are_refused(
    names: list[str], feeds: dict[str, NDArray[Any]], message: str
) -> None:
    program = _compile(TREES.graph())
    with pytest.raises(RuntimeError) as caught:
        program(names, feeds)
    assert message in str(caught.value)
    assert len(program(["value"], {"features": np.zeros((2, 3))})[0]) == 2


def test_no_rows_have_no_scores() -> None:
    assert _compile(TREES.graph())(["value"], {"features": np.zeros((0, 3))})[0].shape == (0, 1)


def test_a_run_of_a_program_is_stopped_at_its_limit() -> None:
    program = _compile(LARGE.graph())
    rows = np.zeros((1_000, LARGE.features))
    with run_until(monotonic()), pytest.raises(TimeoutError, match="the run took too long and was stopped"):
        program(["value"], {"features": rows})
    assert len(program(["value"], {"features": rows})[0]) == len(rows)


@pytest.mark.parametrize("graph", [b"", b"abc", b"\x3a\xff\xff\xff\xff\x0f", bytes(100)])
def test_what_is_no_graph_does_not_compile(graph: bytes) -> None:
    with pytest.raises(UnsupportedGraphError):
        _compile(graph)


def test_only_the_compilers_own_refusal_says_that_a_graph_is_not_supported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import scorewire_native

    assert issubclass(scorewire_native.UnsupportedError, ValueError)

    def fail(graph: bytes) -> scorewire_native.Graph:
        raise ValueError("a fault of the border")

    monkeypatch.setattr(scorewire_native, "Graph", SimpleNamespace(compile=fail))
    with pytest.raises(ValueError, match="a fault of the border") as caught:
        _compile(TREES.graph())
    assert not isinstance(caught.value, UnsupportedGraphError)


def test_damaged_graphs_do_not_end_the_process(models: Path) -> None:
    chance, rows = random.Random(1), TREES.rows(3)
    graphs = [TREES.graph(), read_bundle(bundles.write_classifier_bundle(models)).graph]
    ran = 0
    for _ in range(2000):
        damaged = bytearray(chance.choice(graphs))
        for _ in range(chance.choice((1, 1, 4))):
            damaged[chance.randrange(len(damaged))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
        try:
            _compile(bytes(damaged))(["value"], {"features": rows})
            ran += 1
        except (UnsupportedGraphError, RuntimeError):
            # Damage that the compiler finds, or other names, types or widths. A panic is neither.
            continue
    assert ran
