"""Classifiers with calibrated probabilities or a threshold of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import (
    FixedThresholdClassifier,
    TunedThresholdClassifierCV,
)

from scorewire_contract.links import both_classes, sigmoid
from scorewire_training.estimators.calibration import SMALLEST, LogOddsCalibrator
from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.graph import ELEMENT_TYPES
from scorewire_training.export.lowering.arithmetic import (
    arg_max,
    clip,
    share_out,
    take_column,
    weighted_mean,
)
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.prediction_tensors import (
    AVERAGED_PROBABILITIES,
    PredictionTensors,
    as_double,
    class_labels,
    decision_score,
    family_of,
    pair,
)
from scorewire_training.export.lowering.registry import lower_model, lowers_model
from scorewire_training.export.lowering.symbolic_columns import SymbolicColumns
from scorewire_training.export.margins import Margin, margin_of


@lowers_model(CalibratedClassifierCV)
def lower_calibrated(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The mean over the folds of the calibrated scores: by sigmoid, isotonic steps or temperature."""
    labels, graph = class_labels(model), builder.graph
    means, families, margins = [], [], []
    for fold in model.calibrated_classifiers_:
        member = lower_model(builder, fold.estimator, inputs)
        families.append(member)
        if list(fold.estimator.classes_) != list(model.classes_):
            raise UnsupportedModelError(
                f"a fold of {type(model).__name__} has not seen every class",
                "use fewer folds, or ensemble=False",
            )
        scores = decision_score(builder, member, fold.estimator, model)
        if fold.method == "temperature":
            is_share = not hasattr(fold.estimator, "decision_function")
            means.append(
                _softmax_at_temperature(
                    builder, scores, is_share, len(labels), float(fold.calibrators[0].beta_)
                )
            )
            continue
        if fold.method == "isotonic":
            share = _interpolated(builder, scores, fold.calibrators)
        else:
            slope = builder.constant([float(calibrator.a_) for calibrator in fold.calibrators])
            offset = builder.constant([float(calibrator.b_) for calibrator in fold.calibrators])
            line = graph.node("Add", [graph.node("Mul", [scores, slope]), offset])
            line = graph.node("Neg", [line])
            share = graph.node("Sigmoid", [line])
            if len(labels) == 2:
                margins.append(margin_of(line, 1, "sigmoid", pairs=True))
        means.append(pair(builder, share) if len(labels) == 2 else share_out(builder, share, len(labels)))
    mean = weighted_mean(builder, means, None)
    return PredictionTensors(
        family=family_of(model, families[:1]),
        class_labels=labels,
        label=arg_max(builder, mean),
        probabilities=mean,
        margin=margins[0] if len(means) == len(margins) == 1 else None,
        without_margin=AVERAGED_PROBABILITIES if len(means) > 1 else "",
    )


@lowers_model(LogOddsCalibrator)
def lower_log_odds_calibrator(
    builder: GraphBuilder, model: Any, inputs: SymbolicColumns
) -> PredictionTensors:
    """The logistic function of slope * log-odds + offset."""
    labels, graph = class_labels(model), builder.graph
    member = lower_model(builder, model.estimator, inputs)
    share = take_column(builder, as_double(builder, member, member.probabilities, model), 1)
    share = clip(builder, share, SMALLEST, 1.0 - SMALLEST)
    other = graph.node("Sub", [builder.constant([1.0]), share])
    odds = graph.node("Log", [graph.node("Div", [share, other])])
    line = graph.node("Mul", [odds, builder.constant([model.slope_])])
    line = graph.node("Add", [line, builder.constant([model.offset_])])
    probabilities = pair(builder, graph.node("Sigmoid", [line]))
    return PredictionTensors(
        family=family_of(model, [member]),
        class_labels=labels,
        label=arg_max(builder, probabilities),
        probabilities=probabilities,
        margin=_calibrated_margin(model, member),
        without_margin=member.without_margin,
    )


def _calibrated_margin(model: LogOddsCalibrator, member: PredictionTensors) -> Margin | None:
    """The margins behind calibrated probabilities.

    A member's log-odds stay a margin, stretched and shifted; it is limited before the
    sigmoid. The margins of other members stay as they are.
    """
    slope, offset, before = float(model.slope_), float(model.offset_), member.margin
    if before is None:
        return None
    limit = float(np.log((1.0 - SMALLEST) / SMALLEST))
    if before.link == "sigmoid" and before.width == 1:
        low, high = sorted((offset - slope * limit, offset + slope * limit))
        return before.scaled(slope, offset).through(
            "clipped_sigmoid", lambda margins: both_classes(sigmoid(np.clip(margins, low, high)))
        )

    def calibrate(margins: NDArray[np.float64]) -> NDArray[np.float64]:
        share = np.clip(before.to_output(margins)[:, 1:], SMALLEST, 1.0 - SMALLEST)
        return both_classes(sigmoid(slope * np.log(share / (1.0 - share)) + offset))

    return before.through(f"calibrated_{before.link}", calibrate)


@lowers_model(FixedThresholdClassifier, TunedThresholdClassifierCV)
def lower_threshold(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The positive class from a threshold on."""
    member = lower_model(builder, model.estimator_, inputs)
    if model.response_method not in ("auto", "predict_proba") or member.probabilities is None:
        raise UnsupportedModelError(
            f"{type(model).__name__} puts its threshold on decision_function",
            "use response_method='predict_proba' and a model that has it",
        )
    positive = getattr(model, "pos_label", None)
    place = 1 if positive is None else list(model.classes_).index(positive)
    threshold = getattr(model, "best_threshold_", None)
    if threshold is None:
        threshold = 0.5 if model.threshold == "auto" else model.threshold
    share = take_column(builder, as_double(builder, member, member.probabilities, model), place)
    above = builder.graph.node("GreaterOrEqual", [share, builder.constant([float(threshold)])])
    is_second = above if place else builder.graph.node("Not", [above])
    return replace(
        member,
        family=family_of(model, [member]),
        label=builder.cast(is_second, TensorProto.INT64),
        is_exact=False,
    )


def _interpolated(builder: GraphBuilder, scores: str, calibrators: list[Any]) -> str:
    """Interpolate each column linearly between the fitted points, in the precision of the points."""
    graph = builder.graph
    columns = []
    for i, calibrator in enumerate(calibrators):
        x, y = calibrator.X_thresholds_, calibrator.y_thresholds_
        score = scores if len(calibrators) == 1 else take_column(builder, scores, i)
        if len(y) == 1:
            nothing = graph.node("Mul", [score, builder.constant([0.0])])
            columns.append(graph.node("Add", [nothing, builder.constant(y)]))
            continue
        score = clip(builder, score, float(calibrator.X_min_), float(calibrator.X_max_))
        beyond = graph.node("GreaterOrEqual", [score, builder.constant(x[1:-1][np.newaxis, :])])
        place = graph.constant(np.zeros(1, np.int64))
        if len(x) > 2:
            axis = graph.constant(np.array([1]))
            place = graph.node("ReduceSum", [builder.cast(beyond, TensorProto.INT64), axis], keepdims=1)
        slope, begin, level = (
            graph.node("Gather", [graph.constant(part), place], axis=0)
            for part in (np.diff(y) / np.diff(x), x[:-1], y[:-1])
        )
        own = builder.cast(score, ELEMENT_TYPES[x.dtype.name])
        line = graph.node("Mul", [slope, graph.node("Sub", [own, begin])])
        columns.append(builder.cast(graph.node("Add", [line, level]), TensorProto.DOUBLE))
    return columns[0] if len(columns) == 1 else graph.node("Concat", columns, axis=1)


def _softmax_at_temperature(
    builder: GraphBuilder, scores: str, is_share: bool, count: int, beta: float
) -> str:
    """The softmax of the logits times a factor."""
    graph = builder.graph
    if is_share:
        shares = pair(builder, scores) if count == 2 else scores
        logits = graph.node("Log", [graph.node("Add", [shares, builder.constant([1e-12])])])
    elif count == 2:
        logits = graph.node("Concat", [graph.node("Neg", [scores]), scores], axis=1)
    else:
        logits = scores
    return graph.node("Softmax", [graph.node("Mul", [logits, builder.constant([beta])])], axis=1)
