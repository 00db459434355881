"""What the parity gate asks of the kernel, which servers run trees with.

Where the kernel is installed and runs the graph, its scores must be within the
tolerance, as onnxruntime's. Where the arithmetic of the model's library is known
(`LoweredModel.is_exact`), the gate asks for equal bits, NaN equal to NaN, and a class
is no exception in a tie.
Other bits within the tolerance end the claim of the manifest, and not the export:
another release of a library, or the threads of a forest, may round a sum otherwise,
and the scores are still right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorewire_contract.scoring import RunGraph
from scorewire_training.export.errors import ParityError
from scorewire_training.export.graph import ModelOutput
from scorewire_training.export.parity.fitted_model import FittedScores
from scorewire_training.export.parity.gate import BundleScores, ParityReport, compare
from scorewire_training.export.parity.hard_rows import ComparisonRows
from scorewire_training.export.tolerance import Tolerance

# The kernel scores a row otherwise by how many rows are run with it. These sizes are of all ways.
_ROWS_OF_RUNS = (512, 256, 64, 16, 4, 1)


def same_bits(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where two arrays have the same bits; NaN equals NaN."""
    equal = (one == other) & (np.signbit(one) == np.signbit(other))
    return np.asarray(equal | (np.isnan(one) & np.isnan(other)))


def rows_with_other_bits(fitted: FittedScores, kernel: BundleScores) -> int:
    """The number of rows, among those that both sides score, in which an output has other bits."""
    both = ~fitted.refused
    both[kernel.refused] = False
    differ = np.zeros(len(both), dtype=np.bool_)
    for found, wanted in zip(kernel.outputs, fitted.outputs, strict=True):
        differ |= ~same_bits(found, wanted).all(axis=1)
    return int(np.count_nonzero(both & differ))


def compare_kernel(
    parity: ParityReport,
    compared: ComparisonRows,
    fitted: FittedScores,
    kernel: BundleScores,
    outputs: Sequence[ModelOutput],
    *,
    tolerances: Mapping[str, Tolerance],
    compares_bits: bool,
) -> ParityReport:
    """Compare the kernel's scores with the fitted model's, and add the result to a report.

    Args:
        parity: the report of onnxruntime's scores.
        compared: the rows.
        fitted: the fitted model's scores.
        kernel: the scores of the graph in the kernel.
        outputs: the outputs of both sides.
        tolerances: the user's tolerances, by output.
        compares_bits: whether the arithmetic of the model's library is known.

    Raises:
        ParityError: a row differs by more than the tolerance; the message has a table of rows.
    """
    try:
        compare(compared, fitted, kernel, outputs, tolerances)
    except ParityError as error:
        raise ParityError(f"in the kernel, with which servers run this graph, {error}") from None
    if not compares_bits:
        return parity
    return replace(parity, rows_with_other_bits=rows_with_other_bits(fitted, kernel))


def in_runs_of_any_size(run: RunGraph) -> RunGraph:
    """A function that runs all rows in runs of one size, then again in runs of other sizes.

    It raises ParityError if a row has other bits in a run of another size.
    """

    def run_each_size(names: list[str], feeds: dict[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        first, *others = (_in_runs(run, names, feeds, rows) for rows in _ROWS_OF_RUNS)
        for rows, other in zip(_ROWS_OF_RUNS[1:], others, strict=True):
            if not all(same_bits(one, another).all() for one, another in zip(first, other, strict=True)):
                raise ParityError(
                    f"the kernel scores rows differently in runs of {_ROWS_OF_RUNS[0]} and of {rows}: this is"
                    " a fault of the kernel, please report it with the kind of model"
                )
        return first

    return run_each_size


def _in_runs(
    run: RunGraph, names: list[str], feeds: dict[str, NDArray[Any]], rows: int
) -> list[NDArray[Any]]:
    count = len(next(iter(feeds.values())))
    parts = [
        run(names, {name: values[begin : begin + rows] for name, values in feeds.items()})
        for begin in range(0, max(count, 1), rows)
    ]
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
