"""Which rule translates which fitted step or model.

A rule takes the graph builder, the fitted object and the columns that the object
is given. The rule of a step returns the columns that the step makes, the rule of
a model the tensors of its prediction. Both kinds live in one kind of registry:

1. A rule that is registered for a class applies to exactly that class. A subclass
   may compute something else, so the rule of its base class does not apply to it.
2. A class is registered by its full name where its library may not be installed.
3. Where no class fits, the rules without a class are asked, in the order of their
   registration: each returns None for what it does not know. Such a rule may accept
   subclasses: the rules of tree ensembles and of feature selectors do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeAlias, TypeVar

from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.columnwise import Columnwise, declare_columnwise, trace
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.pipelines import class_name, steps_at_predict
from scorewire_training.export.lowering.prediction_tensors import PredictionTensors
from scorewire_training.export.lowering.symbolic_columns import SymbolicColumns

_Made = TypeVar("_Made", SymbolicColumns, PredictionTensors)
_Rule: TypeAlias = Callable[[GraphBuilder, Any, SymbolicColumns], _Made]
_OtherRule: TypeAlias = Callable[[GraphBuilder, Any, SymbolicColumns], _Made | None]
# These pass columns on to their members; passing a column on does not read it.
_COMPOSED = (ColumnTransformer, FeatureUnion, Pipeline)


class RuleRegistry(Generic[_Made]):
    """Rules by class, and rules that look at the object themselves."""

    def __init__(self) -> None:
        self._by_class: dict[type | str, _Rule[_Made]] = {}
        self._others: list[_OtherRule[_Made]] = []

    def register(self, *classes: type | str) -> Callable[[_Rule[_Made]], _Rule[_Made]]:
        """Register the decorated rule for some classes, each given as a class or by its full name."""

        def keep(rule: _Rule[_Made]) -> _Rule[_Made]:
            for cls in classes:
                self._by_class[cls] = rule
            return rule

        return keep

    def register_other(self, rule: _OtherRule[_Made]) -> _OtherRule[_Made]:
        """Register a rule that is asked about every object whose class has no rule."""
        self._others.append(rule)
        return rule

    def apply(self, builder: GraphBuilder, fitted: Any, inputs: SymbolicColumns) -> _Made | None:
        """What the rule of a fitted object makes of columns; None where no rule knows the object.

        Raises:
            UnsupportedModelError: the object was fitted on another number of columns, or has a
                setting that cannot be translated.
        """
        rule = self._by_class.get(type(fitted)) or self._by_class.get(class_name(fitted))
        if rule is None:
            made = (other(builder, fitted, inputs) for other in self._others)
            return next((found for found in made if found is not None), None)
        expected = getattr(fitted, "n_features_in_", None)
        if expected is not None:
            inputs.check_width(fitted, expected)
        return rule(builder, fitted, inputs)


_STEPS: RuleRegistry[SymbolicColumns] = RuleRegistry()
_MODELS: RuleRegistry[PredictionTensors] = RuleRegistry()

lowers_model = _MODELS.register
lowers_other_models = _MODELS.register_other
lowers_other_steps = _STEPS.register_other


def lowers_step(
    *classes: type | str, columnwise: Columnwise | None = None
) -> Callable[[_Rule[SymbolicColumns]], _Rule[SymbolicColumns]]:
    """Register the decorated rule for transformers of some classes.

    Args:
        *classes: the classes, by full name where their library may not be installed.
        columnwise: how the step computes each column from one other column alone, if it does.

    Raises:
        TypeError: a columnwise step is given by its name; its origin is looked up by its class.
    """
    if columnwise is not None:
        declare_columnwise(classes, columnwise)
    return _STEPS.register(*classes)


def lower_step(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """The columns that a fitted transformer makes.

    Raises:
        UnsupportedModelError: there is no rule for the transformer, or for a setting of it.
    """
    if isinstance(step, str):
        if step == "passthrough":
            return inputs
        raise UnsupportedModelError(f"a step is the word {step!r}", "use a fitted transformer")
    if step is None:
        return inputs
    if not isinstance(step, _COMPOSED):
        inputs.check_usable()
    made = _STEPS.apply(builder, step, inputs)
    if made is None:
        raise UnsupportedModelError(
            f"the step {type(step).__module__}.{type(step).__qualname__} has no faithful translation to ONNX",
            "do what it does before the model is fitted, or use a step of scikit-learn or of"
            " scorewire_training.estimators in its place",
        )
    return trace(step, inputs, made)


def lower_model(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The prediction of a fitted model, or of a pipeline that ends in a model or in a transformer.

    Raises:
        UnsupportedModelError: there is no rule for the model, or for a setting of it.
    """
    steps = steps_at_predict(model)
    if steps is not None:
        for step in steps[:-1]:
            inputs = lower_step(builder, step, inputs)
        return lower_model(builder, steps[-1] if steps else None, inputs)
    prediction = _MODELS.apply(builder, model, inputs)
    if prediction is not None:
        return prediction
    if hasattr(model, "transform") and not hasattr(model, "predict"):
        made = lower_step(builder, model, inputs)
        return PredictionTensors(
            family=type(model).__name__,
            value=builder.tensor(made),
            width=made.width,
            without_margin="its last step transforms columns, and predicts nothing",
        )
    raise UnsupportedModelError(
        f"{type(model).__module__}.{type(model).__qualname__} has no faithful translation to ONNX",
        "use a model of XGBoost, LightGBM or scikit-learn that has one"
        if hasattr(model, "predict")
        else "end the pipeline in a fitted model; samplers and other steps of training stay outside",
    )
