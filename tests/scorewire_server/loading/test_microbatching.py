"""Rows of real models get the same scores, to the last bit, with whichever rows they share a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from scorewire_contract.bundle import Bundle, read_bundle
from scorewire_contract.scoring import Scorer
from scorewire_proto.v1 import schema_pb2
from scorewire_server.engine.reference.session import open_session
from scorewire_server.loading.microbatching import MAX_ROW_NS, MAX_SHARED_ROWS, max_shared_rows
from tests import bundles
from tests.families import FAMILIES, Data, make_data, run
from tests.scorewire_server.models import write_crowd_bundle

# Trees in float and in double, functions of their sums, coded texts.
JOINED = [
    "XGBoost binary:logistic",
    "XGBoost multi:softprob",
    "XGBoost reg:tweedie",
    "LightGBM binary",
    "LightGBM multiclassova",
    "LightGBM gamma",
    "HistGradientBoosting binary",
    "HistGradientBoosting poisson",
    "random forest, missing values",
    "ordinal, LightGBM",
]
ROWS = 500


@pytest.fixture(scope="module")
def data() -> Data:
    return make_data(1_000)


@pytest.mark.parametrize("name", JOINED)
def test_trees_score_a_row_alike_in_any_company(name: str, data: Data, tmp_path: Path) -> None:
    (family,) = [family for family in FAMILIES if family.name == name]
    run(family, data, tmp_path, 20)
    bundle = read_bundle(tmp_path / "family" / "1.0.0")
    scorer = _scorer(bundle)
    assert max_shared_rows(bundle, scorer, 1.0) == MAX_SHARED_ROWS
    schema, frame = bundle.manifest.schema, family.prepare(data.frame)[:ROWS]
    names = [
        [each.name for each in schema.features if each.kind == kind]
        for kind in (schema_pb2.FEATURE_KIND_NUMBER, schema_pb2.FEATURE_KIND_TEXT)
    ]
    numbers = frame[names[0]].to_numpy(np.float64)
    texts = frame[names[1]].astype(object).fillna("").to_numpy()

    def score(size: int) -> NDArray[np.float64]:
        """The scores of all rows, with `size` rows in each run."""
        parts = []
        for i in range(0, ROWS, size):
            part = slice(i, i + size)
            scores = scorer.score(len(numbers[part]), numbers[part].ravel(), texts[part].ravel().tolist())
            parts.append(np.concatenate(scores.outputs, axis=1))
        return np.concatenate(parts)

    alone = score(1)
    assert len(np.unique(alone, axis=0)) > ROWS // 10
    for size in range(2, MAX_SHARED_ROWS + 1):
        np.testing.assert_array_equal(score(size), alone)


@pytest.mark.parametrize(
    ("write", "wanted"),
    [
        (bundles.write_sum_bundle, MAX_SHARED_ROWS),
        (write_crowd_bundle, 1),  # its scores tell how many rows were in the run
        (bundles.write_greeting_bundle, 1),  # texts
        (bundles.write_classifier_bundle, 1),  # too few golden rows to tell
    ],
)
def test_what_may_not_share_a_run_does_not(models: Path, write: Callable[[Path], Path], wanted: int) -> None:
    bundle = read_bundle(write(models))
    assert max_shared_rows(bundle, _scorer(bundle), 1.0) == wanted


def test_golden_rows_find_what_the_operators_do_not_tell(models: Path) -> None:
    """A score that depends on the number of rows in the run, made of operators in the list."""
    bundle = read_bundle(write_crowd_bundle(models))
    nodes = [
        helper.make_node("Gather", ["x", "first"], ["one"], axis=0),
        helper.make_node("Add", ["x", "one"], ["value"]),
    ]
    constants = [helper.make_tensor("first", TensorProto.INT64, [1], [0])]
    assert max_shared_rows(*_regraphed(bundle, nodes, constants), 1.0) == 1
    nodes = [helper.make_node("Add", ["x", "x"], ["value"])]
    assert max_shared_rows(*_regraphed(bundle, nodes, []), 1.0) == MAX_SHARED_ROWS


def test_sums_are_not_trusted_whatever_the_golden_rows_show(models: Path) -> None:
    bundle = read_bundle(write_crowd_bundle(models))
    nodes = [helper.make_node("ReduceSum", ["x", "axis"], ["value"], keepdims=1)]
    constants = [helper.make_tensor("axis", TensorProto.INT64, [1], [1])]
    assert max_shared_rows(*_regraphed(bundle, nodes, constants), 1.0) == 1


def test_dear_rows_have_runs_of_their_own(models: Path) -> None:
    bundle = read_bundle(bundles.write_sum_bundle(models))
    assert max_shared_rows(bundle, _scorer(bundle), MAX_ROW_NS) == MAX_SHARED_ROWS
    assert max_shared_rows(bundle, _scorer(bundle), MAX_ROW_NS + 1) == 1


def _scorer(bundle: Bundle) -> Scorer:
    return Scorer(bundle.manifest.schema, bundle.manifest.coding, open_session(bundle.graph, 1))


def _regraphed(
    bundle: Bundle, nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]
) -> tuple[Bundle, Scorer]:
    """The bundle with another graph, and its scorer."""
    rows = ["rows", 1]
    graph = helper.make_graph(
        nodes,
        "other",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, rows)],
        [helper.make_tensor_value_info("value", TensorProto.DOUBLE, rows)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    other = Bundle(bundle.path, bundle.manifest, model.SerializeToString(), bundle.golden)
    return other, _scorer(other)
