"""Explains the predictions of a fake model, as a server does."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from scorewire._errors import Code
from scorewire.testing._failures import failure
from scorewire.testing._model import FakeModel
from scorewire_proto.v1 import models_pb2, prediction_pb2


def check_explain(model: FakeModel, request: prediction_pb2.PredictRequest) -> None:
    """Check that the model can explain what a request asks for.

    Raises:
        FailedCallError: it cannot.
    """
    if not request.HasField("explain"):
        return
    wanted = request.explain.output or model.explained_output
    if wanted not in {output.name for output in model.schema().outputs}:
        raise failure(Code.INVALID_ARGUMENT, "INVALID_REQUEST", f"there is no output {wanted!r}")
    if model.explain is None or wanted != model.explained_output:
        raise failure(Code.FAILED_PRECONDITION, "NOT_EXPLAINED", f"the output {wanted!r} is not explained")


def explanation_of(model: FakeModel) -> models_pb2.OutputExplanation:
    """What the model's status tells of the output that it may explain."""
    output = model.explained_output
    if model.explain is None:
        return models_pb2.OutputExplanation(output=output, details="the fake model has no explain function")
    return models_pb2.OutputExplanation(output=output, link=model.link, details="a Python function")


def explain_rows(
    model: FakeModel, rows: Sequence[dict[str, Any] | None], top_k: int
) -> prediction_pb2.Contributions:
    """The contributions of rows; None is a row with an error."""
    found = [model.contributions(None if row is None else dict(row)) for row in rows]
    margins = [[model.base + sum(values) for values in of_row] for of_row in found]
    names = list(model.features)
    answer = prediction_pb2.Contributions(
        output=model.explained_output,
        link=model.link,
        labels=model.margin_labels,
        columns=names,
        base=[model.base] * len(model.margin_labels or [""]),
        margins=itertools.chain.from_iterable(margins),
    )
    flat = list(itertools.chain.from_iterable(found))
    if not top_k:
        answer.values.extend(itertools.chain.from_iterable(flat))
        return answer
    # A sort is stable, so that of equal magnitudes the first column comes first.
    chosen = [sorted(range(len(names)), key=lambda place: -abs(values[place]))[:top_k] for values in flat]
    shown = sorted({place for places in chosen for place in places})
    del answer.columns[:]
    answer.columns.extend(names[place] for place in shown)
    for values, places in zip(flat, chosen, strict=True):
        answer.values.extend(values[place] for place in places)
        answer.places.extend(map(shown.index, places))
    return answer
