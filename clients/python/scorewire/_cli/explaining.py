"""Shows the explanations of a few rows on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scorewire._waterfall import Bar, as_text
from scorewire.tables import ExplainedColumns

# The most rows of a table whose explanations are shown, and the most columns of each.
MAX_SHOWN = 3
_MAX_COLUMNS = 10


def explained_rows(explained: ExplainedColumns, columns: Mapping[str, Sequence[Any]]) -> list[str]:
    """The explanations of the first rows of a table, as texts; those of rows with an error are left out.

    Args:
        explained: the columns that explain the scores.
        columns: the columns that were added to the table, by name.
    """
    texts = []
    for row, score in enumerate(columns["score"][:MAX_SHOWN]):
        margin = explained.margin_of(columns, row)
        if margin is None:
            continue
        ordered = sorted(explained.of_row(columns, row).items(), key=lambda item: -abs(item[1]))
        bars = [Bar(name=name, contribution=value) for name, value in ordered[:_MAX_COLUMNS]]
        left = explained.feature_count - len(bars)
        if left:
            rest = margin[1] - margin[0] - sum(bar.contribution for bar in bars)
            bars.append(Bar.of_others(left, rest))
        title = f"row {row + 1}: score {score:.6g}"
        texts.append(as_text(title, bars, base=margin[0], margin=margin[1]))
    return texts
