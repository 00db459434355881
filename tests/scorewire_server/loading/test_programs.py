"""A version runs as a program of the kernel only where the program was proven."""

from __future__ import annotations

import gc
import itertools
import re
import sys
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from structlog.testing import capture_logs

from scorewire_proto.v1 import models_pb2
from scorewire_server.catalog.repository import scan
from scorewire_server.engine.reference.session import open_session
from scorewire_server.engine.runs_on import (
    KERNEL,
    ONNXRUNTIME,
    Program,
    RunsOn,
    UnsupportedGraphError,
    refuse_programs,
)
from scorewire_server.engine.snapshot import LoadedVersion
from scorewire_server.loading.loader import load
from tests import bundles

DESCRIPTION = "a program of the tests"


class TestProgram:
    """A program that runs a graph in onnxruntime, and spoils its outputs.

    Args:
        graph: the graph.
        spoil: changes the outputs of a run.
    """

    __test__ = False

    def __init__(self, graph: bytes, spoil: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
        self._run, self._spoil = open_session(graph, 1), spoil
        self.description = DESCRIPTION

    def __call__(self, names: list[str], feeds: dict[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        return [self._spoil(values.copy()) for values in self._run(names, feeds)]


class _Session:
    """A session that a weak reference can point to."""

    def __init__(self, graph: bytes) -> None:
        self._run = open_session(graph, 1)

    def __call__(self, names: list[str], feeds: dict[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        return self._run(names, feeds)


def _load(
    models: Path, spoil: Callable[[NDArray[Any]], NDArray[Any]]
) -> tuple[LoadedVersion, weakref.ref[_Session]]:
    """Load the only bundle; the reference points to its session in onnxruntime."""
    opened: list[weakref.ref[_Session]] = []

    def open_graph(graph: bytes) -> _Session:
        session = _Session(graph)
        opened.append(weakref.ref(session))
        return session

    def compile_graph(graph: bytes) -> Program:
        return TestProgram(graph, spoil)

    (folder,) = scan(models)
    loaded = load(folder, open_graph, compile_graph=compile_graph).loaded
    assert loaded is not None
    gc.collect()
    return loaded, opened[0]


def test_a_program_that_scores_the_golden_rows_serves_without_onnxruntime(models: Path) -> None:
    bundles.write_sum_bundle(models)
    loaded, session = _load(models, lambda values: values)
    assert loaded.runs_on == RunsOn(KERNEL, DESCRIPTION)
    assert isinstance(loaded.scorer.run, TestProgram)
    assert session() is None
    scores = loaded.scorer.score(1, np.array([1.0, 2.0]), ["pe"])
    assert scores.outputs[0].tolist() == [[bundles.expected_value([1.0, 2.0], "pe")]]


def _in_large_runs(values: NDArray[Any]) -> NDArray[Any]:
    """The last bit of one score of a large run differs."""
    if len(values) > 1000:
        values[-1] = np.nextafter(values[-1], np.float32(np.inf))
    return values


def _in_small_runs(values: NDArray[Any]) -> NDArray[Any]:
    if len(values) == 1:
        values[-1] = np.nextafter(values[-1], np.float32(np.inf))
    return values


def _fail(values: NDArray[Any]) -> NDArray[Any]:
    raise RuntimeError("a fault of the tests")


class PanicException(BaseException):
    """A panic of Rust."""


def _panic(values: NDArray[Any]) -> NDArray[Any]:
    raise PanicException("an index out of bounds")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda values: values + 0.01, "golden row 0: value[0] is "),
        (lambda values: values[:-1], "cannot reshape"),
        (_in_large_runs, "golden rows have other scores in a run of 1500 rows than alone"),
        (_in_small_runs, "golden rows have other scores in a run of 2 rows than alone"),
    ],
)
def test_a_program_that_is_wrong_never_serves(
    models: Path, spoil: Callable[[NDArray[Any]], NDArray[Any]], reason: str
) -> None:
    bundles.write_sum_bundle(models)
    with capture_logs() as logs:
        loaded, session = _load(models, spoil)
    assert loaded.scorer.run is session()
    assert loaded.runs_on.name == ONNXRUNTIME
    assert loaded.runs_on.details.startswith("the kernel's program was refused: ")
    assert reason in loaded.runs_on.details
    (log,) = logs
    assert (log["log_level"], log["model"], log["version"]) == ("error", "sum", "1.0.0")
    assert reason in log["reason"]


@pytest.mark.parametrize(
    ("spoil", "name", "text"),
    [
        (_fail, "RuntimeError", "a fault of the tests"),
        (_panic, "PanicException", "an index out of bounds"),
    ],
)
def test_a_program_that_fails_never_serves_and_leaves_its_traceback(
    models: Path, spoil: Callable[[NDArray[Any]], NDArray[Any]], name: str, text: str
) -> None:
    bundles.write_sum_bundle(models)
    with capture_logs() as logs:
        loaded, session = _load(models, spoil)
    assert loaded.scorer.run is session()
    assert loaded.runs_on == RunsOn(ONNXRUNTIME, f"the kernel's program was refused: {name}: {text}")
    fault, refusal = logs
    assert (fault["method"], type(fault["exc_info"]).__name__) == ("compile sum 1.0.0", name)
    assert fault["exc_info"].__traceback__ is not None
    assert refusal["event"] == "program refused, onnxruntime runs the graph"


def test_a_run_of_each_range_of_rows_is_proven(models: Path) -> None:
    """The kernel may score each range of rows in another form."""
    choice = Path("server/native/kernel/src/trees/choice.rs").read_text(encoding="utf-8")
    (ends,) = re.findall(r"^const ENDS: .* = \[(.*), usize::MAX\];$", choice, re.MULTILINE)
    bounds = [0, *map(int, ends.split(","))]
    proven = set()

    def note(values: NDArray[Any]) -> NDArray[Any]:
        proven.add(len(values))
        return values

    bundles.write_sum_bundle(models)
    loaded, _ = _load(models, note)
    assert loaded.runs_on.name == KERNEL
    for begin, end in itertools.pairwise([*bounds, sys.maxsize]):
        assert any(begin < rows <= end for rows in proven), (begin, end)


def test_a_program_does_not_save_a_bundle_that_onnxruntime_scores_otherwise(models: Path) -> None:
    bundles.write_sum_bundle(models)

    def open_wrong(graph: bytes) -> Program:
        return TestProgram(graph, lambda values: values + 0.01)

    (folder,) = scan(models)
    record = load(folder, open_wrong, compile_graph=lambda graph: TestProgram(graph, lambda values: values))
    assert record.state == models_pb2.VERSION_STATE_REFUSED
    assert "golden row 0: value[0] is " in record.reason


def test_a_compiler_that_panics_leaves_the_version_to_onnxruntime(models: Path) -> None:
    bundles.write_sum_bundle(models)

    def fail(graph: bytes) -> Program:
        raise PanicException("an index out of bounds")

    (folder,) = scan(models)
    with capture_logs() as logs:
        record = load(folder, _Session, compile_graph=fail)
    assert record.loaded is not None
    reason = "the kernel's program was refused: PanicException: an index out of bounds"
    assert record.loaded.runs_on == RunsOn(ONNXRUNTIME, reason)
    assert [log["event"] for log in logs] == [
        "call failed by a fault of the server",
        "program refused, onnxruntime runs the graph",
    ]


@pytest.mark.parametrize("error", [UnsupportedGraphError, ValueError, RuntimeError])
def test_names_of_a_graph_are_told_printable_and_cut(models: Path, error: type[Exception]) -> None:
    bundles.write_sum_bundle(models)

    def refuse(graph: bytes) -> Program:
        raise error("the output \x1b[2J\n" + "n" * 10_000 + " has no node")

    (folder,) = scan(models)
    with capture_logs() as logs:
        record = load(folder, _Session, compile_graph=refuse)
    assert record.loaded is not None
    told = [record.loaded.runs_on.details, *(log["reason"] for log in logs if "reason" in log)]
    for text in told:
        assert text.isprintable()
        assert r"the output \x1b[2J\nnnn" in text
        assert len(text) < 1_100


def test_a_graph_that_only_onnxruntime_runs_says_why(models: Path) -> None:
    bundles.write_greeting_bundle(models)
    (folder,) = scan(models)
    record = load(folder, _Session, compile_graph=refuse_programs("it greets"))
    assert record.loaded is not None
    assert isinstance(record.loaded.scorer.run, _Session)
    assert record.loaded.runs_on == RunsOn(ONNXRUNTIME, "it greets")
