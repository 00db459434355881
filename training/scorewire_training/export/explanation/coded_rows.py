"""Rows of the sample as inputs of graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from scorewire_contract.coding import RowCoder
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_training.export.explanation.subgraphs import Subgraph
from scorewire_training.export.frames import WireRows
from scorewire_training.export.runtime import open_graph

_ROWS_PER_CALL = 2_000


class CodedRows:
    """The rows of a sample that the schema allows."""

    def __init__(self, manifest: manifest_pb2.Manifest, rows: WireRows) -> None:
        self._coder = RowCoder(manifest.schema, manifest.coding)
        coded = self._coder.code(len(rows), rows.numbers.ravel(), rows.flat_texts())
        self._rows = rows if coded.kept is None else rows.take(coded.kept)

    def __len__(self) -> int:
        """The number of rows."""
        return len(self._rows)

    def feeds(self, count: int) -> dict[str, NDArray[Any]]:
        """The inputs of some number of rows; rows are repeated if there are fewer."""
        return self._code(self._rows.take(np.resize(np.arange(len(self._rows)), count)))

    def column_means(self, model: onnx.ModelProto, tensors: Sequence[str]) -> dict[str, NDArray[np.float64]]:
        """The means over all rows of the finite values of each column of tensors; 0 where none is finite."""
        if not tensors:
            return {}
        outputs = [onnx.ValueInfoProto(name=name) for name in tensors]
        inputs = {value.name for value in model.graph.input}
        sums: dict[str, list[NDArray[np.float64]]] = {name: [] for name in tensors}
        computed = [name for name in tensors if name not in inputs]
        run = None
        if computed:
            outputs = [onnx.ValueInfoProto(name=name) for name in computed]
            run = open_graph(Subgraph.of(model, computed).to_model(outputs).SerializeToString())
        for begin in range(0, len(self._rows), _ROWS_PER_CALL):
            feeds = self._code(self._rows.take(slice(begin, begin + _ROWS_PER_CALL)))
            answers = dict(zip(computed, run(computed, feeds), strict=True)) if run else {}
            for name, parts in sums.items():
                parts.append(np.asarray(answers.get(name, feeds.get(name)), np.float64))
        return {name: _finite_means(np.concatenate(parts)) for name, parts in sums.items()}

    def _code(self, rows: WireRows) -> dict[str, NDArray[Any]]:
        return self._coder.code(len(rows), rows.numbers.ravel(), rows.flat_texts()).feeds


def _finite_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    finite = np.isfinite(values)
    counts = np.maximum(finite.sum(axis=0), 1)
    # Divided before they are added: sums of large numbers would overflow.
    return np.asarray((np.where(finite, values, 0.0) / counts).sum(axis=0))
