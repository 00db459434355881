"""The proof of an explanation: it adds up, it leads to the output, and it is the library's own.

1. The base and the contributions add up to each margin, within 1e-10 of their magnitudes.
2. The link function of the margins is the output, within the output's tolerance. Libraries
   round their margins, XGBoost to float, so margins may be off by 5e-6 of their
   magnitudes before the function.
3. A column changes only with the feature that it is computed from.
4. Where the library computes contributions itself, and no feature has several of the
   model's columns, each contribution is the library's, within 1e-4 of their magnitudes
   for XGBoost, which computes them in float, and within 1e-6 for LightGBM.

Magnitudes are the sum of the base's and the contributions' magnitudes. A difference is a
fault of the exporter or of the kernel, and no bundle is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorewire_contract.coding import RowCoder
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_training.export.errors import ParityError
from scorewire_training.export.explanation.exchanging import check_features
from scorewire_training.export.explanation.explaining import ExplainedModel, PlannedOutput
from scorewire_training.export.explanation.library import (
    LibraryContributions,
    library_contributions,
    match_columns,
)
from scorewire_training.export.frames import FrameCodec
from scorewire_training.export.graph import ModelOutput
from scorewire_training.export.parity.comparison import Comparison
from scorewire_training.export.parity.hard_rows import SAMPLE
from scorewire_training.export.runtime import open_graph
from scorewire_training.export.tolerance import RELATIVE, Tolerance, resolve_tolerance

_Numbers = NDArray[np.float64]

# The most rows of the sample, and the most of all other origins. For large ensembles there are fewer, because
# libraries take long: leaves times rows.
_ROWS, _FEWEST_ROWS = 200, 4
_LEAVES_OF_ROWS = 1_000_000
_ROWS_SHOWN = 5
_ADDITIVITY = 1e-10
# A softmax depends on differences of margins, so each margin is rounded against the others, if there are few.
_MARGINS_TRIED = 50
# How much contributions may differ from the library's own, as a share of their magnitudes. XGBoost computes
# them in float, and the kernel keeps those of shallow trees in float. `tests.families.contributions` measures
# the differences.
_OF_XGBOOST, _OF_LIGHTGBM = 1e-4, 1e-6


def prove_explanation(
    explained: ExplainedModel,
    manifest: manifest_pb2.Manifest,
    comparison: Comparison,
    outputs: Sequence[ModelOutput],
    *,
    model: object,
    codec: FrameCodec,
    tolerances: Mapping[str, Tolerance],
) -> None:
    """Prove the explanation of all outputs on rows that the parity gate has compared.

    Args:
        explained: the explanation.
        manifest: the schema and the coding.
        comparison: the rows, and their scores.
        outputs: the outputs, in the order of these scores.
        model: the fitted model.
        codec: converts rows to the frames that the fitted model takes.
        tolerances: the user's tolerances, by output.

    Raises:
        ParityError: an explanation is wrong for a row.
    """
    if not explained.outputs:
        return
    proof = _Proof(explained, manifest, comparison)
    sample = comparison.compared.rows.take(proof.rows[: proof.sample_count])
    contributions = library_contributions(model, codec.to_frame(sample))
    for planned in explained.outputs:
        place = [output.name for output in outputs].index(planned.message.output)
        fitted = comparison.fitted.outputs[place][proof.in_sample]
        allowed = resolve_tolerance(tolerances.get(planned.message.output), outputs[place], fitted)
        # Products of hard rows may be infinite.
        with np.errstate(all="ignore"):
            proof.check(planned, comparison.bundle.outputs[place][proof.rows], allowed, contributions)
    check_features(explained, manifest, sample)


class _Proof:
    """The rows of a proof, those of the sample first, and what explanation.onnx gives for them."""

    def __init__(
        self, explained: ExplainedModel, manifest: manifest_pb2.Manifest, comparison: Comparison
    ) -> None:
        compared = comparison.compared
        accepted = np.ones(len(compared), np.bool_)
        accepted[comparison.bundle.refused] = False
        self.in_sample = np.array([origin == SAMPLE for origin in compared.origins])
        leaves = [sum(len(term.leaf_covers) for term in each.message.trees) for each in explained.outputs]
        most = int(np.clip(_LEAVES_OF_ROWS // max(1, *leaves, 1), _FEWEST_ROWS, _ROWS))
        sample, others = (
            _spread(np.flatnonzero(accepted & (self.in_sample == of_sample)), most)
            for of_sample in (True, False)
        )
        self.rows = np.concatenate([sample, others])
        self.sample_count = len(sample)
        rows = compared.rows.take(self.rows)
        coder = RowCoder(manifest.schema, manifest.coding)
        feeds = coder.code(len(rows), rows.numbers.ravel(), rows.flat_texts()).feeds
        names = list(dict.fromkeys(name for each in explained.outputs for name in each.explainer.inputs))
        self._tensors: dict[str, Any] = dict(
            zip(names, open_graph(explained.graph)(names, feeds), strict=True)
        )

    def check(
        self,
        planned: PlannedOutput,
        scores: _Numbers,
        tolerances: Sequence[manifest_pb2.Tolerance],
        library: LibraryContributions | None,
    ) -> None:
        """Check one output.

        Args:
            planned: the output.
            scores: the bundle's own scores of all rows.
            tolerances: the tolerance of each column of these.
            library: the library's contributions for the rows of the sample.
        """
        # Products of hard rows cancel, and then their margins have no digits left.
        used = slice(self.sample_count if planned.plan.linear else len(self.rows))
        base, scores = planned.explainer.base, scores[used]
        margins, values = (part[used] for part in planned.explainer.run(self._tensors, len(self.rows)))
        sizes = np.abs(base) + np.abs(values).sum(axis=2)
        rest = np.abs(base + values.sum(axis=2) - margins)
        self._raise_where(rest > _ADDITIVITY * sizes, planned, "do not add up to the margin")

        ways = [planned.plan.margin.to_output(each) for each in _rounded(margins, RELATIVE * sizes)]
        limits = np.array([tolerance.absolute for tolerance in tolerances])
        limits = limits + np.abs(scores) * [tolerance.relative for tolerance in tolerances]
        outside = (scores < np.min(ways, axis=0) - limits) | (scores > np.max(ways, axis=0) + limits)
        self._raise_where(outside, planned, "lead to another output than the model's")

        if library is None:
            return
        own = match_columns(planned.plan, library.column_count, values.shape[2])
        if own is not None and library.values.shape[1] == len(base):
            found = library.difference(own, base, values[: self.sample_count])
            most = _OF_XGBOOST if library.in_float else _OF_LIGHTGBM
            wrong = found > most * sizes[: self.sample_count]
            self._raise_where(wrong, planned, "are not those of its library")

    def _raise_where(self, wrong: NDArray[np.bool_], planned: PlannedOutput, how: str) -> None:
        """Raise ParityError if anything is wrong; `wrong` has an entry for each row and something else."""
        places = np.flatnonzero(wrong.any(axis=1))
        if len(places):
            shown = ", ".join(str(row) for row in self.rows[places[:_ROWS_SHOWN]])
            raise ParityError(
                f"the contributions of columns to {planned.message.output!r} {how} in {len(places)} of"
                f" {len(wrong)} rows, such as the compared rows {shown}: this is a fault of the exporter,"
                " please report it with the kind of model"
            )


def _rounded(margins: _Numbers, slack: _Numbers) -> Iterator[_Numbers]:
    """The margins, and margins that are rounded up or down, together or against each other."""
    yield margins
    for sign in (-1, 1):
        yield margins + sign * slack
        if margins.shape[1] <= _MARGINS_TRIED:
            for place in range(margins.shape[1]):
                one = np.where(np.arange(margins.shape[1]) == place, sign, -sign)
                yield margins + one * slack


def _spread(rows: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """At most `most` of some rows, spread over all."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.intp))]
