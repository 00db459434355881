"""The proof refuses an explanation that does not add up, leads elsewhere, or is not the library's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn import linear_model

from scorewire_training.export import ParityError, export_bundle
from scorewire_training.export.explanation.evaluating import OutputExplainer
from scorewire_training.export.explanation.library import library_contributions
from scorewire_training.export.explanation.plan import Plan, Planner
from scorewire_training.export.graph import Covers

_RNG = np.random.default_rng(0)
X = pd.DataFrame(_RNG.normal(size=(240, 3)), columns=["a", "b", "c"])
VALUE = (X.a * X.b + X.c).to_numpy()
MODELS = [
    xgboost.XGBRegressor(n_estimators=4, max_depth=3),
    lightgbm.LGBMRegressor(n_estimators=4, num_leaves=6, verbose=-1),
]


def with_other_covers(plan: Plan) -> Plan:
    (part,) = plan.trees
    covers = Covers(nodes=part.covers.nodes, leaves=part.covers.leaves * 0.9)
    return replace(plan, trees=(replace(part, covers=covers),))


def with_other_columns(plan: Plan) -> Plan:
    (part,) = plan.trees
    return replace(plan, trees=(replace(part, features=part.features[::-1]),))


def with_another_constant(plan: Plan) -> Plan:
    return replace(plan, constants=plan.constants + 0.01)


def with_another_link(plan: Plan) -> Plan:
    margin = plan.margin.through("identity", lambda margins: margins * 1.0001)
    return replace(plan, margin=margin)


def export_changed(
    model: Any, change: Callable[[Plan], Plan], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Planner.plan
    monkeypatch.setattr(Planner, "plan", lambda self, output: change(plan(self, output)))
    export_bundle(model.fit(X, VALUE), sample=X, name="m", version="1.0.0", output_dir=folder)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
@pytest.mark.parametrize(
    ("change", "how"),
    [
        (with_other_covers, "are not those of its library"),
        (with_other_columns, "changes with the feature 'a', of which it is not computed"),
        (with_another_constant, "lead to another output than the model's"),
        (with_another_link, "lead to another output than the model's"),
    ],
)
def test_a_wrong_explanation_ends_the_export(
    model: Any,
    change: Callable[[Plan], Plan],
    how: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ParityError, match=how) as raised:
        export_changed(model, change, tmp_path, monkeypatch)
    assert "a fault of the exporter" in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_contributions_that_do_not_add_up_end_the_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = OutputExplainer.run

    def forget_a_column(self: OutputExplainer, tensors: Any, row_count: int) -> Any:
        margins, values = run(self, tensors, row_count)
        values[:, :, 0] = 0
        return margins, values

    monkeypatch.setattr(OutputExplainer, "run", forget_a_column)
    with pytest.raises(ParityError, match="do not add up to the margin"):
        export_bundle(
            linear_model.Ridge().fit(X, VALUE), sample=X, name="m", version="1.0.0", output_dir=tmp_path
        )


def test_contributions_of_a_linear_booster_are_the_librarys_but_for_their_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = xgboost.XGBRegressor(booster="gblinear", n_estimators=4)
    run = OutputExplainer.run

    def move(self: OutputExplainer, tensors: Any, row_count: int) -> Any:
        margins, values = run(self, tensors, row_count)
        values[:, :, 0] += 0.1 * values[:, :, 1]
        values[:, :, 1] *= 0.9
        return margins, values

    monkeypatch.setattr(OutputExplainer, "run", move)
    with pytest.raises(ParityError, match="are not those of its library"):
        export_bundle(model.fit(X, VALUE), sample=X, name="m", version="1.0.0", output_dir=tmp_path)


def test_products_of_other_features_end_the_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def swap(plan: Plan) -> Plan:
        (part,) = plan.linear
        return replace(plan, linear=(replace(part, features=part.features[::-1].copy()),))

    with pytest.raises(ParityError, match="changes with the feature 'a'"):
        export_changed(linear_model.Ridge(), swap, tmp_path, monkeypatch)


def test_a_model_without_contributions_of_its_library_is_proven_without_them() -> None:
    assert library_contributions(linear_model.Ridge().fit(X, VALUE), X) is None
    vectors = xgboost.XGBRegressor(n_estimators=2, multi_strategy="multi_output_tree")
    assert library_contributions(vectors.fit(X, np.column_stack([VALUE, -VALUE])), X) is None


def test_proofs_of_large_ensembles_take_fewer_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    run = OutputExplainer.run

    def count_rows(self: OutputExplainer, tensors: Any, row_count: int) -> Any:
        counts.append(row_count)
        return run(self, tensors, row_count)

    monkeypatch.setattr(OutputExplainer, "run", count_rows)
    monkeypatch.setattr("scorewire_training.export.explanation.proof._LEAVES_OF_ROWS", 400)
    model = xgboost.XGBRegressor(n_estimators=10, max_depth=3).fit(X, VALUE)
    leaves = sum(tree.count("leaf=") for tree in model.get_booster().get_dump())
    export_bundle(model, sample=X, name="m", version="1.0.0", output_dir=tmp_path)
    assert counts == [2 * max(4, 400 // (leaves + 1))]
