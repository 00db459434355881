"""The regressors of amounts of `estimators`, each around members that are lowered by their own rules."""

from __future__ import annotations

from typing import Any

import numpy as np

from scorewire_training.estimators import ExposedRegressor, HurdleRegressor, LogRegressor, RateRegressor
from scorewire_training.export.lowering.arithmetic import (
    clip,
    take_column,
)
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.prediction_tensors import (
    PredictionTensors,
    as_double,
    family_of,
    sum_of_margins,
)
from scorewire_training.export.lowering.registry import lower_model, lowers_model
from scorewire_training.export.lowering.symbolic_columns import SymbolicColumns


@lowers_model(LogRegressor)
def lower_log_regressor(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The mean amount from its logarithm, not below zero."""
    member = lower_model(builder, model.regressor_, inputs)
    graph = builder.graph
    value = graph.curve("Exp", as_double(builder, member, member.value, model), member.width)
    value = graph.node("Mul", [value, builder.constant([model.smearing_])])
    value = graph.node("Sub", [value, builder.constant([float(model.shift)])])
    margin = sum_of_margins([member], str(member.value), member.width)
    smearing, shift = float(model.smearing_), float(model.shift)
    return PredictionTensors(
        family=family_of(model, [member]),
        value=clip(builder, value, 0.0, np.inf),
        margin=margin
        and margin.through("amount_from_log", lambda logs: np.maximum(np.exp(logs) * smearing - shift, 0.0)),
    )


@lowers_model(RateRegressor)
def lower_rate_regressor(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The rate, from the other columns, times the exposure, whose logarithm is the first column."""
    member = lower_model(builder, model.regressor_, inputs.take(range(1, inputs.width)))
    exposure = builder.graph.curve("Exp", builder.tensor(inputs.take([0])), 1)
    value = builder.graph.node("Mul", [exposure, as_double(builder, member, member.value, model)])
    return PredictionTensors(
        family=family_of(model, [member]),
        value=value,
        without_margin="it multiplies a rate by the exposure, which is not among its margins",
    )


@lowers_model(ExposedRegressor)
def lower_exposed_regressor(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The member's amount where the second column is above zero, else one amount."""
    member = lower_model(builder, model.regressor_, inputs)
    exposed = builder.graph.node("Greater", [builder.tensor(inputs.take([1])), builder.constant([0.0])])
    amount = as_double(builder, member, member.value, model)
    value = builder.graph.node(
        "Where", [exposed, amount, builder.constant([float(model.amount_without_exposure_)])]
    )
    return PredictionTensors(
        family=family_of(model, [member]),
        value=value,
        without_margin=member.without_margin or "without exposure its amount is another than its member's",
    )


@lowers_model(HurdleRegressor)
def lower_hurdle(builder: GraphBuilder, model: Any, inputs: SymbolicColumns) -> PredictionTensors:
    """The probability of a positive amount times the expected positive amount."""
    amount = lower_model(builder, model.regressor_, inputs)
    value = as_double(builder, amount, amount.value, model)
    if model.classifier_ is None:
        return PredictionTensors(family=family_of(model, [amount]), value=value)
    hurdle = lower_model(builder, model.classifier_, inputs)
    probability = take_column(builder, as_double(builder, hurdle, hurdle.probabilities, model), 1)
    return PredictionTensors(
        family=family_of(model, [hurdle, amount]),
        value=builder.graph.node("Mul", [probability, value]),
        without_margin="it multiplies a probability by an amount",
    )
