"""Programs of the kernel in the reference engine."""

from __future__ import annotations

from time import monotonic
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from scorewire_server.engine.interpreted.run_limit import run_until
from scorewire_server.engine.reference import program
from scorewire_server.engine.reference.program import KernelProgram, find_compiler
from scorewire_server.engine.runs_on import UnsupportedGraphError
from tests.tree_bundles import Trees

TREES = Trees()


@pytest.fixture
def trees() -> KernelProgram:
    pytest.importorskip("scorewire_kernel")
    return KernelProgram(TREES.graph())


@pytest.mark.parametrize("count", [0, 1, 4096, 4097, 10_000])
def test_runs_of_any_size_have_the_scores_of_the_trees(trees: KernelProgram, count: int) -> None:
    rows = TREES.rows(count)
    (scores,) = trees(["value"], {"features": rows})
    np.testing.assert_array_equal(scores, TREES.score(rows)[:, None])


def test_inputs_need_not_be_contiguous(trees: KernelProgram) -> None:
    rows = np.asfortranarray(TREES.rows(10))
    np.testing.assert_array_equal(trees(["value"], {"features": rows})[0], TREES.score(rows)[:, None])


def test_a_run_is_stopped_at_its_limit(trees: KernelProgram) -> None:
    with run_until(monotonic()), pytest.raises(TimeoutError, match="the run took too long and was stopped"):
        trees(["value"], {"features": TREES.rows(10)})
    assert len(trees(["value"], {"features": TREES.rows(10)})[0]) == 10


@pytest.mark.parametrize(
    ("names", "feeds", "message"),
    [
        (["value"], {}, r"the inputs have \[\] rows"),
        (["value"], {"features": np.zeros((2, 3)), "x": np.zeros((3, 1))}, r"the inputs have \[2, 3\] rows"),
        (["value"], {"other": np.zeros((2, 3))}, 'no input has the name "other"'),
        (["other"], {"features": np.zeros((2, 3))}, 'no output has the name "other"'),
        (["value"], {"features": np.zeros((2, 4))}, r"has the shape \[2, 4\] instead of \[rows, 3\]"),
        (["value"], {"features": np.zeros((2, 3), np.float32)}, 'input "features" is not taken'),
    ],
)
def test_inputs_that_do_not_fit_a_program_are_refused(
    trees: KernelProgram, names: list[str], feeds: dict[str, NDArray[Any]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        trees(names, feeds)


def test_a_graph_that_only_onnxruntime_runs_is_refused_with_the_reason() -> None:
    pytest.importorskip("scorewire_kernel")
    with pytest.raises(UnsupportedGraphError, match="the model cannot be read"):
        KernelProgram(b"abc")


def test_without_the_package_no_graph_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "find_spec", lambda _: None)
    with pytest.raises(UnsupportedGraphError, match="the package scorewire-kernel is not installed"):
        find_compiler()(TREES.graph())
