"""Contributions of the kernel beside those of the libraries, with the libraries' own covers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from numpy.typing import NDArray

from tests.kernel.covered_trees import CoveredTrees, of_lightgbm, of_xgboost

kernel = pytest.importorskip("scorewire_kernel")

COLUMNS = 6
# XGBoost computes and adds in float.
FLOAT_ERROR = 2e-5


def make_rows(count: int, seed: int) -> NDArray[np.float64]:
    draw = np.random.default_rng(seed)
    rows = draw.normal(size=(count, COLUMNS)).astype(np.float32).astype(np.float64)
    rows[draw.random(rows.shape) < 0.1] = np.nan
    return rows


def make_labels(rows: NDArray[np.float64], classes: int) -> NDArray[np.int64]:
    known = np.nan_to_num(rows)
    score = known[:, 0] * known[:, 1] + np.sin(2 * known[:, 2]) + known[:, 3]
    return np.digitize(score, np.quantile(score, np.linspace(0, 1, classes + 1)[1:-1]))


def fit_xgboost(classes: int, **parameters: Any) -> xgboost.Booster:
    rows = make_rows(2_000, 1)
    parameters |= {"nthread": 1, "base_score": 0.3} if classes == 2 else {"nthread": 1, "num_class": classes}
    parameters["objective"] = "binary:logistic" if classes == 2 else "multi:softprob"
    matrix = xgboost.DMatrix(rows, make_labels(rows, classes), nthread=1)
    return xgboost.train(parameters, matrix, num_boost_round=20)


def fit_lightgbm(classes: int, **parameters: Any) -> lightgbm.Booster:
    rows = make_rows(2_000, 1)
    parameters |= {"num_threads": 1, "verbose": -1, "min_data_in_leaf": 3}
    parameters |= (
        {"objective": "binary"} if classes == 2 else {"objective": "multiclass", "num_class": classes}
    )
    data = lightgbm.Dataset(rows, make_labels(rows, classes))
    return lightgbm.train(parameters, data, num_boost_round=20)


def explain(trees: CoveredTrees, rows: NDArray[np.float64]) -> tuple[Any, Any, Any]:
    """The base, the margins and the contributions."""
    made = kernel.Contributions(trees.graph(), [trees.term()], COLUMNS, trees.targets)
    margins, values = made.run([trees.rows(rows)])
    assert margins.shape == (len(rows), trees.targets)
    assert values.shape == (len(rows), trees.targets, COLUMNS)
    base = np.array(made.base)
    size = np.maximum(np.abs(values).sum(2), np.abs(margins))
    assert np.all(np.abs(margins - base - values.sum(2)) <= 1e-12 * size)
    return base, margins, values


@pytest.mark.parametrize(
    ("classes", "parameters", "method"),
    [(2, {"max_depth": 6}, "tables"), (2, {"max_depth": 9}, "quadrature"), (3, {"max_depth": 4}, "tables")],
    ids=["binary", "deep", "three classes"],
)
def test_contributions_are_those_of_xgboost(classes: int, parameters: dict[str, Any], method: str) -> None:
    booster = fit_xgboost(classes, **parameters)
    trees, rows = of_xgboost(booster), make_rows(300, 2)
    made = kernel.Contributions(trees.graph(), [trees.term()], COLUMNS, trees.targets)
    assert made.description.startswith(method)
    base, margins, values = explain(trees, rows)
    matrix = xgboost.DMatrix(rows, nthread=1)
    wanted = booster.predict(matrix, pred_contribs=True).reshape(len(rows), -1, COLUMNS + 1)
    assert np.abs(values - wanted[..., :-1]).max() < FLOAT_ERROR
    assert np.abs(base - wanted[0, :, -1]).max() < FLOAT_ERROR
    sums = booster.predict(matrix, output_margin=True).reshape(len(rows), -1)
    assert np.abs(margins - sums).max() < FLOAT_ERROR


@pytest.mark.parametrize(
    ("classes", "leaves"), [(2, 31), (2, 127), (3, 15)], ids=["binary", "many leaves", "three classes"]
)
def test_contributions_are_those_of_lightgbm(classes: int, leaves: int) -> None:
    booster = fit_lightgbm(classes, num_leaves=leaves)
    trees, rows = of_lightgbm(booster), make_rows(300, 2)
    base, margins, values = explain(trees, rows)
    wanted = np.asarray(booster.predict(rows, pred_contrib=True)).reshape(len(rows), -1, COLUMNS + 1)
    assert np.abs(values - wanted[..., :-1]).max() < 1e-12
    assert np.abs(base - wanted[0, :, -1]).max() < 1e-12
    sums = np.asarray(booster.predict(rows, raw_score=True)).reshape(len(rows), -1)
    assert np.abs(margins - sums).max() < 1e-12


def test_columns_of_one_feature_are_one_player() -> None:
    # Of two players, each has half of what both together bring beyond what each brings alone.
    trees = CoveredTrees(columns=3, targets=1, is_double=True)
    nodes = [trees.add_node(i, 0.5, missing_true=False, cover=8 / 2**i) for i in range(3)]
    for depth, node in enumerate(nodes):
        below = (nodes[depth + 1], False) if depth < 2 else trees.add_leaf(0, 8.0, 1)
        trees.children[node] = [trees.add_leaf(0, 0.0, 4 / 2**depth), below]
    trees.add_tree((nodes[0], False))
    rows = np.ones((1, 3))
    made = kernel.Contributions(trees.graph(), [trees.term([0, 1, 0])], 2, 1)
    margins, values = made.run([rows])
    base, alone_first, alone_second = 1.0, 4.0, 2.0
    both = 8.0 - base
    wanted = [
        (alone_first - base + both - (alone_second - base)) / 2,
        (alone_second - base + both - (alone_first - base)) / 2,
    ]
    assert made.base == [base]
    assert margins.tolist() == [[8.0]]
    assert values[0, 0].tolist() == pytest.approx(wanted, abs=1e-6)


def test_terms_add_up() -> None:
    trees = of_xgboost(fit_xgboost(2, max_depth=3))
    rows = trees.rows(make_rows(10, 3))
    once = kernel.Contributions(trees.graph(), [trees.term()], COLUMNS, 1)
    terms = [trees.term(), trees.term() | {"scale": -0.5, "first_margin": 1}, trees.term() | {"scale": 2.0}]
    made = kernel.Contributions(trees.graph(), terms, COLUMNS, 2)
    (margins, values), (sums, contributions) = once.run([rows]), made.run([rows] * 3)
    for of_all, of_once in ((sums, margins), (contributions, values)):
        assert of_all[:, 0] == pytest.approx(3 * of_once[:, 0], rel=1e-6, abs=1e-7)
        assert of_all[:, 1] == pytest.approx(-0.5 * of_once[:, 0], rel=1e-6, abs=1e-7)
    assert made.base == pytest.approx([3 * once.base[0], -0.5 * once.base[0]])


def test_a_row_has_the_same_bits_alone_and_among_others() -> None:
    trees = of_xgboost(fit_xgboost(2, max_depth=6))
    made = kernel.Contributions(trees.graph(), [trees.term()], COLUMNS, 1)
    rows = trees.rows(make_rows(150, 4))
    margins, values = made.run([rows])
    for i in range(len(rows)):
        alone = made.run([rows[i : i + 1]])
        assert (alone[0].tobytes(), alone[1].tobytes()) == (margins[i].tobytes(), values[i].tobytes())


def test_floats_go_into_trees_over_doubles_but_not_the_other_way() -> None:
    double, single = of_lightgbm(fit_lightgbm(2)), of_xgboost(fit_xgboost(2))
    rows = make_rows(5, 5)
    made = kernel.Contributions(double.graph(), [double.term()], COLUMNS, 1)
    of_doubles, of_floats = made.run([rows]), made.run([rows.astype(np.float32)])
    assert np.array_equal(of_doubles[1], of_floats[1])
    made = kernel.Contributions(single.graph(), [single.term()], COLUMNS, 1)
    with pytest.raises(ValueError, match="is not taken"):
        made.run([rows])
    with pytest.raises(ValueError, match="has the shape"):
        made.run([rows[:, 1:].astype(np.float32)])
    with pytest.raises(ValueError, match="there are 1 terms"):
        made.run([])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ensemble": "other"}, "no trees have the output other"),
        ({"features": [0]}, "feature that there is not"),
        ({"features": [9] * 6}, "without a feature"),
        ({"node_covers": [1.0]}, "another number of nodes or leaves"),
        ({"leaf_covers": []}, "another number of nodes or leaves"),
        ({"first_margin": 1}, "margin that there is not"),
        ({"scale": float("nan")}, "not finite"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_terms_that_are_not_of_the_trees_are_refused(change: dict[str, Any], told: str) -> None:
    trees = of_xgboost(fit_xgboost(2, max_depth=3))
    with pytest.raises(kernel.UnsupportedError, match=told):
        kernel.Contributions(trees.graph(), [trees.term() | change], COLUMNS, 1)
    covers = trees.term()["leaf_covers"].copy()
    covers[3] = -1.0
    with pytest.raises(kernel.UnsupportedError, match="a cover is negative"):
        kernel.Contributions(trees.graph(), [trees.term() | {"leaf_covers": covers}], COLUMNS, 1)


def test_threads_share_contributions() -> None:
    trees = of_xgboost(fit_xgboost(2, max_depth=6))
    made = kernel.Contributions(trees.graph(), [trees.term()], COLUMNS, 1)

    def run(seed: int) -> bool:
        rows = trees.rows(make_rows(200, seed))
        wanted = made.run([rows])
        return all(np.array_equal(made.run([rows])[1], wanted[1]) for _ in range(10))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(run, range(8)))
