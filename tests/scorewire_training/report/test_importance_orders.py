from __future__ import annotations

import numpy as np
import pandas as pd

from scorewire_training.report.importance import Explanation, Importance
from scorewire_training.report.importance_orders import compare_orders

ROWS = 200


def orders(loss: str, shap: str, **columns: object) -> tuple[str, ...]:
    """The sentences for features in these orders of importance; `columns` replaces training columns."""
    rng = np.random.default_rng(0)
    sample = pd.DataFrame({name: rng.normal(size=ROWS) for name in loss} | columns)
    importances = [
        Importance(name, 1.0 / (place + 1), 0.3 if name == "n" else 0.01) for place, name in enumerate(loss)
    ]
    contributions = {name: np.full(ROWS, 1.0 / (place + 1)) for place, name in enumerate(shap)}
    if "r" in contributions:
        contributions["r"] = np.where(np.arange(ROWS) < 5, 50.0, 0.01)
    explanation = Explanation(
        contributions=contributions, ranks=dict.fromkeys(shap), order=list(shap), rows=ROWS
    )
    return compare_orders(importances, explanation, sample, "AUC")


def test_equal_orders_need_no_reason() -> None:
    (sentence,) = orders("abcde", "abcde")
    assert "the 5 features that are among the first 8 of one of them in nearly the same order" in sentence
    assert "how much AUC is lost" in sentence


def test_a_feature_that_goes_with_another_one_is_told_with_it() -> None:
    twin = np.random.default_rng(1).normal(size=ROWS)
    sentence, *reasons = orders("bcdea", "abcde", a=twin, b=twin + 0.01)
    assert "in another order (rank correlation 0.00)" in sentence
    assert reasons == [
        "a is number 5 by permutation and 1 by SHAP: it goes with b (correlation 1.00), and the model "
        "uses both. The charts divide differently what such features share."
    ]
    _, *reasons = orders("abcde", "bcdea", a=twin, b=-twin)
    assert reasons == [
        "a is number 1 by permutation and 5 by SHAP: it goes with b (correlation -1.00), and the model "
        "uses both. The charts divide differently what such features share."
    ]


def test_a_feature_that_the_model_does_not_use_is_no_reason() -> None:
    twin = np.random.default_rng(1).normal(size=ROWS)
    _, *reasons = orders("bcdea", "abcde", a=twin, unused=twin)
    assert reasons == [
        "a is number 5 by permutation and 1 by SHAP: its moves are larger than what they change in the "
        "order of the rows."
    ]


def test_a_loss_within_chance_is_told() -> None:
    _, *reasons = orders("bcden", "nbcde")
    assert reasons == [
        "n is number 5 by permutation and 1 by SHAP: its loss of AUC, 0.2 ± 0.3, may be chance, and so may "
        "its place by permutation."
    ]


def test_a_feature_that_moves_few_rows_far_is_told() -> None:
    _, *reasons = orders("bcder", "rbcde", r="text")
    assert reasons == [
        "r is number 5 by permutation and 1 by SHAP: it moves few rows far. A twentieth of the rows have "
        "99% of its SHAP values, and the metric counts every row alike."
    ]


def test_only_important_features_and_the_largest_differences_are_told() -> None:
    names = "abcdefghijklmnopq"
    sentence, *reasons = orders(names, names[::-1])
    assert "the 16 features that are among the first 8 of one of them in another order" in sentence
    assert len(reasons) == 4
    assert {reason[0] for reason in reasons} == {"a", "b", "p", "q"}
    # Their places in the charts, where "i" is between those that are compared.
    assert any(reason.startswith("a is number 1 by permutation and 17 by SHAP") for reason in reasons)
    assert orders("a", "a") == ()
