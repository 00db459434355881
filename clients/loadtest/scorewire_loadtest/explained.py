"""The check of contributions, which the answers of a run with --explain have."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from scorewire import Explain
from scorewire_loadtest.calls import Expectation, PreparedCall
from scorewire_proto.v1 import packed_pb2

_DOUBLE = np.dtype("<f8")
# Of the sum of all magnitudes: what the order of additions may change, and much less than a wrong column.
_TOLERANCE = 1e-9


def explained(calls: list[PreparedCall], explain: Explain) -> list[PreparedCall]:
    """The calls, which ask for contributions, too, and expect them besides what they expected before."""
    asked = packed_pb2.PackedPredictRequest()
    asked.explain.top_k, asked.explain.output = explain.top_k, explain.output
    # A message that follows another one adds its fields to it.
    more = asked.SerializeToString()
    return [
        PreparedCall(call.request + more, call.row_count, Explained(call.expectation, explain.top_k))
        for call in calls
    ]


class Explained:
    """Expects contributions of each scored row and, if those of all columns are asked for, their sum.

    Args:
        scores: what else is expected.
        top_k: how many columns are asked for; 0 for all.
    """

    def __init__(self, scores: Expectation, top_k: int) -> None:
        self._scores = scores
        self._top_k = top_k
        # The last right contributions; the same bytes need no second look.
        self._right: bytes | None = None

    def problem(self, response: packed_pb2.PackedPredictResponse) -> str:
        """As in `Expectation`."""
        problem = self._scores.problem(response)
        if problem:
            return problem
        if not response.HasField("contributions"):
            return "no contributions"
        found = response.contributions.SerializeToString(deterministic=True)
        if found == self._right:
            return ""
        problem = self._problem(response)
        if not problem:
            self._right = found
        return problem

    def _problem(self, response: packed_pb2.PackedPredictResponse) -> str:
        found = response.contributions
        margins, values = _doubles(found.margins), _doubles(found.values)
        rows, count, columns = response.row_count, len(found.base), len(found.columns)
        width = min(self._top_k, values.size // max(margins.size, 1)) if self._top_k else columns
        if not count or margins.size != rows * count or values.size != margins.size * width:
            return (
                f"{margins.size} margins and {values.size} contributions of {rows} rows and {columns} columns"
            )
        if self._top_k and (len(found.places) != values.size or max(found.places, default=0) >= columns):
            return f"{len(found.places)} places of {values.size} contributions among {columns} columns"
        scored = np.ones(rows, dtype=bool)
        scored[[error.row for error in response.errors]] = False
        margins, values = margins.reshape(rows, count)[scored], values.reshape(rows, count, width)[scored]
        if not np.isfinite(values).all():
            return "a scored row has no contributions"
        if self._top_k:
            return ""
        base = np.array(found.base)
        room = _TOLERANCE * (np.abs(base) + np.abs(values).sum(axis=2))
        off = np.abs(base + values.sum(axis=2) - margins)
        if not (off <= room).all():
            return f"base and contributions are {np.nanmax(off):.3g} off the margin"
        return ""


def _doubles(pieces: Iterable[bytes]) -> NDArray[np.float64]:
    data = b"".join(pieces)
    return np.frombuffer(data, dtype=_DOUBLE, count=len(data) // _DOUBLE.itemsize)
