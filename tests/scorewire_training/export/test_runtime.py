from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest

from scorewire_training.export.errors import ExportError
from scorewire_training.export.runtime import open_graph


class _Failing:
    """A session that fails to run."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def run(self, *_: Any) -> Any:
        raise self._error


def test_a_graph_for_which_memory_runs_out_is_told_with_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: Any, **__: Any) -> Any:
        raise MemoryError("std::bad_alloc")

    monkeypatch.setattr(onnxruntime, "InferenceSession", no_memory)
    with pytest.raises(
        ExportError, match="memory ran out: .* graph of 3 bytes: MemoryError: std::bad_alloc; "
    ):
        open_graph(b"abc")


def test_a_run_for_which_memory_runs_out_is_told_with_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    feeds = {"x": np.zeros((7, 2))}
    for error, raised in ((MemoryError(), ExportError), (KeyError("x"), KeyError)):
        monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, error=error, **__: _Failing(error))
        with pytest.raises(raised, match="memory ran out: .* on 7 rows" if raised is ExportError else "x"):
            open_graph(b"abc")([], feeds)
