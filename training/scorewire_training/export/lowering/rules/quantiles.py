"""The QuantileTransformer, in double and in scikit-learn's order of operations."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto
from sklearn.preprocessing import QuantileTransformer

from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.lowering.arithmetic import clip
from scorewire_training.export.lowering.columnwise import Columnwise
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.registry import lowers_step
from scorewire_training.export.lowering.symbolic_columns import SymbolicColumns, tensor_columns
from scorewire_training.export.lowering.thresholds import find_codes, search_tree

# With a normal output distribution, numbers this close to the outermost quantiles count as them.
_NEAR = 1e-7
_CLOSEST = _NEAR - np.spacing(1)
# The coefficients of Cephes' ndtri, highest power first. Numerator and denominator for the middle
# are polynomials in (share - 0.5) ** 2, those for the tails in 1 / sqrt(-2 log(share)).
_MIDDLE = (
    [
        -5.99633501014107895267e1,
        9.80010754185999661536e1,
        -5.66762857469070293439e1,
        1.39312609387279679503e1,
        -1.23916583867381258016e0,
    ],
    [
        1.0,
        1.95448858338141759834e0,
        4.67627912898881538453e0,
        8.63602421390890590575e1,
        -2.25462687854119370527e2,
        2.00260212380060660359e2,
        -8.20372256168333339912e1,
        1.59056225126211695515e1,
        -1.18331621121330003142e0,
    ],
)
_TAIL = (
    [
        4.05544892305962419923e0,
        3.15251094599893866154e1,
        5.71628192246421288162e1,
        4.40805073893200834700e1,
        1.46849561928858024014e1,
        2.18663306850790267539e0,
        -1.40256079171354495875e-1,
        -3.50424626827848203418e-2,
        -8.57456785154685413611e-4,
    ],
    [
        1.0,
        1.57799883256466749731e1,
        4.53907635128879210584e1,
        4.13172038254672030440e1,
        1.50425385692907503408e1,
        2.50464946208309415979e0,
        -1.42182922854787788574e-1,
        -3.80806407691578277194e-2,
        -9.33259480895457427372e-4,
    ],
)


@lowers_step(QuantileTransformer, columnwise=Columnwise(fitted=("quantiles_",), is_exact=lambda _: False))
def lower_quantiles(builder: GraphBuilder, step: Any, inputs: SymbolicColumns) -> SymbolicColumns:
    """Each number's quantile, interpolated between the fitted quantiles, as a normal deviate if wanted."""
    graph, x = builder.graph, builder.tensor(inputs)
    quantiles = np.asarray(step.quantiles_, dtype=np.float64)
    references = np.asarray(step.references_, dtype=np.float64)
    if len(references) == 1:
        raise UnsupportedModelError("the QuantileTransformer has a single quantile", "give it more")
    # The two lines differ where quantiles are equal.
    lines = [_line(builder, x, quantiles, references, from_above=side) for side in (False, True)]
    shares = graph.node("Mul", [graph.node("Add", lines), builder.constant([0.5])])
    least, most = builder.constant(quantiles[:1]), builder.constant(quantiles[-1:])
    is_normal = step.output_distribution == "normal"
    if is_normal:
        near = builder.constant([_NEAR])
        low = graph.node("Less", [graph.node("Sub", [x, near]), least])
        high = graph.node("Greater", [graph.node("Add", [x, near]), most])
    else:
        low, high = graph.node("LessOrEqual", [x, least]), graph.node("GreaterOrEqual", [x, most])
    shares = graph.node("Where", [high, builder.constant([1.0]), shares])
    shares = graph.node("Where", [low, builder.constant([0.0]), shares])
    if is_normal:
        shares = _deviates(builder, clip(builder, shares, _CLOSEST, 1.0 - _CLOSEST))
    if inputs.sparse:
        shares = graph.node("Where", [graph.node("Equal", [x, builder.constant([0.0])]), x, shares])
    return inputs.changed(tensor_columns(shares, inputs.width))


def _line(
    builder: GraphBuilder,
    x: str,
    quantiles: NDArray[np.float64],
    references: NDArray[np.float64],
    *,
    from_above: bool,
) -> str:
    """Interpolate the reference between the two quantiles around each number.

    A number that equals a quantile is at the start of the next line, or with
    `from_above` at the end of the previous one.
    """
    graph = builder.graph
    count, width = len(quantiles) - 1, quantiles.shape[1]
    bounds = np.nextafter(quantiles[1:-1], np.inf) if from_above else quantiles[1:-1]
    trees = []
    for column in range(width):
        distinct, places = np.unique(bounds[:, column], return_index=True)
        passed = np.append(places, count - 1).astype(np.float64)
        trees.append(search_tree(distinct, passed, column))
    place = builder.cast(find_codes(graph, trees, x), TensorProto.INT64)
    place = graph.node("Add", [place, graph.constant(np.arange(width)[np.newaxis, :] * count)])
    steps = np.diff(quantiles, axis=0)
    # No number is between equal quantiles.
    slopes = np.diff(references)[:, np.newaxis] / np.where(steps == 0, 1.0, steps)
    ends = slice(1, None) if from_above else slice(None, -1)
    levels = np.broadcast_to(references[ends, np.newaxis], slopes.shape)
    slope, end, level = (
        graph.node("Gather", [builder.constant(table.T.ravel()), place])
        for table in (slopes, quantiles[ends], levels)
    )
    line = graph.node("Mul", [slope, graph.node("Sub", [x, end])])
    return graph.node("Add", [line, level])


def _deviates(builder: GraphBuilder, share: str) -> str:
    """The normal deviates of shares: the inverse of the normal distribution function."""
    graph = builder.graph

    def constant(value: float) -> str:
        return builder.constant([value])

    def ratio(fraction: tuple[list[float], list[float]], x: str) -> str:
        above, below = (_polynomial(builder, coefficients, x) for coefficients in fraction)
        return graph.node("Div", [above, below])

    half = constant(0.5)
    distance = graph.node("Sub", [share, half])
    squared = graph.node("Mul", [distance, distance])
    bent = graph.node("Mul", [distance, graph.node("Mul", [squared, ratio(_MIDDLE, squared)])])
    middle = graph.node("Mul", [graph.node("Add", [distance, bent]), constant(np.sqrt(2 * np.pi))])

    is_upper = graph.node("Greater", [share, half])
    rest = graph.node("Where", [is_upper, graph.node("Sub", [constant(1.0), share]), share])
    root = graph.node("Sqrt", [graph.node("Mul", [graph.node("Log", [rest]), constant(-2.0)])])
    first = graph.node("Sub", [root, graph.node("Div", [graph.node("Log", [root]), root])])
    inverse = graph.node("Reciprocal", [root])
    tail = graph.node("Sub", [first, graph.node("Mul", [inverse, ratio(_TAIL, inverse)])])
    tail = graph.node("Where", [is_upper, tail, graph.node("Neg", [tail])])
    return graph.node("Where", [graph.node("Greater", [rest, constant(np.exp(-2))]), middle, tail])


def _polynomial(builder: GraphBuilder, coefficients: list[float], x: str) -> str:
    """A polynomial by Horner's method."""
    graph = builder.graph
    value = builder.constant([coefficients[0]])
    for coefficient in coefficients[1:]:
        value = graph.node("Add", [graph.node("Mul", [value, x]), builder.constant([coefficient])])
    return value
