"""The fitted model's own scores, in the form of a bundle's outputs."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import xgboost
from numpy.typing import NDArray
from sklearn.base import is_outlier_detector

from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.errors import ParityError
from scorewire_training.export.graph import ModelOutput
from scorewire_training.export.parity.label_classes import classes_by_label
from scorewire_training.export.trees.xgboost_missing import missing_of


@dataclass(frozen=True, slots=True)
class FittedScores:
    """Scores of the fitted model.

    Attributes:
        outputs: for each output an array of float64 of shape [rows, width], NaN in
            the rows that the model refused.
        refused: whether the model refused each row, shape [rows].
    """

    outputs: list[NDArray[np.float64]]
    refused: NDArray[np.bool_]

    def take(self, rows: Sequence[int] | NDArray[np.intp]) -> FittedScores:
        """The scores of some of the rows, in the given order."""
        return FittedScores([values[rows] for values in self.outputs], self.refused[rows])


class FittedModel:
    """Scores rows with a fitted model.

    Args:
        model: a scikit-learn estimator or pipeline, or a Booster of XGBoost or LightGBM.
        outputs: the outputs to compute: probabilities [rows, classes], the index of the
            predicted class [rows, 1], or values [rows, targets].

    Raises:
        ParityError: the class labels of an output are not the model's classes in order.
    """

    def __init__(self, model: Any, outputs: Sequence[ModelOutput]) -> None:
        self._model = model
        self._outputs = tuple(outputs)
        # The same trees as of a booster that answers with classes, asked for the probabilities.
        self._shares_of_classes: xgboost.Booster | None = None
        if isinstance(model, xgboost.Booster) and _objective(model) == "multi:softmax":
            self._shares_of_classes = model.copy()
            self._shares_of_classes.set_param({"objective": "multi:softprob"})
        self._label_count = 1 + max((output.target for output in self._outputs), default=0)
        self._classes = classes_by_label(model, self._label_count)
        for output in self._outputs:
            labels, classes = list(output.class_labels), self._classes[output.target]
            if labels and classes is not None and labels != [str(label) for label in classes]:
                raise ParityError(
                    f"{output.name!r} has the classes {labels}, the fitted model {list(classes)}: this is a "
                    "fault of the exporter, please report it with the kind of model"
                )

    def score(self, frame: pd.DataFrame | NDArray[Any]) -> list[NDArray[np.float64]]:
        """Score all rows of a frame, or of an array as the model was fitted on.

        Raises:
            Exception: any error of the model; it refuses one of the rows.
        """
        with warnings.catch_warnings():
            # The model scores what it warns about. If a user turned warnings into
            # errors, an unknown category must not look like a refusal.
            warnings.simplefilter("ignore")
            if isinstance(self._model, xgboost.Booster | lightgbm.Booster):
                scores = self._ask_booster(frame)
            else:
                scores = self._ask_estimator(frame)
        return [
            np.asarray(prediction, dtype=np.float64).reshape(len(frame), output.width)
            for prediction, output in zip(scores, self._outputs, strict=True)
        ]

    def score_or_refuse(self, frame: pd.DataFrame, *, likely_refused: bool = False) -> FittedScores:
        """Score the rows that the model accepts; a row on which it raises is refused.

        Refused rows are searched by halves. If most rows are `likely_refused`, each
        row is scored alone instead; the result is the same.
        """
        try:
            return FittedScores(self.score(frame), np.zeros(len(frame), dtype=np.bool_))
        except Exception:
            if len(frame) <= 1:
                nothing = [np.full((len(frame), output.width), np.nan) for output in self._outputs]
                return FittedScores(nothing, np.ones(len(frame), dtype=np.bool_))
        size = 1 if likely_refused else (len(frame) + 1) // 2
        parts = [
            self.score_or_refuse(frame.iloc[begin : begin + size]) for begin in range(0, len(frame), size)
        ]
        return FittedScores(
            [np.concatenate(pair) for pair in zip(*(part.outputs for part in parts), strict=True)],
            np.concatenate([part.refused for part in parts]),
        )

    def _ask_estimator(self, frame: pd.DataFrame | NDArray[Any]) -> list[Any]:
        kinds = {output.kind for output in self._outputs}
        # Called once for all labels.
        asked_shares = schema_pb2.OUTPUT_KIND_PROBABILITY in kinds
        asked_classes = schema_pb2.OUTPUT_KIND_CLASS in kinds
        shares = self._model.predict_proba(frame) if asked_shares else ()
        predicted = _dense(self._model.predict(frame) if asked_classes else ())
        scores = []
        for output in self._outputs:
            if output.kind == schema_pb2.OUTPUT_KIND_PROBABILITY:
                scores.append(self._shares(shares, output))
            elif output.kind == schema_pb2.OUTPUT_KIND_CLASS:
                scores.append(self._class_indices(predicted, output))
            else:
                scores.append(self._numbers(frame))
        return scores

    def _numbers(self, frame: pd.DataFrame | NDArray[Any]) -> NDArray[Any]:
        if is_outlier_detector(self._model):
            return np.asarray(self._model.decision_function(frame))
        # A pipeline may end in a transformer.
        predict = self._model.predict if hasattr(self._model, "predict") else self._model.transform
        return _dense(predict(frame))

    def _shares(self, shares: Any, output: ModelOutput) -> NDArray[Any]:
        """The probabilities of one label, from the result of predict_proba for one label or for all."""
        if isinstance(shares, list):
            return np.asarray(shares[output.target])
        if self._label_count == 1:
            return np.asarray(shares)
        positive = _dense(shares)[:, output.target]
        return np.column_stack([1 - positive, positive])

    def _class_indices(self, predicted: NDArray[Any], output: ModelOutput) -> NDArray[np.float64]:
        classes = self._classes[output.target]
        if predicted.ndim == 2 and output.width == 1:
            predicted = predicted[:, output.target]
        if classes is None:
            classes, predicted = np.array(output.class_labels), predicted.astype(str)
        hits = classes[None, :] == predicted.reshape(-1, 1)
        if not hits.any(axis=1).all():
            raise TypeError(f"the model predicts classes that are not among {list(classes)}")
        return np.asarray(hits.argmax(axis=1), dtype=np.float64)

    def _ask_booster(self, frame: pd.DataFrame | NDArray[Any]) -> list[NDArray[Any]]:
        if isinstance(self._model, xgboost.Booster):
            matrix = to_dmatrix(self._model, frame)
            prediction = np.asarray(self._model.predict(matrix))
        else:
            matrix = None
            prediction = np.asarray(self._model.predict(frame), dtype=np.float64)
        width = next((o.width for o in self._outputs if o.kind == schema_pb2.OUTPUT_KIND_PROBABILITY), 0)
        if not width:
            return [prediction for _ in self._outputs]
        if prediction.ndim == 2 and prediction.shape[1] == width:
            probabilities, label = prediction, prediction.argmax(axis=1)
        elif self._shares_of_classes is not None:
            probabilities, label = np.asarray(self._shares_of_classes.predict(matrix)), prediction
        else:
            probabilities = np.column_stack([1 - prediction.ravel(), prediction.ravel()])
            label = (prediction.ravel() > 0.5).astype(np.intp)
        return [
            probabilities if output.kind == schema_pb2.OUTPUT_KIND_PROBABILITY else label
            for output in self._outputs
        ]


def _dense(values: Any) -> NDArray[Any]:
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values)


def _objective(booster: xgboost.Booster) -> str:
    return str(json.loads(booster.save_config())["learner"]["objective"]["name"])


def to_dmatrix(booster: xgboost.Booster, frame: pd.DataFrame | NDArray[Any]) -> xgboost.DMatrix:
    """The rows as a Booster takes them: with its column names if it has any, categories as codes."""
    if isinstance(frame, np.ndarray):
        names = booster.feature_names
        frame = pd.DataFrame(frame, columns=None if names is None else list(names))
    if any(isinstance(dtype, pd.CategoricalDtype) for dtype in frame.dtypes):
        return xgboost.DMatrix(frame, missing=missing_of(booster), enable_categorical=True)
    return xgboost.DMatrix(
        frame.to_numpy(dtype=np.float64, na_value=np.nan),
        missing=missing_of(booster),
        feature_names=None if booster.feature_names is None else list(frame.columns),
        feature_types=booster.feature_types,
        enable_categorical=True,
    )
