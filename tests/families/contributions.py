"""Compares contributions with the library's own: `python -m tests.families.contributions`.

For every family whose library computes contributions (XGBoost's `pred_contribs`,
LightGBM's `pred_contrib`), the bundle's contributions of the caller's columns are compared
with the library's contributions of its model's columns, where these are the same. Prints
a table; `--write` writes it to `results/contributions.md`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import xgboost
from numpy.typing import NDArray

from scorewire_training.export import export_bundle
from scorewire_training.export.explanation.library import (
    LibraryContributions,
    ModelColumns,
    library_contributions,
)
from tests.families import FAMILIES, Data, Family, make_data
from tests.scorewire_training.export.explanation.explained import Explained, explain_rows

RESULTS = Path(__file__).parent / "results" / "contributions.md"
# Beyond this share of their magnitudes contributions are not those of the library, rounded. XGBoost's are in
# float, and the kernel keeps those of trees of up to six levels in float, too.
MOST = 5e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far contributions are from the library's, as shares of their magnitudes.

    The magnitude of a row's contributions to a margin is the sum of theirs and the base's.

    Attributes:
        rows: the number of rows.
        compared: whether each of the caller's columns is one column of the library's model;
            else only the sums of contributions are compared.
        difference: the largest difference of a contribution or a base.
        of_sums: the largest difference of the sums of contributions and base.
        own_error: how far the library's contributions are from adding up to its own
            margin: its own error of rounding.
        in_float: whether the library computes in float.
    """

    rows: int
    compared: bool
    difference: float
    of_sums: float
    own_error: float
    in_float: bool

    @property
    def holds(self) -> bool:
        """Whether contributions are those of the library, rounded."""
        return max(self.difference, self.of_sums) <= MOST


def compare(family: Family, data: Data, size: int) -> Agreement | None:
    """Fit and export a family, and compare; None if its library or its bundle has no contributions."""
    if family.refused:
        return None
    frame = family.prepare(data.frame)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # small fits do not converge; that is not at stake
        model = family.fit(frame, data.targets[family.target], size)
    with tempfile.TemporaryDirectory() as folder:
        exported = export_bundle(model, sample=frame, name="family", version="1.0.0", output_dir=folder)
        explained = explain_rows(exported.path, frame)
    library = library_contributions(model, frame) if explained else None
    if library is None:
        return None
    (own,) = explained.values()
    scale = own.message.trees[0].scale if own.message.trees else 1.0
    magnitudes = np.abs(own.base) + np.abs(own.values).sum(axis=2)
    sums = library.values.sum(axis=2)
    columns = _columns(own, library, scale)
    differences = np.zeros(1) if columns is None else library.difference(columns, own.base, own.values)
    return Agreement(
        rows=len(frame),
        compared=columns is not None,
        difference=float((differences / magnitudes).max()),
        of_sums=float((np.abs(sums * scale - own.margins) / magnitudes).max()),
        own_error=float(
            (np.abs(sums - _library_margins(model, frame, sums.shape)) * scale / magnitudes).max()
        ),
        in_float=library.in_float,
    )


def _columns(own: Explained, library: LibraryContributions, scale: float) -> ModelColumns | None:
    """The feature of each column of the library's model; None if a feature has several."""
    count = len(own.features)
    constants = np.array(own.message.constants)
    if own.message.linear:
        (term,) = own.message.linear
        # The families of linear boosters take numbers as they come, so that columns are features.
        features = dict(enumerate(term.features))
    else:
        (trees,) = own.message.trees
        features = {column: feature for column, feature in enumerate(trees.features) if feature < count}
        if len(trees.features) != library.column_count:
            return None
    if len(set(features.values())) < len(features):
        return None
    is_linear = bool(own.message.linear)
    return ModelColumns(features=features, scale=scale, constants=constants, is_linear=is_linear)


def _library_margins(model: Any, frame: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The margins that the library itself adds up."""
    last = model[-1] if hasattr(model, "steps") else model
    if isinstance(model, xgboost.Booster):
        margins = model.predict(xgboost.DMatrix(frame), output_margin=True)
    elif isinstance(last, lightgbm.Booster | lightgbm.LGBMModel):
        margins = model.predict(frame, raw_score=True)
    else:
        margins = model.predict(frame, output_margin=True)
    return np.asarray(margins, np.float64).reshape(shape)


def main() -> int:
    """Compare all families and print the table; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.families.contributions", description=__doc__)
    parser.add_argument("rows", nargs="?", type=int, default=5_000, help="rows of the data")
    parser.add_argument("size", nargs="?", type=int, default=40, help="trees of each ensemble")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    arguments = parser.parse_args()
    data = make_data(arguments.rows)
    lines, wrong = [], 0
    for family in FAMILIES:
        agreement = compare(family, data, arguments.size)
        if agreement is None:
            continue
        wrong += not agreement.holds
        lines.append(_line(family.name, agreement))
        print(lines[-1], flush=True)
    if arguments.write and not wrong:
        RESULTS.write_text("\n".join([_HEAD.format(rows=arguments.rows), *lines]) + "\n", encoding="utf-8")
    return 1 if wrong else 0


def _line(name: str, agreement: Agreement) -> str:
    difference = f"{agreement.difference:.1e}" if agreement.compared else "other columns"
    kind = "float" if agreement.in_float else "double"
    return f"| {name} | {kind} | {difference} | {agreement.of_sums:.1e} | {agreement.own_error:.1e} |"


_HEAD = """\
# Contributions compared with those of the library

For {rows:,} rows of each family whose library computes contributions itself: the largest difference to the
bundle's, as a share of magnitudes (the sum of the magnitudes of a row's base and contributions). The last
column is the library's own error: how far its contributions are from adding up to its own margin. XGBoost
computes contributions and margins in float, LightGBM in double. Where one of the caller's columns is several
columns of the library's model, such as one-hot columns, the two explain games of other players, and only
their sums are compared; tests compare such contributions with all coalitions of the caller's columns.

Written by `python -m tests.families.contributions --write`.

| family | computed in | largest difference | of sums | library's own error |
|---|---|---|---|---|"""

if __name__ == "__main__":
    sys.exit(main())
