"""The parity gate: the bundle's graph and the fitted model must agree on every row.

1. Numbers and probabilities agree if they differ by at most their tolerance. The
   default tolerance is `RELATIVE` times the fitted model's score plus an absolute
   part: `RELATIVE` for probabilities, `RELATIVE` times the standard deviation over
   the sample for numbers.
2. A class must be the same. The only exception is a tie: the fitted model gives
   both classes the same probability within `RELATIVE`.
3. A row that one side refuses, the other side must refuse too.

`exactness` has a stricter rule for trees.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorewire_contract.coding import RowError
from scorewire_contract.scoring import RunGraph, Scorer, within_tolerance
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.errors import ParityError
from scorewire_training.export.frames import WireRows
from scorewire_training.export.graph import ModelOutput
from scorewire_training.export.parity.fitted_model import FittedScores
from scorewire_training.export.parity.hard_rows import SAMPLE, ComparisonRows
from scorewire_training.export.tolerance import (
    RELATIVE,
    Tolerance,
    difference_of,
    how_to_allow,
    resolve_tolerance,
    share_of,
)

_MAX_ROWS_SHOWN = 20
_ROWS_PER_CALL = 2_000
_ROWS_ALONE = 16


@dataclass(frozen=True, slots=True)
class BundleScores:
    """Scores of the graph, in the form of `FittedScores`, and the error of each refused row."""

    outputs: list[NDArray[np.float64]]
    errors: list[RowError]

    @property
    def refused(self) -> list[int]:
        """The refused rows, ascending."""
        return [error.row for error in self.errors]

    def take(self, rows: Sequence[int]) -> BundleScores:
        """The scores of some of the rows, given in ascending order."""
        places = {row: place for place, row in enumerate(rows)}
        errors = [replace(error, row=places[error.row]) for error in self.errors if error.row in places]
        return BundleScores([values[rows] for values in self.outputs], errors)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityReport:
    """The result of the comparison; `scorewire.bundle.v1.Parity` explains the fields.

    `output_tolerances` has the outputs whose tolerance a user gave. `rows_with_other_bits`
    counts the rows that the kernel scores within the tolerance, but not with the fitted
    model's own bits; None if bits were not compared.
    """

    rows_compared: int
    rows_refused: int
    worst_share_of_tolerance: float
    worst_absolute_difference: float
    relative_tolerance: float
    absolute_tolerance: float
    rows_by_origin: dict[str, int]
    output_tolerances: Mapping[str, manifest_pb2.Tolerance] = field(default_factory=dict)
    rows_with_other_bits: int | None = None

    @property
    def exact(self) -> bool:
        """Whether the kernel gave every compared row the fitted model's own bits."""
        return self.rows_with_other_bits == 0

    def to_message(self) -> manifest_pb2.Parity:
        """The message for the manifest."""
        return manifest_pb2.Parity(
            rows_compared=self.rows_compared,
            rows_refused=self.rows_refused,
            worst_share_of_tolerance=self.worst_share_of_tolerance,
            worst_absolute_difference=self.worst_absolute_difference,
            tolerance=manifest_pb2.Tolerance(
                relative=self.relative_tolerance, absolute=self.absolute_tolerance
            ),
            rows_by_origin=self.rows_by_origin,
            output_tolerances=self.output_tolerances,
            exact=self.exact,
        )


def score_rows(
    scorer: Scorer,
    rows: WireRows,
    tolerances: Mapping[str, Tolerance] | None = None,
    report_stage: Callable[[str], None] = lambda _: None,
) -> BundleScores:
    """Score rows as an engine does.

    Args:
        scorer: scores rows with the bundle.
        rows: the rows to score.
        tolerances: the user's tolerances, by output.
        report_stage: called with the progress.

    Raises:
        ParityError: the scores of a row depend on the rows that are scored with it.
    """

    def report(done: int) -> None:
        report_stage(f"Scoring rows with the graph, forwards and backwards ({done:,} of {2 * len(rows):,})")

    scores = score_once(scorer, rows, report)
    backwards = score_once(scorer, rows.take(slice(None, None, -1)), lambda done: report(len(rows) + done))
    alone = np.linspace(0, len(rows) - 1, min(_ROWS_ALONE, len(rows))).astype(np.intp)
    singles = [score_once(scorer, rows.take([row])) for row in alone]
    for i, values in enumerate(scores.outputs):
        given = (tolerances or {}).get(scorer.output_names[i], Tolerance())
        tolerance = given.to_message(given.relative)
        single = np.concatenate([part.outputs[i] for part in singles])
        for way, other, same in (
            ("in another order", backwards.outputs[i][::-1], values),
            ("one by one", single, values[alone]),
        ):
            if not within_tolerance(other, same, tolerance).all():
                share = float(np.max(share_of(other, same, tolerance)))
                how = how_to_allow({scorer.output_names[i]: share}, tolerances or {})
                raise ParityError(
                    f"the graph scores rows differently when they are scored {way}: its arithmetic rounds "
                    "otherwise then, and the model turns on the last bit; put no power, product or sum of "
                    "columns before trees, and use no kernel of a support vector machine on unscaled "
                    f"columns. {how}".rstrip()
                )
    return scores


def score_once(
    scorer: Scorer, rows: WireRows, report: Callable[[int], None] = lambda _: None
) -> BundleScores:
    """Score rows, in calls of some thousands; `report` is told how many are done."""
    parts = []
    errors: list[RowError] = []
    for begin in range(0, len(rows), _ROWS_PER_CALL):
        report(begin)
        part = rows.take(slice(begin, begin + _ROWS_PER_CALL))
        scores = scorer.score(len(part), part.numbers.ravel(), part.flat_texts())
        parts.append(scores.outputs)
        errors += [
            RowError(begin + error.row, error.reason, error.feature, error.message) for error in scores.errors
        ]
    return BundleScores([np.concatenate(arrays) for arrays in zip(*parts, strict=True)], errors)


def checked_shapes(run: RunGraph, outputs: Sequence[ModelOutput]) -> RunGraph:
    """Wrap a graph's function so that it raises ParityError if an output's shape is not [rows, width]."""
    widths = {output.name: output.width for output in outputs}

    def run_and_check(names: list[str], feeds: dict[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        scores = run(names, feeds)
        rows = len(next(iter(feeds.values())))
        for name, score in zip(names, scores, strict=True):
            allowed = [(rows, widths[name])] + ([(rows,)] if widths[name] == 1 else [])
            if np.shape(score) not in allowed:
                raise ParityError(
                    f"output {name!r} has shape {np.shape(score)}, expected {allowed[0]}: this is a "
                    "fault of the exporter, please report it with the kind of model"
                )
        return scores

    return run_and_check


def compare(
    compared: ComparisonRows,
    fitted: FittedScores,
    bundle: BundleScores,
    outputs: Sequence[ModelOutput],
    tolerances: Mapping[str, Tolerance] | None = None,
) -> ParityReport:
    """Compare the two sides row by row.

    Args:
        compared: the rows.
        fitted: the fitted model's scores.
        bundle: the bundle's scores.
        outputs: the outputs of both sides.
        tolerances: the user's tolerances, by output.

    Raises:
        ParityError: the sides differ in a row; the message has a table of rows.
        ExportError: a user's absolute tolerance is too large for the scores.
    """
    comparison = _ParityCheck(compared, fitted, bundle, outputs, tolerances or {})
    if comparison.differences:
        raise ParityError(comparison.explain())
    return comparison.report()


@dataclass(frozen=True, slots=True)
class _Difference:
    row: int
    output: str
    fitted: str
    bundle: str
    # The difference divided by the tolerance; infinite for NaN and refusals, 0 for a class.
    share: float
    # The output whose tolerance `share` refers to.
    tolerant: str = ""


class _ParityCheck:
    def __init__(
        self,
        compared: ComparisonRows,
        fitted: FittedScores,
        bundle: BundleScores,
        outputs: Sequence[ModelOutput],
        tolerances: Mapping[str, Tolerance],
    ) -> None:
        self._tried, self._outputs, self._tolerances = compared, outputs, tolerances
        self._given: dict[str, manifest_pb2.Tolerance] = {}
        self._fitted, self._bundle = fitted.outputs, bundle.outputs
        self._in_sample = np.array([origin == SAMPLE for origin in compared.origins])
        refused = np.zeros(len(compared), dtype=np.bool_)
        refused[bundle.refused] = True
        self._refused_count = int(refused.sum())
        self._both = ~refused & ~fitted.refused
        self.differences = [
            _Difference(
                int(row),
                "",
                *(("refused", "scored") if fitted.refused[row] else ("scored", "refused")),
                np.inf,
            )
            for row in np.flatnonzero(refused != fitted.refused)
        ]
        self._worst_share = self._worst_difference = self._absolute = 0.0
        for i, output in enumerate(outputs):
            if output.kind == schema_pb2.OUTPUT_KIND_CLASS:
                self._compare_classes(i)
            else:
                self._compare_numbers(i)
        self.differences.sort(key=lambda d: (-d.share, d.row))

    def _compare_numbers(self, index: int) -> None:
        output, target, values = self._outputs[index], self._fitted[index], self._bundle[index]
        allowed = resolve_tolerance(self._tolerances.get(output.name), output, target[self._in_sample])
        widest = max(allowed, key=lambda tolerance: tolerance.absolute)
        if output.name in self._tolerances:
            self._given[output.name] = widest
        else:
            self._absolute = max(self._absolute, widest.absolute)
        for column, tolerance in enumerate(allowed):
            wanted, found = target[:, column], values[:, column]
            agree = within_tolerance(found, wanted, tolerance)
            share = share_of(found, wanted, tolerance)
            difference = difference_of(found, wanted)
            settled = self._both & agree & np.isfinite(share)
            self._worst_share = max(self._worst_share, share[settled].max(initial=0.0))
            self._worst_difference = max(self._worst_difference, difference[settled].max(initial=0.0))
            label = f"{output.name}[{column}]" if output.width > 1 else output.name
            self.differences += [
                _Difference(
                    int(row),
                    label,
                    f"{wanted[row]:.9g}",
                    f"{found[row]:.9g}",
                    float(np.nan_to_num(share[row], nan=np.inf)),
                    output.name,
                )
                for row in np.flatnonzero(self._both & ~agree)
            ]

    def _compare_classes(self, index: int) -> None:
        output = self._outputs[index]
        wanted, found = self._fitted[index].ravel(), self._bundle[index].ravel()
        rows = np.flatnonzero(self._both & (wanted != found))
        probabilities = next(
            (
                self._fitted[i]
                for i, other in enumerate(self._outputs)
                if other.kind == schema_pb2.OUTPUT_KIND_PROBABILITY and other.target == output.target
            ),
            None,
        )
        for row in rows:
            if probabilities is not None and self._is_tie(probabilities[row], wanted[row], found[row]):
                continue
            names = [
                output.class_labels[int(c)] if 0 <= c < len(output.class_labels) else str(c)
                for c in (wanted[row], found[row])
            ]
            self.differences.append(_Difference(int(row), output.name, names[0], names[1], 0.0))

    @staticmethod
    def _is_tie(probabilities: NDArray[np.float64], one: float, other: float) -> bool:
        if not 0 <= other < len(probabilities):
            return False
        pair = probabilities[[int(one), int(other)]]
        # Both probabilities may be off by the tolerance, in opposite directions.
        allowed = 2 * RELATIVE * (1 + float(pair.max()))
        return bool(abs(pair[0] - pair[1]) <= allowed)

    def report(self) -> ParityReport:
        return ParityReport(
            rows_compared=len(self._tried),
            rows_refused=self._refused_count,
            worst_share_of_tolerance=float(self._worst_share),
            worst_absolute_difference=float(self._worst_difference),
            relative_tolerance=RELATIVE,
            absolute_tolerance=float(self._absolute),
            rows_by_origin=dict(sorted(Counter(self._tried.origins).items())),
            output_tolerances=self._given,
        )

    def explain(self) -> str:
        rows = {difference.row for difference in self.differences}
        totals = Counter(self._tried.origins)
        wrong = Counter(self._tried.origins[row] for row in rows)
        by_origin = ", ".join(f"{origin} {wrong[origin]} of {totals[origin]}" for origin in sorted(wrong))
        shown: dict[int, _Difference] = {}
        for difference in self.differences:
            shown.setdefault(difference.row, difference)
        worst = list(shown.values())[:_MAX_ROWS_SHOWN]
        head = (
            f"the bundle and the fitted model differ in {len(rows)} of {len(self._tried)} rows "
            f"({by_origin}), and no bundle was written"
        )
        more = f"\n... and {len(rows) - len(worst)} rows more" if len(rows) > len(worst) else ""
        return f"{head}\n{self._table(worst)}{more}\n{self._advice()}"

    def _advice(self) -> str:
        """What the user can do: allow a rounding difference, or change the model."""
        shares: dict[str, float] = {}
        for difference in self.differences:
            if not difference.tolerant or not 0 < difference.share < np.inf:
                return _ADVICE
            shares[difference.tolerant] = max(shares.get(difference.tolerant, 0.0), difference.share)
        how = how_to_allow(shares, self._tolerances)
        return f"{how}\n{_ADVICE}" if how else _ADVICE

    def _table(self, differences: Sequence[_Difference]) -> str:
        lines = [("row", "origin", "change", "output", "fitted model", "bundle", "x tolerance")]
        lines += [
            (
                str(d.row),
                self._tried.origins[d.row],
                self._tried.changes[d.row] or "-",
                d.output or "-",
                d.fitted,
                d.bundle,
                f"{d.share:.3g}" if 0 < d.share < np.inf else "-",
            )
            for d in differences
        ]
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )


_ADVICE = (
    "What helps: fit on float64 columns; no sums or products of columns before trees; text columns without "
    "both '' and missing; a sample drawn from the rows that the model was fitted on. If none applies, this "
    "is a fault of the exporter: please report it with the table."
)
