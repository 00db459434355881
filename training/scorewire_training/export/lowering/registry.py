"""Which rule lowers which step. A rule is for exactly one class.

A subclass may do something else under the same name, so it has no rule unless it
registers one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import SelectorMixin
from sklearn.pipeline import FeatureUnion, Pipeline

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.columnwise import trace
from scorewire_training.export.lowering.graph_builder import Draft
from scorewire_training.export.lowering.pipelines import class_name
from scorewire_training.export.lowering.symbolic_columns import Matrix

# Lowers a fitted step: what it is given, to what it gives.
StepRule: TypeAlias = "Callable[[Draft, Any, Matrix], Matrix]"
_R = TypeVar("_R", bound=StepRule)

_RULES: dict[type | str, StepRule] = {}
# Whose members choose columns; a choice of columns reads none.
_COMPOSED = (ColumnTransformer, FeatureUnion, Pipeline)


def lowers(*classes: type | str) -> Callable[[_R], _R]:
    """Register a rule for transformers of some classes, by full name where their library may not be there."""

    def register(rule: _R) -> _R:
        for cls in classes:
            _RULES[cls] = rule
        return rule

    return register


def lower_step(draft: Draft, step: object, matrix: Matrix) -> Matrix:
    """What a fitted transformer makes of a matrix.

    Raises:
        UnsupportedModelError: there is no rule for it, or for a setting of it.
    """
    if isinstance(step, str):
        if step == "passthrough":
            return matrix
        raise UnsupportedModelError(f"a step is the word {step!r}", "use a fitted transformer")
    if step is None:
        return matrix
    if not isinstance(step, _COMPOSED):
        matrix.check_fit()
    rule = _RULES.get(type(step)) or _RULES.get(class_name(step))
    if rule is not None:
        expected = getattr(step, "n_features_in_", None)
        if expected is not None:
            matrix.check_width(step, expected)
        return trace(step, matrix, rule(draft, step, matrix))
    if isinstance(step, SelectorMixin) and type(step).transform is SelectorMixin.transform:
        support = step.get_support()
        matrix.check_width(step, len(support))
        return matrix.take(int(i) for i in support.nonzero()[0]).by_row()
    raise UnsupportedModelError(
        f"the step {type(step).__module__}.{type(step).__qualname__} has no faithful translation to ONNX",
        "do what it does before the model is fitted, or use a step of scikit-learn or of"
        " scorewire_training.estimators in its place",
    )
