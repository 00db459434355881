"""What is explained, with which links and labels, and the reasons where nothing is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnx
import pandas as pd
import pytest
import xgboost
from onnx import TensorProto, helper
from sklearn import dummy, ensemble, linear_model, naive_bayes, neighbors, tree
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, PolynomialFeatures, StandardScaler
from sklearn.svm import LinearSVC

from scorewire_contract.bundle import EXPLANATION, EXPLANATION_GRAPH, read_bundle
from scorewire_contract.links import sigmoid
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_training.estimators import (
    LogOddsCalibrator,
    LogRegressor,
    RateRegressor,
)
from scorewire_training.export import export_bundle, export_onnx
from scorewire_training.export.errors import ExportError
from scorewire_training.export.explanation import describe_explanation, evaluating, explaining
from tests.scorewire_training.export.explanation.explained import explain_rows

COLUMNS = ["a", "b", "c", "d"]
_RNG = np.random.default_rng(0)
X = pd.DataFrame(_RNG.normal(size=(240, 4)), columns=COLUMNS)
TWO = (X.a + X.b * X.c > 0).astype(int).to_numpy()
THREE = np.digitize(X.a + X.b, [-0.7, 0.7])
VALUE = (X.a * 2 + X.b * X.c).to_numpy()
POSITIVE = np.exp(VALUE / 3)
SMALL = {"n_estimators": 4, "max_depth": 3}


def explained(model: Any, target: Any, folder: Path, frame: pd.DataFrame = X) -> manifest_pb2.Explanation:
    exported = export_bundle(
        model.fit(frame, target), sample=frame, name="m", version="1.0.0", output_dir=folder
    )
    read = read_bundle(exported.path)
    assert read.explanation == exported.explanation
    assert bool(read.explanation_graph) == bool(exported.explanation.outputs)
    return exported.explanation


def lgbm(**settings: Any) -> Any:
    return lightgbm.LGBMRegressor(n_estimators=4, num_leaves=5, verbose=-1, **settings)


EXPLAINED: dict[str, tuple[Any, Any, str, tuple[str, ...]]] = {
    "two classes": (xgboost.XGBClassifier(**SMALL), TWO, "sigmoid", ("1",)),
    "three classes": (xgboost.XGBClassifier(**SMALL), THREE, "softmax", ("0", "1", "2")),
    "forest": (ensemble.RandomForestClassifier(4, max_depth=3), TWO, "identity", ("0", "1")),
    "counts": (xgboost.XGBRegressor(objective="count:poisson", **SMALL), POSITIVE, "exp", ()),
    "square roots": (lgbm(reg_sqrt=True), POSITIVE, "signed_square", ()),
    "generalized line": (linear_model.GammaRegressor(), POSITIVE, "exp", ()),
    "logistic regression": (linear_model.LogisticRegression(), THREE, "softmax", ("0", "1", "2")),
    "stochastic gradient": (
        linear_model.SGDClassifier(loss="log_loss", random_state=0),
        TWO,
        "sigmoid",
        ("1",),
    ),
    "outliers": (ensemble.IsolationForest(n_estimators=5, random_state=0), None, "isolation", ()),
    "transformed target": (
        TransformedTargetRegressor(lgbm(), func=np.log1p, inverse_func=np.expm1),
        POSITIVE,
        "expm1",
        (),
    ),
    "scaled target": (
        TransformedTargetRegressor(linear_model.Ridge(), transformer=StandardScaler()),
        VALUE,
        "identity",
        (),
    ),
    "logarithm of an amount": (LogRegressor(lgbm(), shift=0.5), POSITIVE, "amount_from_log", ()),
    "one calibrated line": (
        CalibratedClassifierCV(LinearSVC(random_state=0), cv=3, ensemble=False),
        TWO,
        "sigmoid",
        ("1",),
    ),
    "principal components": (make_pipeline(PCA(2), linear_model.Ridge()), VALUE, "identity", ()),
    "naive Bayes": (naive_bayes.BernoulliNB(), THREE, "softmax", ("0", "1", "2")),
    "linear booster": (xgboost.XGBRegressor(booster="gblinear", n_estimators=4), VALUE, "identity", ()),
}


@pytest.mark.parametrize("name", EXPLAINED)
def test_outputs_have_links_and_labels(name: str, tmp_path: Path) -> None:
    model, target, link, labels = EXPLAINED[name]
    (output,) = explained(model, target, tmp_path).outputs
    assert (output.link, tuple(output.labels)) == (link, labels)


UNEXPLAINED: dict[str, tuple[Any, Any, str]] = {
    "constant": (dummy.DummyRegressor(), VALUE, "the same for every row"),
    "transformer": (PCA(2), VALUE, "its last step transforms columns"),
    "neighbours": (neighbors.KNeighborsRegressor(), VALUE, "KNeighborsRegressor is neither a sum of trees"),
    "linear leaves": (lgbm(linear_tree=True), VALUE, "linear models in their leaves"),
    "products of columns": (
        make_pipeline(PolynomialFeatures(2, include_bias=False), linear_model.Ridge()),
        VALUE,
        "of what the linear function reads is computed from 'a' and 'b' together",
    ),
    "trees over products of columns": (
        make_pipeline(
            PolynomialFeatures(2, interaction_only=True, include_bias=False),
            StandardScaler(),
            ensemble.RandomForestRegressor(3, max_depth=3, random_state=0),
        ),
        VALUE,
        "of what the trees read is computed from",
    ),
    "mean of classifiers": (
        ensemble.VotingClassifier(
            [("one", xgboost.XGBClassifier(**SMALL)), ("two", linear_model.LogisticRegression())],
            voting="soft",
        ),
        TWO,
        "averaged",
    ),
    "mean of functions": (
        ensemble.VotingRegressor(
            [("one", xgboost.XGBRegressor(objective="count:poisson", **SMALL)), ("two", linear_model.Ridge())]
        ),
        POSITIVE,
        "added up",
    ),
    "clipped scores": (
        linear_model.SGDClassifier(loss="modified_huber", random_state=0),
        TWO,
        "no plain function",
    ),
    "rates": (
        RateRegressor(linear_model.Ridge(), power=1.5),
        POSITIVE,
        "the exposure",
    ),
}


@pytest.mark.parametrize("name", UNEXPLAINED)
def test_reasons_are_told(name: str, tmp_path: Path) -> None:
    model, target, reason = UNEXPLAINED[name]
    explanation = explained(model, target, tmp_path)
    assert not explanation.outputs
    (output,) = explanation.unexplained
    assert reason in output.reason
    (line,) = describe_explanation(explanation, 4)
    assert line == f"does not explain {output.output}: {output.reason}"


def test_a_calibrated_probability_is_a_function_of_stretched_log_odds(tmp_path: Path) -> None:
    fitted = xgboost.XGBClassifier(**SMALL).fit(X, TWO)
    model = LogOddsCalibrator(fitted).fit_probabilities(fitted.predict_proba(X)[:, 1], TWO)
    path = export_bundle(model, sample=X, name="m", version="1.0.0", output_dir=tmp_path).path
    (own,) = explain_rows(path, X).values()
    assert own.message.link == "clipped_sigmoid"
    assert own.message.trees[0].scale == model.slope_
    np.testing.assert_allclose(sigmoid(own.margins)[:, 0], model.predict_proba(X)[:, 1], atol=1e-6)


def test_a_calibrated_forest_is_a_function_of_its_mean(tmp_path: Path) -> None:
    fitted = ensemble.RandomForestClassifier(4, max_depth=3, random_state=0).fit(X, TWO)
    model = LogOddsCalibrator(fitted).fit_probabilities(fitted.predict_proba(X)[:, 1], TWO)
    path = export_bundle(model, sample=X, name="m", version="1.0.0", output_dir=tmp_path).path
    (own,) = explain_rows(path, X).values()
    assert (own.message.link, list(own.message.labels)) == ("calibrated_identity", ["0", "1"])
    np.testing.assert_allclose(own.margins, fitted.predict_proba(X), atol=1e-12)


def test_every_label_has_an_explanation(tmp_path: Path) -> None:
    model = MultiOutputClassifier(xgboost.XGBClassifier(**SMALL))
    explanation = explained(model, np.column_stack([TWO, THREE]), tmp_path)
    assert [(each.output, each.link) for each in explanation.outputs] == [
        ("probabilities_0", "sigmoid"),
        ("probabilities_1", "softmax"),
    ]
    # Their trees read the same columns, which the graph gives once.
    assert {each.trees[0].input for each in explanation.outputs} == {"tree_input_0"}


def test_trees_of_several_labels_at_once_are_not_explained(tmp_path: Path) -> None:
    model = tree.DecisionTreeClassifier(max_depth=3)
    explanation = explained(model, np.column_stack([TWO, THREE]), tmp_path)
    assert [each.output for each in explanation.unexplained] == ["probabilities_0", "probabilities_1"]
    assert {each.reason for each in explanation.unexplained} == {"its trees are of several labels at once"}


def test_a_class_alone_is_neither_explained_nor_unexplained(tmp_path: Path) -> None:
    explanation = explained(LinearSVC(random_state=0), TWO, tmp_path)
    assert explanation == manifest_pb2.Explanation()
    (line,) = describe_explanation(explanation, 4)
    assert line == "explains nothing: no output is a number or a probability"


def test_columns_that_no_tree_reads_have_no_feature(tmp_path: Path) -> None:
    model = tree.DecisionTreeRegressor(max_depth=1)
    explanation = explained(model, VALUE, tmp_path)
    (term,) = explanation.outputs[0].trees
    assert sorted(term.features)[1:] == [4, 4, 4]
    assert describe_explanation(explanation, 4) == ["explains value (identity) in 1 column"]


def test_a_mixed_column_that_no_tree_reads_does_not_matter(tmp_path: Path) -> None:
    products = FunctionTransformer(None)
    mixed = make_column_transformer(
        (make_pipeline(PolynomialFeatures(2, interaction_only=True, include_bias=False)), ["c", "d"]),
        (products, ["a"]),
    )
    model = make_pipeline(mixed, tree.DecisionTreeRegressor(max_depth=1))
    explanation = explained(model, X.a.to_numpy(), tmp_path)
    (term,) = explanation.outputs[0].trees
    # The model does not read b, so there are three features.
    assert list(term.features) == [3, 3, 3, 0]


WORDS = pd.DataFrame(
    {
        "title": [" ".join(_RNG.choice(["red", "green", "blue", "tall"], 3)) for _ in range(240)],
        "body": [" ".join(_RNG.choice(["good", "bad", "new"], 4)) for _ in range(240)],
        "price": X.a,
    }
).astype({"title": object, "body": object})


@pytest.mark.parametrize(
    "model",
    [linear_model.LogisticRegression(), xgboost.XGBClassifier(**SMALL)],
    ids=lambda model: type(model).__name__,
)
def test_each_text_is_one_feature(model: Any, tmp_path: Path) -> None:
    counted = make_column_transformer(
        (TfidfVectorizer(), "title"), (CountVectorizer(), "body"), ("passthrough", ["price"])
    )
    target = (WORDS.title.str.count("red") + WORDS.body.str.count("bad") + WORDS.price > 2).astype(int)
    explanation = explained(make_pipeline(counted, model), target, tmp_path, WORDS)
    (line,) = describe_explanation(explanation, 3)
    assert line == "explains probabilities (sigmoid) in 3 columns"


def test_the_same_export_gives_the_same_files(tmp_path: Path) -> None:
    model = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["kind"]), remainder="passthrough"),
        ensemble.VotingRegressor([("line", linear_model.Ridge()), ("trees", xgboost.XGBRegressor(**SMALL))]),
    )
    frame = X.assign(kind=np.where(X.a > 0, "x", "y")).astype({"kind": object})
    model.fit(frame, VALUE)
    paths = [
        export_bundle(model, sample=frame, name="m", version=version, output_dir=tmp_path).path
        for version in ("1.0.0", "1.0.1")
    ]
    for name in (EXPLANATION, EXPLANATION_GRAPH):
        first, second = ((path / name).read_bytes() for path in paths)
        assert first == second


def test_the_graph_has_the_inputs_of_the_model(tmp_path: Path) -> None:
    """All of them: inputs that only other outputs need are fed, too."""
    counted = make_column_transformer((CountVectorizer(), "title"), ("passthrough", ["price"]))
    model = make_pipeline(counted, tree.DecisionTreeRegressor(max_depth=1))
    path = export_bundle(
        model.fit(WORDS[["title", "price"]], WORDS.price),
        sample=WORDS[["title", "price"]],
        name="m",
        version="1.0.0",
        output_dir=tmp_path,
    ).path
    bundle = read_bundle(path)
    graphs = [onnx.load_model_from_string(each).graph for each in (bundle.graph, bundle.explanation_graph)]
    first, second = ([value.SerializeToString() for value in graph.input] for graph in graphs)
    assert first == second


def test_onnx_files_are_not_explained(tmp_path: Path) -> None:
    node = helper.make_node("Neg", ["x"], ["y"])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 2]) for name in "xy"]
    graph = helper.make_graph([node], "negative", values[:1], values[1:])
    file = tmp_path / "negative.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), file)
    exported = export_onnx(file, name="m", version="1.0.0", output_dir=tmp_path)
    (output,) = exported.explanation.unexplained
    assert output.output == "y"
    assert "ONNX file" in output.reason


def test_a_graph_that_does_not_run_in_parts_is_not_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ExportError("onnxruntime does not load the graph")

    monkeypatch.setattr(explaining, "observe", refuse)
    explanation = explained(linear_model.Ridge(), VALUE, tmp_path)
    (output,) = explanation.unexplained
    assert output.reason == "its graph does not run node by node"


def test_large_ensembles_need_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scorewire_kernel", None)
    monkeypatch.setattr(evaluating, "_MOST_PLAIN_LEAVES", 10)
    explanation = explained(xgboost.XGBRegressor(**SMALL), VALUE, tmp_path)
    (output,) = explanation.unexplained
    assert output.reason.endswith("leaves needs the kernel: install scorewire-training[kernel]")


def test_trees_that_the_kernel_refuses_are_not_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = pytest.importorskip("scorewire_kernel")

    def refuse(*_: object) -> None:
        raise kernel.UnsupportedError("too many trees")

    monkeypatch.setattr(kernel, "Contributions", refuse)
    explanation = explained(xgboost.XGBRegressor(**SMALL), VALUE, tmp_path)
    (output,) = explanation.unexplained
    assert output.reason == "the kernel does not explain its trees: too many trees"
