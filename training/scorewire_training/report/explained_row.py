"""One explained prediction: its columns, what each contributes, and how to read that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np

from scorewire_training.evaluation.formats import SHARE, format_value


class MarginScale(Enum):
    """What the sum of base and contributions is, so that people can read it."""

    LOG_ODDS = "log-odds"
    LOGARITHM = "natural logarithm"
    SHARE = "probability"
    OTHER = "margin"


# By the link of an explanation.
SCALES = {
    "sigmoid": MarginScale.LOG_ODDS,
    "clipped_sigmoid": MarginScale.LOG_ODDS,
    "exp": MarginScale.LOGARITHM,
}
_READING = {
    MarginScale.LOG_ODDS: "Numbers are log-odds: +0.7 doubles the odds, and −0.7 halves them.",
    MarginScale.LOGARITHM: "A bar multiplies the amount by the factor next to it.",
    MarginScale.SHARE: "Numbers are percentage points of the probability.",
    MarginScale.OTHER: "Numbers are those of the margin, of which the prediction is a function.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedRow:
    """The explanation of a row.

    Attributes:
        values: the row's values by column, for people.
        contributions: the contribution of each column.
        base: what is expected without knowing the row; with all contributions it adds up
            to the margin.
        scale: what these numbers are.
        base_output: the prediction that the base alone leads to.
        output: the prediction of the row.
        not_served: why servers do not explain the model; "" if they do. Then the
            contributions are SHAP values against training rows.
    """

    values: Mapping[str, str]
    contributions: Mapping[str, float]
    base: float
    scale: MarginScale
    base_output: float
    output: float
    not_served: str = ""

    @property
    def margin(self) -> float:
        """The base and all contributions."""
        return self.base + sum(self.contributions.values())

    def strongest(self) -> list[tuple[str, float]]:
        """Columns and contributions, those of the largest magnitude first."""
        return sorted(self.contributions.items(), key=lambda item: (-abs(item[1]), item[0]))

    def describe(self, unit: str) -> list[str]:
        """How to read the explanation, in sentences.

        Args:
            unit: the unit of the prediction; "" for a probability.
        """
        shown = unit or SHARE
        begin, end = format_value(self.base_output, shown), format_value(self.output, shown)
        if self.not_served:
            source = (
                f"Servers do not explain this model: {self.not_served}. So these are SHAP values like those "
                "of the feature importance: what changes on average when the columns of a training row "
                "become those of this row, one after the other."
            )
        else:
            source = (
                "A server tells the same of each row that it is asked to explain, as in "
                "scorewire predict --explain: these are SHAP values of the margin."
            )
        return [
            f"From {begin}, which is what the base leads to, the columns lead to {end}: the longest bars did "
            f"most of that. {_READING[self.scale]}",
            source,
            "A contribution says what the model makes of a value. It does not say that the value is a cause.",
        ]

    def format_contribution(self, contribution: float) -> str:
        """A contribution with its sign, or as a factor."""
        if self.scale is MarginScale.LOGARITHM:
            factor = f"{np.exp(abs(contribution)):.3g}"
            return f"{'÷' if contribution < 0 and factor != '1' else '×'}{factor}"
        size, digits = (100, 1) if self.scale is MarginScale.SHARE else (1, 2)
        text = f"{size * abs(contribution):.{digits}f}"
        return text if not float(text) else f"{'−' if contribution < 0 else '+'}{text}"
