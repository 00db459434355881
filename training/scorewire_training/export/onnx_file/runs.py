"""Test runs of an ONNX file's graph: whether it scores rows together as it scores each row alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from scorewire_contract.scoring import RunGraph, within_tolerance
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_training.export.errors import ExportError, UnsupportedModelError
from scorewire_training.export.onnx_file.signature import Signature, with_free_rows
from scorewire_training.export.runtime import open_graph
from scorewire_training.export.tolerance import Tolerance, how_to_allow, share_of

# Differences between releases of onnxruntime and kinds of processors.
RELATIVE, ABSOLUTE = 1e-5, 1e-6
# The sizes that a server runs: rows that arrived together, the golden rows of the warm-up, large calls.
_ROWS_TOGETHER = (2, 3, 4, 5, 7, 8, 15, 16, 17, 256, 1_000, 10_000)
_MAX_VALUES_TOGETHER = 1_000_000

Feeds: TypeAlias = "dict[str, NDArray[Any]]"


class _TakesOneRowError(Exception):
    """A run of several rows failed, or did not return a row for each."""


def golden_tolerance(tolerance: Tolerance | None) -> manifest_pb2.Tolerance:
    """The tolerance of an output's golden scores."""
    return (tolerance or Tolerance(RELATIVE)).to_message(ABSOLUTE)


def choose_run_mode(
    model: onnx.ModelProto, signature: Signature, feeds: Feeds, tolerances: Mapping[str, Tolerance]
) -> tuple[bytes, bool, list[NDArray[Any]]]:
    """Decide how a graph is run: with all rows of a call together, or row by row.

    A graph that does not run on several rows is served row by row.

    Args:
        model: the graph.
        signature: its tensors.
        feeds: the sample, an array of [rows, ...] for each input.
        tolerances: the user's tolerances, by output.

    Returns:
        The graph to serve, whether it is run row by row, and its outputs for the sample.

    Raises:
        UnsupportedModelError: an output does not have one row for each input row, or a
            row scores differently with other rows or when it is repeated.
        ExportError: onnxruntime does not run the graph.
    """
    graph = model.SerializeToString(deterministic=True)
    names = [name for name, _ in signature.outputs]
    run = open_graph(graph)
    alone = _alone(run, names, feeds)
    together, run_together = graph, run
    try:
        if signature.one_row:
            together = with_free_rows(model, signature).SerializeToString(deterministic=True)
            run_together = open_graph(together)
        problem = _differing(run_together, names, feeds, alone, tolerances)
    except (ExportError, _TakesOneRowError):
        return graph, True, alone
    if not problem:
        return together, False, alone
    again = _alone(run, names, feeds)
    if any(not _same(*pair, None).all() for pair in zip(again, alone, strict=True)):
        raise UnsupportedModelError(
            "the graph's scores of the same row differ from run to run",
            "export it without operators that draw at random",
        )
    if signature.one_row:
        return graph, True, alone
    raise UnsupportedModelError(*problem)


def _alone(run: RunGraph, names: list[str], feeds: Feeds) -> list[NDArray[Any]]:
    """The graph's outputs for the rows, each scored alone."""
    count = len(next(iter(feeds.values())))
    try:
        singles = [
            [np.asarray(each) for each in run(names, {k: v[i : i + 1] for k, v in feeds.items()})]
            for i in range(count)
        ]
    except ExportError:
        raise
    except Exception as error:  # onnxruntime's errors have no base of their own
        raise ExportError(
            f"onnxruntime does not run the graph on a row of the sample: {error}; give a sample of rows that "
            "the graph takes by --sample, and export it so that one row may come alone"
        ) from None
    for name, values in zip(names, zip(*singles, strict=True), strict=True):
        if any(not part.shape or part.shape[0] != 1 for part in values) or len({p.shape for p in values}) > 1:
            raise UnsupportedModelError(
                f"output {name!r} does not have one row per input row", "export it as [rows, ...]"
            )
    return [np.concatenate(parts) for parts in zip(*singles, strict=True)]


def _differing(
    run: RunGraph,
    names: Sequence[str],
    feeds: Feeds,
    alone: Sequence[NDArray[Any]],
    tolerances: Mapping[str, Tolerance],
) -> tuple[str, str] | None:
    """Why rows score differently together than alone, and what to do; None where they score the same."""
    count = len(next(iter(feeds.values())))
    width = sum(math.prod(values.shape[1:]) for values in feeds.values())
    most = max(count, _MAX_VALUES_TOGETHER // width)
    for size in sorted({count, *(size for size in _ROWS_TOGETHER if size <= most)}):
        chosen = np.arange(size) % count
        try:
            scores = [np.asarray(each) for each in run(list(names), {k: v[chosen] for k, v in feeds.items()})]
        except Exception as error:  # onnxruntime's errors have no base of their own
            if "alloc" in str(error):
                # This many rows do not fit into memory here; the server has its own limit.
                return None
            raise _TakesOneRowError from error
        for name, found, own in zip(names, scores, alone, strict=True):
            wanted = own[chosen]
            if found.shape != wanted.shape:
                raise _TakesOneRowError
            if not _same(found, wanted, tolerances.get(name)).all():
                return _explain(name, size, found, wanted, tolerances.get(name))
    return None


def _same(found: NDArray[Any], wanted: NDArray[Any], tolerance: Tolerance | None) -> NDArray[np.bool_]:
    if found.dtype.kind == "f":
        return within_tolerance(found, wanted, golden_tolerance(tolerance))
    return np.asarray(found == wanted, dtype=np.bool_)


def _explain(
    name: str, size: int, found: NDArray[Any], wanted: NDArray[Any], tolerance: Tolerance | None
) -> tuple[str, str]:
    reason = f"the graph scores a row differently when others are scored with it ({name!r}, {size} rows)"
    way_out = "export it with a first dimension of 1, and rows are scored one by one"
    if found.dtype.kind == "f":
        limit = golden_tolerance(tolerance)
        share = float(np.max(share_of(found, wanted, limit)))
        how = how_to_allow({name: share}, {name: Tolerance(limit.relative, limit.absolute)})
        way_out = f"{way_out}. {how}".rstrip()
    return reason, way_out
