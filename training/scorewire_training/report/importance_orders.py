"""Whether permutation and SHAP order the features alike, and why not, in plain sentences."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy import float64
from numpy.typing import NDArray
from scipy.stats import spearmanr

from scorewire_training.report.importance import Explanation, Importance

# Of each order; the others hardly matter to the model, and their order is chance.
_COMPARED = 8
_ALIKE, _SIMILAR = 0.8, 0.5
# Places between the two orders from which on a reason is given.
_FAR = 3
_MAX_REASONS = 4
_TOGETHER = 0.7
# The model uses a feature: the size of its SHAP values, as a share of that of the other feature.
_USED = 0.1
# Features whose SHAP values are large in few rows: the share of the rows, and of the values.
_FEW_ROWS, _MOST = 0.05, 0.4
# Below so many standard deviations over the shuffles, a loss may be chance.
_CHANCE = 2.0


def compare_orders(
    importances: list[Importance], explanation: Explanation, sample: pd.DataFrame, measure: str
) -> tuple[str, ...]:
    """A sentence on how far the two orders agree, and a reason for each feature far apart.

    Args:
        importances: the features by descending permutation importance.
        explanation: the SHAP values.
        sample: the training rows, for the correlations of features.
        measure: the metric of the permutation.
    """
    by_loss = [item.feature for item in importances]
    heads = {*by_loss[:_COMPARED], *explanation.order[:_COMPARED]}
    compared = [name for name in by_loss if name in heads]
    if len(compared) <= 1:
        return ()
    places = {name: place for place, name in enumerate(name for name in explanation.order if name in heads)}
    moved = {name: place - places[name] for place, name in enumerate(compared)}
    agreement = float(spearmanr(range(len(compared)), [places[name] for name in compared]).statistic)
    words = "nearly the same" if agreement >= _ALIKE else "a similar" if agreement >= _SIMILAR else "another"
    far = sorted((name for name in compared if abs(moved[name]) >= _FAR), key=lambda name: -abs(moved[name]))
    correlations = _correlate(sample)
    losses = {item.feature: item for item in importances}
    return (
        f"Both charts have the {len(compared)} features that are among the first {_COMPARED} of one of them "
        f"in {words} order (rank correlation {agreement:.2f}). A permutation counts how much {measure} is "
        "lost, SHAP how far predictions move.",
        *(
            # The places in the charts, which have further features between those that are compared.
            f"{name} is number {by_loss.index(name) + 1} by permutation and "
            f"{explanation.order.index(name) + 1} by SHAP: "
            + (
                _explain_chance(losses[name], measure)
                or _explain_move(name, moved[name], explanation, correlations)
            )
            for name in far[:_MAX_REASONS]
        ),
    )


def _explain_chance(loss: Importance, measure: str) -> str:
    """That the place by permutation means little; empty where it does mean something."""
    if loss.mean > _CHANCE * loss.deviation:
        return ""
    return (
        f"its loss of {measure}, {loss.mean:.2g} ± {loss.deviation:.2g}, may be chance, and so may its place "
        "by permutation."
    )


def _explain_move(name: str, moved: int, explanation: Explanation, correlations: pd.DataFrame) -> str:
    """Why a feature is higher by SHAP (`moved` above zero) or lower."""
    partner = ""
    if name in correlations:
        others = correlations[name].drop(name)
        used = _USED * _mean_size(explanation, name)
        near = [
            str(each)
            for each in others.index
            if abs(others[each]) >= _TOGETHER and _mean_size(explanation, str(each)) > used
        ]
        partner = max(near, key=lambda each: abs(others[each]), default="")
    if partner:
        # Which of the two gets more of what they share is not known without fitting the model again.
        return (
            f"it goes with {partner} (correlation {float(others[partner]):.2f}), and the model uses both. "
            "The charts divide differently what such features share."
        )
    share = _share_of_few(explanation.contributions[name])
    if moved > 0 and share >= _MOST:
        return (
            f"it moves few rows far. A twentieth of the rows have {share:.0%} of its SHAP values, and the "
            "metric counts every row alike."
        )
    if moved > 0:
        return "its moves are larger than what they change in the order of the rows."
    return "its moves are small, and change the order of many rows."


def _mean_size(explanation: Explanation, name: str) -> float:
    values = explanation.contributions.get(name)
    return 0.0 if values is None else float(np.mean(np.abs(values)))


def _share_of_few(values: NDArray[float64]) -> float:
    sizes = np.sort(np.abs(values))[::-1]
    total = float(sizes.sum())
    return float(sizes[: max(1, round(_FEW_ROWS * len(sizes)))].sum()) / total if total else 0.0


def _correlate(sample: pd.DataFrame) -> pd.DataFrame:
    """Rank correlations of the number features that vary."""
    numbers = sample.select_dtypes("number")
    numbers = numbers.loc[:, numbers.nunique() > 1]
    table = numbers.rank().corr().fillna(0.0)
    return table.rename(index=str, columns=str)
