"""Explains rows with a bundle on disk as a server does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scorewire_contract.bundle import read_bundle
from scorewire_contract.coding import RowCoder
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.explanation.evaluating import OutputExplainer
from scorewire_training.export.runtime import open_graph


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explained:
    """Contributions to an output: `base` [margins], `margins` [rows, margins], `values` [..., features].

    `tensors` has the outputs of explanation.onnx that they are computed from.
    """

    message: manifest_pb2.ExplainedOutput
    features: list[str]
    base: NDArray[np.float64]
    margins: NDArray[np.float64]
    values: NDArray[np.float64]
    tensors: dict[str, NDArray[Any]]


def explain_rows(path: Path, frame: pd.DataFrame) -> dict[str, Explained]:
    """The contributions to each explained output, for rows that the bundle accepts."""
    bundle = read_bundle(path)
    schema = bundle.manifest.schema
    assert bundle.explanation is not None
    by_kind = {
        kind: [each.name for each in schema.features if each.kind == kind]
        for kind in (schema_pb2.FEATURE_KIND_NUMBER, schema_pb2.FEATURE_KIND_TEXT)
    }
    coded = RowCoder(schema, bundle.manifest.coding).code(
        len(frame),
        frame[by_kind[schema_pb2.FEATURE_KIND_NUMBER]].to_numpy(np.float64).ravel(),
        frame[by_kind[schema_pb2.FEATURE_KIND_TEXT]].astype(object).fillna("").to_numpy().ravel().tolist(),
    )
    assert not coded.errors
    found = {}
    names = [feature.name for feature in schema.features]
    for message in bundle.explanation.outputs:
        explainer = OutputExplainer(bundle.graph, message, len(names))
        run = open_graph(bundle.explanation_graph)
        tensors = dict(zip(explainer.inputs, run(explainer.inputs, coded.feeds), strict=True))
        margins, values = explainer.run(tensors, len(frame))
        found[message.output] = Explained(
            message=message,
            features=names,
            base=explainer.base,
            margins=margins,
            values=values,
            tensors=tensors,
        )
    return found
