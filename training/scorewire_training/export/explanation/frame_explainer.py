"""Explains rows as the fitted model takes them, before their bundle is written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scorewire_contract.coding import RowCoder
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_training.export.errors import ExportError
from scorewire_training.export.explanation.errors import UnexplainedError
from scorewire_training.export.explanation.explaining import ExplainedModel
from scorewire_training.export.frames import FrameCodec
from scorewire_training.export.margins import Margin
from scorewire_training.export.runtime import open_graph

_Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameExplanation:
    """What each feature contributes to the margins of one output, as a server would answer.

    Attributes:
        output: the output's name.
        link: the function from margins to the output.
        features: the names of the features.
        base: the base, [margins].
        margins: [rows, margins].
        values: the contributions, [rows, margins, features].
    """

    output: str
    link: str
    features: tuple[str, ...]
    base: _Numbers
    margins: _Numbers
    values: _Numbers
    _margin: Margin

    def to_output(self, margins: _Numbers) -> _Numbers:
        """The output's numbers, [rows, width], that margins [rows, margins] lead to."""
        return self._margin.to_output(margins)


class FrameExplainer:
    """Explains rows of frames with the columns and dtypes of the sample.

    Args:
        explained: the explanation of the model.
        manifest: the schema and the coding.
        codec: converts frames to rows.
    """

    def __init__(self, explained: ExplainedModel, manifest: manifest_pb2.Manifest, codec: FrameCodec) -> None:
        self._explained, self._manifest, self._codec = explained, manifest, codec

    def explain(self, frame: pd.DataFrame) -> FrameExplanation:
        """Explain the first output that can be explained.

        Raises:
            UnexplainedError: no output can be explained; the message has the reasons.
            ExportError: the schema does not allow a row.
        """
        if not self._explained.outputs:
            reasons = dict.fromkeys(each.reason for each in self._explained.message.unexplained)
            raise UnexplainedError("; ".join(reasons) or "no output is a number or a probability")
        planned, schema = self._explained.outputs[0], self._manifest.schema
        rows = self._codec.to_rows(frame)
        coded = RowCoder(schema, self._manifest.coding).code(
            len(rows), rows.numbers.ravel(), rows.flat_texts()
        )
        if coded.kept is not None:
            raise ExportError("a row cannot be explained, because the schema does not allow it")
        names = planned.explainer.inputs
        tensors = dict(zip(names, open_graph(self._explained.graph)(names, coded.feeds), strict=True))
        margins, values = planned.explainer.run(tensors, len(rows))
        return FrameExplanation(
            output=planned.message.output,
            link=planned.message.link,
            features=tuple(feature.name for feature in schema.features),
            base=planned.explainer.base,
            margins=margins,
            values=values,
            _margin=planned.plan.margin,
        )
