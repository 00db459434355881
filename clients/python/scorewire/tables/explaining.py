"""The columns of a scored table that explain its scores.

All columns of the caller's, or the strongest ones of each row:

- `base`, `margin`, and `margin_label` if the model has classes: the margin that is explained. Of several
  margins it is that of the predicted class.
- of all columns, `contribution_<column>` for each;
- of the strongest K, `explained_1` and `contribution_1`, the strongest column and its contribution, to
  `explained_K` and `contribution_K`.

A name that is taken gets the prefix `explained_`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from scorewire._contributions import Contributions
from scorewire._explain import Explain
from scorewire._models import Model
from scorewire._predictions import has_labels


class ExplainedColumns:
    """The columns that explain the scores of one model.

    Args:
        model: the model.
        explain: what to explain.
        taken: the names of the table's other columns.

    Attributes:
        explain: what to ask the server for.
        kinds: float or str by the name of each column, in order.
        feature_count: how many columns the model has.
    """

    def __init__(self, model: Model, explain: Explain, taken: Collection[str]) -> None:
        features = [feature.name for feature in model.schema.features]
        self.feature_count = len(features)
        count = min(explain.top_k, self.feature_count)
        self.explain = Explain(top_k=count, output=explain.output)
        self.kinds: dict[str, type[float] | type[str]] = {}
        self._taken = set(taken)
        self._base, self._margin = self._add("base", float), self._add("margin", float)
        self._label = self._add("margin_label", str) if has_labels(model.schema.outputs) else None
        # The columns of names and of contributions; of all columns, the latter by the caller's column.
        self._places: list[tuple[str, str]] = []
        self._by_feature: dict[str, str] = {}
        if count:
            for place in range(1, count + 1):
                named = self._add(f"explained_{place}", str)
                self._places.append((named, self._add(f"contribution_{place}", float)))
        else:
            self._by_feature = {name: self._add(f"contribution_{name}", float) for name in features}

    def columns(self, contributions: Contributions) -> dict[str, list[Any]]:
        """The values of the columns, by name; None for a row with an error."""
        found: dict[str, list[Any]] = {name: [None] * len(contributions) for name in self.kinds}
        for row, explained in enumerate(contributions):
            if explained is None:
                continue
            found[self._base][row], found[self._margin][row] = explained.base, explained.margin
            if self._label is not None:
                found[self._label][row] = explained.label
            for name, column in self._by_feature.items():
                found[column][row] = explained[name]
            for (named, column), (name, value) in zip(self._places, explained.items(), strict=False):
                found[named][row], found[column][row] = name, value
        return found

    def of_row(self, columns: Mapping[str, Sequence[Any]], row: int) -> dict[str, float]:
        """The contributions of one row by the caller's column, from the values of the columns."""
        found = {name: columns[column][row] for name, column in self._by_feature.items()}
        found |= {columns[named][row]: columns[column][row] for named, column in self._places}
        return {name: value for name, value in found.items() if value is not None}

    def margin_of(self, columns: Mapping[str, Sequence[Any]], row: int) -> tuple[float, float] | None:
        """The base and the margin of one row, from the values of the columns; None for a row without."""
        base, margin = columns[self._base][row], columns[self._margin][row]
        return None if base is None or margin is None else (base, margin)

    def _add(self, name: str, kind: type[float] | type[str]) -> str:
        while name in self._taken:
            name = f"explained_{name}"
        self._taken.add(name)
        self.kinds[name] = kind
        return name
