"""The tensors of a model's prediction inside the graph, and helpers of the rules of models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from onnx import TensorProto

from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.graph import ModelOutput
from scorewire_training.export.lowering.arithmetic import take_column
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.margins import Margin, margin_of


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionTensors:
    """The tensors of a model's prediction; numbers are of `element_type`, double or float.

    A regressor has `value` [rows, width]. A classifier has `class_labels`, and the
    `label` as their index (int64, [rows, 1]); `probabilities` [rows, classes] if it
    has predict_proba, and `decision` [rows, 1 or classes] if it has
    decision_function. A multilabel classifier has `labels`, a prediction for each
    label, in double. `is_exact` tells whether the kernel computes the outputs from
    the model's inputs with the bits of the model's library.

    `margin` has the margins of the value or of the probabilities; without them,
    `without_margin` may say why.
    """

    family: str
    element_type: int = TensorProto.DOUBLE
    value: str | None = None
    width: int = 1
    class_labels: tuple[str, ...] = ()
    label: str | None = None
    probabilities: str | None = None
    decision: str | None = None
    labels: tuple[PredictionTensors, ...] = ()
    is_exact: bool = False
    margin: Margin | None = None
    without_margin: str = ""

    @property
    def outputs(self) -> tuple[ModelOutput, ...]:
        """The prediction as the outputs of a model."""
        result = [
            output.of_target(target) for target, label in enumerate(self.labels) for output in label.outputs
        ]
        why = self.without_margin or f"{self.family} is neither a sum of trees nor linear"
        if self.margin is not None:
            why = ""
        if self.value is not None:
            result.append(
                ModelOutput(
                    name="value",
                    kind=schema_pb2.OUTPUT_KIND_NUMBER,
                    tensor=self.value,
                    width=self.width,
                    margin=self.margin,
                    without_margin=why,
                )
            )
        if self.probabilities is not None:
            result.append(
                ModelOutput(
                    name="probabilities",
                    kind=schema_pb2.OUTPUT_KIND_PROBABILITY,
                    tensor=self.probabilities,
                    width=len(self.class_labels),
                    class_labels=self.class_labels,
                    margin=self.margin,
                    without_margin=why,
                )
            )
        if self.label is not None:
            result.append(
                ModelOutput(
                    name="label",
                    kind=schema_pb2.OUTPUT_KIND_CLASS,
                    tensor=self.label,
                    width=1,
                    class_labels=self.class_labels,
                )
            )
        return tuple(result)


# Why models that are made of models have no margins.
AVERAGED_PROBABILITIES = "the probabilities of its members are averaged, each after a function of its own"
AVERAGED_VALUES = "the values of its members are added up, each after a function of its own"
# The classes of a label that was given as a column of zeros and ones.
INDICATOR = ("0", "1")
# The classes of outlier detectors, in the order of the label's index.
OUTLIER_LABELS = ("-1", "1")


def class_labels(model: Any) -> tuple[str, ...]:
    """The names of a classifier's classes.

    Raises:
        UnsupportedModelError: the classifier has several targets, or a single class.
    """
    classes = model.classes_
    if isinstance(classes, list):
        raise UnsupportedModelError(
            f"{type(model).__name__} classifies several targets at once", "export one model for each target"
        )
    if len(classes) < 2:
        raise UnsupportedModelError(f"{type(model).__name__} was fitted on a single class", "fit it on two")
    return tuple(str(label) for label in classes)


def pair(builder: GraphBuilder, positive: str) -> str:
    """The probabilities of two classes, [rows, 2], from those of the second class, [rows, 1]."""
    negative = builder.graph.node("Sub", [builder.constant([1.0]), positive])
    return builder.graph.node("Concat", [negative, positive], axis=1)


def outlier_prediction(builder: GraphBuilder, family: str, decision: str, inside: str) -> PredictionTensors:
    """The prediction of an outlier detector: its decision, and whether rows are like the training rows."""
    label = builder.cast(inside, TensorProto.INT64)
    return PredictionTensors(family=family, value=decision, class_labels=OUTLIER_LABELS, label=label)


def decision_score(builder: GraphBuilder, member: PredictionTensors, estimator: Any, owner: object) -> str:
    """The scores that a classifier decides by: one column for two classes, else one for each class.

    Raises:
        UnsupportedModelError: the classifier has a decision_function that its rule does not give.
    """
    if member.decision is not None:
        return as_double(builder, member, member.decision, owner)
    if hasattr(estimator, "decision_function"):
        raise UnsupportedModelError(
            f"{type(owner).__name__} asks for the decision_function of a {type(estimator).__name__}",
            "use a model that has predict_proba only, or a linear one",
        )
    shares = as_double(builder, member, member.probabilities, owner)
    return take_column(builder, shares, 1) if len(member.class_labels) == 2 else shares


def as_double(builder: GraphBuilder, prediction: PredictionTensors, tensor: str | None, owner: object) -> str:
    """A tensor of a prediction in double.

    Raises:
        UnsupportedModelError: the prediction does not have the tensor.
    """
    if tensor is None:
        raise UnsupportedModelError(
            f"{type(owner).__name__} asks a {prediction.family} for what its translation does not give",
            "use members that have predict_proba, or regressors",
        )
    if prediction.element_type == TensorProto.DOUBLE:
        return tensor
    return builder.cast(tensor, TensorProto.DOUBLE)


def sum_of_margins(members: Sequence[PredictionTensors], value: str, width: int) -> Margin | None:
    """The margins of an affine function of what members predict; None if that is no margin itself.

    Args:
        members: the members.
        value: the function's tensor, [rows, width].
        width: its columns.
    """
    if any(member.margin is None or member.margin.link != "identity" for member in members):
        return None
    return margin_of(value, width)


def family_of(model: object, members: list[PredictionTensors]) -> str:
    """The kind of a model made of other models, for people."""
    names = ", ".join(dict.fromkeys(member.family for member in members))
    return f"{type(model).__name__} of {names}"


def multilabel_prediction(
    builder: GraphBuilder, family: str, labels: list[PredictionTensors]
) -> PredictionTensors:
    """The prediction of a multilabel classifier, from the predictions of its labels.

    Raises:
        UnsupportedModelError: a label has a single class.
    """
    if any(len(label.class_labels) < 2 for label in labels):
        raise UnsupportedModelError(f"{family} has a label of a single class", "fit it on the other labels")
    return PredictionTensors(
        family=family,
        is_exact=all(label.is_exact for label in labels),
        labels=tuple(
            replace(
                label,
                element_type=TensorProto.DOUBLE,
                probabilities=label.probabilities and as_double(builder, label, label.probabilities, family),
            )
            for label in labels
        ),
    )
