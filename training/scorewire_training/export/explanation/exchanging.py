"""A check of columns' features by runs: where one feature changes, columns of other features stay.

The walk over the graph tells of each column which feature it is computed from. Here that
is tried: in rows of the sample each feature in turn is exchanged between rows, and only
columns of that feature may change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from scorewire_contract.coding import RowCoder
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.errors import ParityError
from scorewire_training.export.explanation.explaining import ExplainedModel
from scorewire_training.export.frames import WireRows, concatenate
from scorewire_training.export.runtime import open_graph

_ROWS = 8
# Differences up to this share of the largest number of a column are rounding, which may depend on the place
# of a row.
_ROUNDING = 1e-6
_FEATURES_AT_ONCE = 250


def check_features(explained: ExplainedModel, manifest: manifest_pb2.Manifest, sample: WireRows) -> None:
    """Check which feature each column of trees and each contribution of products is of.

    Args:
        explained: the explanation.
        manifest: the schema and the coding.
        sample: rows that the model accepts.

    Raises:
        ParityError: a column changes with another feature.
    """
    rows = sample.take(np.unique(np.linspace(0, len(sample) - 1, _ROWS).astype(np.intp)))
    owners = _owners(explained)
    names = list(owners)
    run, coder = open_graph(explained.graph), RowCoder(manifest.schema, manifest.coding)
    kinds = [feature.kind for feature in manifest.schema.features]

    def ask(asked: WireRows) -> list[NDArray[np.float64]]:
        feeds = coder.code(len(asked), asked.numbers.ravel(), asked.flat_texts()).feeds
        return [np.asarray(tensor, np.float64) for tensor in run(names, feeds)]

    exchanged = list(_exchanged(rows, kinds))
    for begin in range(0, len(exchanged), _FEATURES_AT_ONCE):
        blocks = exchanged[begin : begin + _FEATURES_AT_ONCE]
        for name, tensor in zip(names, ask(concatenate([rows, *blocks])), strict=True):
            before, *after = np.split(tensor, len(blocks) + 1)
            for feature, other in enumerate(after, begin):
                changed = _changed(before, other)
                wrong = np.flatnonzero(changed & (owners[name] != feature) & (owners[name] < len(kinds)))
                if len(wrong):
                    raise ParityError(
                        f"column {wrong[0]} of {name} in the explanation changes with the feature"
                        f" {manifest.schema.features[feature].name!r}, of which it is not computed: this is a"
                        " fault of the exporter, please report it with the kind of model"
                    )


def _owners(explained: ExplainedModel) -> Mapping[str, NDArray[np.intp]]:
    """For each output of explanation.onnx the feature of each column."""
    owners = {}
    for planned in explained.outputs:
        for tree in planned.message.trees:
            owners[tree.input] = np.array(tree.features, np.intp)
        for linear in planned.message.linear:
            owners[linear.values] = np.tile(
                np.array(linear.features, np.intp), len(planned.message.constants)
            )
    return owners


def _exchanged(rows: WireRows, kinds: list[schema_pb2.FeatureKind.ValueType]) -> Iterator[WireRows]:
    """For each feature the rows, in which each has the feature of the row before it."""
    number = text = 0
    for kind in kinds:
        numbers, texts = rows.numbers.copy(), rows.texts.copy()
        if kind == schema_pb2.FEATURE_KIND_NUMBER:
            numbers[:, number] = np.roll(numbers[:, number], 1)
            number += 1
        else:
            texts[:, text] = np.roll(texts[:, text], 1)
            text += 1
        yield WireRows(numbers, texts)


def _changed(before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which columns change by more than rounding."""
    finite = np.where(np.isfinite(before), np.abs(before), 0.0)
    room = _ROUNDING * finite.max(axis=0, initial=0.0)
    with np.errstate(invalid="ignore"):
        near = np.abs(after - before) <= room
    same = (before == after) | (np.isnan(before) & np.isnan(after))
    return np.asarray(~(near | same).all(axis=0))
