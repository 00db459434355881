"""Makes a version ready to explain its outputs, and proves that it explains its golden rows.

For every golden row, the base and the contributions must add up to the margin, and
the link of the margins must give the expected output. An output of which this is not
true is not explained; the version serves all the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from scorewire_contract.bundle import Bundle
from scorewire_contract.coding import RowCoder
from scorewire_contract.links import LINKS, both_classes
from scorewire_contract.scoring import RunGraph, golden_tolerance
from scorewire_contract.service.logs import log_fault, logger
from scorewire_contract.service.printable import printable
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_server.engine.explaining import Explained, Explainer, Explanations, OpenTrees
from scorewire_server.engine.runs_on import CompileGraph, UnsupportedGraphError
from scorewire_server.loading.audit import audit_explanation

_MAX_REASON = 1000
# Of the sum of the magnitudes of all contributions and the base.
_ADDITIVE = 1e-11
# The same, of the margins that lead to the output.
_ROUNDED = 1e-5
_ROUNDS, _ROWS = 3, 256


def explanations_of(
    bundle: Bundle,
    coder: RowCoder,
    *,
    open_session: Callable[[bytes], RunGraph],
    compile_graph: CompileGraph,
    open_trees: OpenTrees,
) -> Explanations:
    """What a bundle's version can explain.

    Args:
        bundle: a bundle whose graph was audited, and whose golden rows have the expected scores.
        coder: codes rows into the inputs of the bundle's graphs.
        open_session: opens a session for a graph that the kernel does not run.
        compile_graph: compiles a graph.
        open_trees: makes the trees of an output.

    Raises:
        AuditError: the graph of the explanation breaks a rule.
    """
    told = bundle.explanation
    if told is None:
        return Explanations()
    reasons = {each.output: printable(each.reason[:_MAX_REASON]) for each in told.unexplained}
    explainers: dict[str, Explainer] = {}
    if told.outputs:
        audit_explanation(bundle.explanation_graph, bundle.manifest, told)
    columns = tuple(feature.name for feature in bundle.manifest.schema.features)
    graph: RunGraph | None = None
    for output in told.outputs:
        try:
            graph = graph or _open(bundle.explanation_graph, open_session, compile_graph)
            trees = open_trees(bundle.graph, output, len(columns))
            explainer = Explainer(_without_covers(output), columns, coder, graph, trees)
            explainers[output.output] = replace(explainer, row_ns=_prove(bundle, explainer))
        except UnsupportedGraphError as error:
            reasons[output.output] = printable(str(error)[:_MAX_REASON])
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as error:
            # A fault of the explanation, perhaps a panic. The scores were proven, so the version can serve.
            reason = printable(f"its explanation was refused: {error}"[:_MAX_REASON])
            reasons[output.output] = reason
            if not isinstance(error, ValueError):
                log_fault(f"explain {bundle.model} {bundle.version.text}", error)
            log = logger().bind(model=bundle.model, version=bundle.version.text)
            log.error("explanation refused", output=output.output, reason=reason)
    return Explanations(explainers, reasons, absent="no output has an explanation")


def _without_covers(output: manifest_pb2.ExplainedOutput) -> manifest_pb2.ExplainedOutput:
    """What an explainer needs once its trees are open: not the covers, of which there are many."""
    told = manifest_pb2.ExplainedOutput.FromString(output.SerializeToString())
    for term in told.trees:
        term.ClearField("node_covers")
        term.ClearField("leaf_covers")
    return told


def _open(graph: bytes, open_session: Callable[[bytes], RunGraph], compile_graph: CompileGraph) -> RunGraph:
    try:
        return compile_graph(graph)
    except UnsupportedGraphError:
        return open_session(graph)


def _prove(bundle: Bundle, explainer: Explainer) -> float:
    """Check the explanation of the golden rows.

    Returns:
        Nanoseconds that one more row costs.

    Raises:
        ValueError: the explanation of a row is wrong.
    """
    rows = bundle.golden.rows
    numbers, texts = np.array(rows.numbers, dtype=np.float64), list(rows.texts)
    explained = explainer.explain(rows.row_count, numbers, texts)
    _check(explained, bundle, explainer.told)
    repeats = -(-_ROWS // rows.row_count)
    best = float("inf")
    for _ in range(_ROUNDS):
        begin = time.perf_counter_ns()
        explainer.explain(rows.row_count * repeats, np.tile(numbers, repeats), texts * repeats)
        best = min(best, (time.perf_counter_ns() - begin) / (rows.row_count * repeats))
    return best


def _check(explained: Explained, bundle: Bundle, told: manifest_pb2.ExplainedOutput) -> None:
    base, margins, values = np.array(explained.explainer.base), explained.margins, explained.values
    refused = [error.row for error in bundle.golden.expected.errors]
    # Linear terms of extreme rows may be infinite.
    finite = np.isfinite(margins).all(axis=1) & np.isfinite(values).all(axis=(1, 2))
    checked = np.array(finite, dtype=np.bool_)
    checked[refused] = False
    if not checked.any():
        raise ValueError("no golden row has finite contributions")
    margins, values = margins[checked], values[checked]
    sizes = np.abs(base) + np.abs(values).sum(axis=-1)
    if (np.abs(base + values.sum(axis=-1) - margins) > _ADDITIVE * sizes).any():
        raise ValueError("base and contributions of a golden row do not add up to its margin")
    link = LINKS.get(told.link)
    if link is None:
        return
    output = next(each for each in bundle.manifest.schema.outputs if each.name == told.output)
    expected = _expected(bundle, told.output)[checked]
    with np.errstate(all="ignore"):
        # The output's margins may have been floats, and cancel where contributions do.
        ways = [_output(link(margins + sign * _ROUNDED * sizes), output.width) for sign in (-1, 0, 1)]
        tolerance = golden_tolerance(bundle.golden, output)
        # A softmax does not see that all margins are shifted, but its margins are rounded each for itself.
        rounding = 2 * _ROUNDED * sizes.max(axis=1, keepdims=True)
        allowed = tolerance.absolute + (tolerance.relative + rounding) * np.abs(expected)
        if ways[0].shape != expected.shape:
            raise ValueError(f"the {told.link} of its margins has not the width of the output")
        inside = (expected >= np.min(ways, axis=0) - allowed) & (expected <= np.max(ways, axis=0) + allowed)
    if not inside.all():
        raise ValueError(f"the {told.link} of the margins of a golden row is not its output")


def _output(numbers: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """What a link gives, as the output of this width: both classes from the share of the second."""
    return both_classes(numbers) if (numbers.shape[1], width) == (1, 2) else numbers


def _expected(bundle: Bundle, output: str) -> NDArray[np.float64]:
    rows = bundle.golden.rows.row_count
    found = next(each for each in bundle.golden.expected.outputs if each.name == output)
    return np.array(found.numbers, dtype=np.float64).reshape(rows, -1)
