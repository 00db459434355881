"""What a model answers inside the graph, and which rule lowers which model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import reduce
from itertools import groupby
from typing import Any, TypeAlias, TypeVar

import numpy as np
from onnx import TensorProto

from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.graph import ModelOutput
from scorewire_training.export.lowering.graph_builder import Draft
from scorewire_training.export.lowering.pipelines import class_name, steps_at_predict
from scorewire_training.export.lowering.registry import lower_step
from scorewire_training.export.lowering.symbolic_columns import Matrix
from scorewire_training.export.lowering.tree_models import LoweredTrees, lower_trees


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The tensors of a model's answer; its numbers are of `element_type`, double or float.

    A regressor has `value` [rows, width]. A classifier has `class_labels`, the
    `label` as their index (int64, [rows, 1]), `probabilities` [rows,
    classes] where it has predict_proba, and `decision` [rows, 1 or classes]
    where it has decision_function. A classifier that answers several labels
    for a row has an answer for each, in double.
    """

    family: str
    element_type: int = TensorProto.DOUBLE
    value: str | None = None
    width: int = 1
    class_labels: tuple[str, ...] = ()
    label: str | None = None
    probabilities: str | None = None
    decision: str | None = None
    labels: tuple[Answer, ...] = ()

    @property
    def outputs(self) -> tuple[ModelOutput, ...]:
        """The answer as the outputs of a model."""
        result = [
            output.of_target(target) for target, label in enumerate(self.labels) for output in label.outputs
        ]
        if self.value is not None:
            result.append(
                ModelOutput(
                    name="value", kind=schema_pb2.OUTPUT_KIND_NUMBER, tensor=self.value, width=self.width
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


# The classes of a label that a table of zeros and ones tells.
INDICATOR = ("0", "1")
# Those of outlier detectors, in the order of the label's numbers.
OUTLIER_LABELS = ("-1", "1")

# Lowers a fitted model: what it is given, to what it answers.
ModelRule: TypeAlias = "Callable[[Draft, Any, Matrix], Answer]"
_R = TypeVar("_R", bound=ModelRule)

_RULES: dict[type | str, ModelRule] = {}


def answers(*classes: type | str) -> Callable[[_R], _R]:
    """Register a rule for models of some classes, by full name where their library may not be there."""

    def register(rule: _R) -> _R:
        for cls in classes:
            _RULES[cls] = rule
        return rule

    return register


def lower_model(draft: Draft, model: Any, matrix: Matrix) -> Answer:
    """What a fitted model, or a pipeline that ends in one, answers.

    Raises:
        UnsupportedModelError: there is no rule for it, or for a setting of it.
    """
    steps = steps_at_predict(model)
    if steps is not None:
        for step in steps[:-1]:
            matrix = lower_step(draft, step, matrix)
        return lower_model(draft, steps[-1] if steps else None, matrix)
    rule = _RULES.get(type(model)) or _RULES.get(class_name(model))
    if rule is not None:
        expected = getattr(model, "n_features_in_", None)
        if expected is not None:
            matrix.check_width(model, expected)
        return rule(draft, model, matrix)
    trees = lower_trees(draft, model, matrix)
    if trees is not None:
        # Theirs is the margin, where they have one.
        decision = trees.margin if hasattr(model, "decision_function") else None
        return _from_trees(draft, trees, decision)
    if hasattr(model, "transform") and not hasattr(model, "predict"):
        made = lower_step(draft, model, matrix)
        return Answer(family=type(model).__name__, value=draft.tensor(made), width=made.width)
    raise UnsupportedModelError(
        f"{type(model).__module__}.{type(model).__qualname__} has no faithful translation to ONNX",
        "use a model of XGBoost, LightGBM or scikit-learn that has one"
        if hasattr(model, "predict")
        else "end the pipeline in a fitted model; samplers and other steps of training stay outside",
    )


def class_labels(model: Any) -> tuple[str, ...]:
    """The names of a classifier's classes.

    Raises:
        UnsupportedModelError: it has several targets, or a single class.
    """
    classes = model.classes_
    if isinstance(classes, list):
        raise UnsupportedModelError(
            f"{type(model).__name__} classifies several targets at once", "export one model for each target"
        )
    if len(classes) < 2:
        raise UnsupportedModelError(f"{type(model).__name__} was fitted on a single class", "fit it on two")
    return tuple(str(label) for label in classes)


def pair(draft: Draft, positive: str) -> str:
    """Probabilities of two classes, [rows, 2], from those of the second, [rows, 1]."""
    negative = draft.graph.node("Sub", [draft.constant([1.0]), positive])
    return draft.graph.node("Concat", [negative, positive], axis=1)


def arg_max(draft: Draft, x: str, *, last: bool = False) -> str:
    """The place of each row's largest number, the first or the last of several; int64, [rows, 1]."""
    return draft.graph.node("ArgMax", [x], axis=1, keepdims=1, select_last_index=int(last))


def exceeds(draft: Draft, x: str, bound: float) -> str:
    """1 where a column [rows, 1] is above a bound, else 0; int64."""
    return draft.cast(draft.graph.node("Greater", [x, draft.constant([bound])]), TensorProto.INT64)


def outlier_answer(draft: Draft, family: str, decision: str, inside: str) -> Answer:
    """The answer of an outlier detector: its decision, and whether rows are like those of training."""
    label = draft.cast(inside, TensorProto.INT64)
    return Answer(family=family, value=decision, class_labels=OUTLIER_LABELS, label=label)


def take_column(draft: Draft, x: str, index: int) -> str:
    """One column of a matrix, [rows, 1]."""
    return draft.graph.node("Gather", [x, draft.graph.constant(np.array([index]))], axis=1)


def score_of(draft: Draft, member: Answer, estimator: Any, owner: object) -> str:
    """By what a classifier decides: one column for two classes, else one for each.

    Raises:
        UnsupportedModelError: it decides by what its translation does not give.
    """
    if member.decision is not None:
        return as_double(draft, member, member.decision, owner)
    if hasattr(estimator, "decision_function"):
        raise UnsupportedModelError(
            f"{type(owner).__name__} asks for the decision_function of a {type(estimator).__name__}",
            "use a model that has predict_proba only, or a linear one",
        )
    shares = as_double(draft, member, member.probabilities, owner)
    return take_column(draft, shares, 1) if len(member.class_labels) == 2 else shares


def as_double(draft: Draft, answer: Answer, tensor: str | None, owner: object) -> str:
    """A tensor of an answer in double.

    Raises:
        UnsupportedModelError: the answer has no such tensor.
    """
    if tensor is None:
        raise UnsupportedModelError(
            f"{type(owner).__name__} asks a {answer.family} for what its translation does not give",
            "use members that have predict_proba, or regressors",
        )
    if answer.element_type == TensorProto.DOUBLE:
        return tensor
    return draft.cast(tensor, TensorProto.DOUBLE)


def weighted_mean(draft: Draft, parts: list[str], weights: Any) -> str:
    """The weighted mean, summed in order."""
    graph = draft.graph
    if weights is not None:
        parts = [
            graph.node("Mul", [part, draft.constant([float(weight)])])
            for part, weight in zip(parts, weights, strict=True)
        ]
    total = reduce(lambda a, b: graph.node("Add", [a, b]), parts)
    divisor = float(len(parts)) if weights is None else float(np.sum(weights))
    return graph.node("Div", [total, draft.constant([divisor])])


def family_of(model: object, members: list[Answer]) -> str:
    """What kind of model one of others is, for people."""
    names = ", ".join(dict.fromkeys(member.family for member in members))
    return f"{type(model).__name__} of {names}"


def several_labels(draft: Draft, family: str, labels: list[Answer]) -> Answer:
    """The answer of a classifier that has these for its labels.

    Raises:
        UnsupportedModelError: a label has a single class.
    """
    if any(len(label.class_labels) < 2 for label in labels):
        raise UnsupportedModelError(f"{family} has a label of a single class", "fit it on the other labels")
    return Answer(
        family=family,
        labels=tuple(
            replace(
                label,
                element_type=TensorProto.DOUBLE,
                probabilities=label.probabilities and as_double(draft, label, label.probabilities, family),
            )
            for label in labels
        ),
    )


def _from_trees(draft: Draft, trees: LoweredTrees, decision: str | None) -> Answer:
    by_target = groupby(trees.outputs, key=lambda output: output.target)
    labels = [_answer_of(trees, outputs) for _, outputs in by_target]
    return (
        replace(labels[0], decision=decision)
        if len(labels) == 1
        else several_labels(draft, trees.family, labels)
    )


def _answer_of(trees: LoweredTrees, outputs: Iterable[ModelOutput]) -> Answer:
    parts = {output.kind: output for output in outputs}
    value = parts.get(schema_pb2.OUTPUT_KIND_NUMBER)
    label = parts.get(schema_pb2.OUTPUT_KIND_CLASS)
    probabilities = parts.get(schema_pb2.OUTPUT_KIND_PROBABILITY)
    return Answer(
        family=trees.family,
        element_type=trees.element_type,
        value=value.tensor if value else None,
        width=value.width if value else 1,
        class_labels=label.class_labels if label else (),
        label=label.tensor if label else None,
        probabilities=probabilities.tensor if probabilities else None,
    )
