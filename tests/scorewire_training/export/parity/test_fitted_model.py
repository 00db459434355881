from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.linear_model import LogisticRegression, RidgeClassifier

from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.graph import ModelOutput
from scorewire_training.export.parity.fitted_model import FittedModel

FRAME = pd.DataFrame({"b": np.linspace(-1, 1, 60), "a": np.tile([0.0, 1.0, 2.0], 20)})
TWO = (FRAME["b"] > 0).astype(int).to_numpy()
THREE = FRAME["a"].astype(int).to_numpy()


def _classifier_outputs(*labels: str) -> list[ModelOutput]:
    return [
        ModelOutput(
            name="probabilities",
            kind=schema_pb2.OUTPUT_KIND_PROBABILITY,
            tensor="p",
            width=len(labels),
            class_labels=labels,
        ),
        ModelOutput(
            name="label", kind=schema_pb2.OUTPUT_KIND_CLASS, tensor="l", width=1, class_labels=labels
        ),
    ]


VALUE = [ModelOutput(name="value", kind=schema_pb2.OUTPUT_KIND_NUMBER, tensor="v", width=1)]


def _train_xgboost(objective: str, y: Any, **settings: Any) -> xgboost.Booster:
    return xgboost.train({"objective": objective, "max_depth": 2, **settings}, xgboost.DMatrix(FRAME, y), 3)


def test_estimator_answers_probabilities_and_class_indices() -> None:
    names = np.array(["no", "yes"])[TWO]
    model = LogisticRegression().fit(FRAME, names)
    probabilities, label = FittedModel(model, _classifier_outputs("no", "yes")).score(FRAME)
    np.testing.assert_array_equal(probabilities, model.predict_proba(FRAME))
    assert label.shape == (60, 1)
    assert np.array(["no", "yes"])[label.ravel().astype(int)].tolist() == model.predict(FRAME).tolist()


def test_classes_that_are_numbers_are_told_by_value() -> None:
    model = RidgeClassifier().fit(FRAME, TWO * 10.0 - 5)
    outputs = _classifier_outputs("-5.0", "5.0")[1:]
    (label,) = FittedModel(model, outputs).score(FRAME)
    np.testing.assert_array_equal(label.ravel() * 10 - 5, model.predict(FRAME))


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_booster_of_two_classes_answers_both_probabilities(library: str) -> None:
    booster: Any
    if library == "xgboost":
        booster = _train_xgboost("binary:logistic", TWO)
        positive = booster.predict(xgboost.DMatrix(FRAME))
    else:
        booster = lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(FRAME, TWO), 3)
        positive = booster.predict(FRAME)
    probabilities, label = FittedModel(booster, _classifier_outputs("0", "1")).score(FRAME)
    np.testing.assert_allclose(probabilities, np.column_stack([1 - positive, positive]), rtol=1e-7)
    np.testing.assert_array_equal(label.ravel(), positive > 0.5)


def test_booster_that_answers_classes_is_asked_for_its_margins() -> None:
    soft = _train_xgboost("multi:softprob", THREE, num_class=3).predict(xgboost.DMatrix(FRAME))
    booster = _train_xgboost("multi:softmax", THREE, num_class=3)
    probabilities, label = FittedModel(booster, _classifier_outputs("0", "1", "2")).score(FRAME)
    np.testing.assert_allclose(probabilities, soft, rtol=1e-6)
    np.testing.assert_array_equal(label.ravel(), THREE)


def test_booster_that_answers_one_of_two_classes_is_asked_for_its_margins() -> None:
    soft = _train_xgboost("multi:softprob", TWO, num_class=2).predict(xgboost.DMatrix(FRAME))
    booster = _train_xgboost("multi:softmax", TWO, num_class=2)
    probabilities, label = FittedModel(booster, _classifier_outputs("0", "1")).score(FRAME)
    np.testing.assert_allclose(probabilities, soft, rtol=1e-6)
    np.testing.assert_array_equal(label.ravel(), soft.argmax(axis=1))


def test_booster_without_names_takes_columns_as_they_come() -> None:
    booster = xgboost.train({}, xgboost.DMatrix(FRAME.to_numpy(), TWO), 3)
    (value,) = FittedModel(booster, VALUE).score(FRAME)
    np.testing.assert_array_equal(value.ravel(), booster.predict(xgboost.DMatrix(FRAME.to_numpy())))


def test_booster_with_category_columns_is_given_the_frame() -> None:
    frame = FRAME.assign(a=pd.Categorical(FRAME["a"].map({0.0: "x", 1.0: "y", 2.0: "z"})))
    matrix = xgboost.DMatrix(frame, TWO, enable_categorical=True)
    booster = xgboost.train({}, matrix, 3)
    (value,) = FittedModel(booster, VALUE).score(frame)
    np.testing.assert_array_equal(value.ravel(), booster.predict(matrix))


def test_only_the_rows_that_the_model_refuses_are_refused() -> None:
    model = LogisticRegression().fit(FRAME, TWO)
    frame = FRAME.copy()
    frame.loc[[3, 41], "a"] = [np.nan, np.inf]
    reference = FittedModel(model, _classifier_outputs("0", "1"))
    with pytest.raises(ValueError, match="NaN"):
        reference.score(frame)
    for likely_refused in (False, True):
        answers = reference.score_or_refuse(frame, likely_refused=likely_refused)
        assert np.flatnonzero(answers.refused).tolist() == [3, 41]
        kept = ~answers.refused
        np.testing.assert_allclose(answers.outputs[0][kept], model.predict_proba(FRAME)[kept])
        assert np.isnan(answers.outputs[0][[3, 41]]).all()


def test_a_warning_of_the_model_is_no_refusal() -> None:
    # A model fitted without names warns about every frame, and warnings are errors in these tests.
    model = LogisticRegression().fit(FRAME.to_numpy(), TWO)
    answers = FittedModel(model, _classifier_outputs("0", "1")).score_or_refuse(FRAME)
    assert not answers.refused.any()
