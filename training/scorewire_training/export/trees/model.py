"""A tree ensemble, or a boosted linear model, that can be written as ONNX."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.graph import Graph, ModelOutput
from scorewire_training.export.margins import margin_of
from scorewire_training.export.trees.emit import emit_classes, emit_link, emit_margin
from scorewire_training.export.trees.ensemble import Classes, Ensemble, Link, link_name
from scorewire_training.export.trees.linear_boosters import LinearBooster, LinearTrees


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TreeModel:
    """A fitted tree ensemble, or a boosted linear model, read from its own dump.

    `input_type` is the element type, "float32" or "float64", of the tensor that
    `emit` takes. It is float32 if the library rounds its input to float (XGBoost,
    scikit-learn's trees and forests), so that a double rounded earlier gives the same
    prediction. It is float64 if the library compares doubles with double thresholds
    (LightGBM, HistGradientBoosting).

    `has_plain_link` tells whether the library computes the link function number by
    number with the C library, as the kernel does; NumPy has exponentials of its own.

    `family` names the estimator and its objective, for people. `classes` is None for a
    model that is not a classifier. A multilabel classifier has `label_classes`
    instead, whose columns are side by side; two classes may share one column.
    """

    family: str
    feature_count: int
    input_type: str
    ensemble: Ensemble | LinearBooster | LinearTrees
    link: Link = Link.IDENTITY
    slope: float = 1.0
    has_plain_link: bool = False
    classes: Classes | None = None
    label_classes: tuple[Classes, ...] = ()

    @property
    def is_exact(self) -> bool:
        """Whether the kernel gives the bits of the library's predictions."""
        return isinstance(self.ensemble, Ensemble) and (self.has_plain_link or self.link is Link.IDENTITY)

    @property
    def thresholds(self) -> Mapping[int, NDArray[np.float64]]:
        """By index of the feature, the distinct finite thresholds, ascending."""
        return self.ensemble.thresholds()

    @property
    def categories(self) -> Mapping[int, NDArray[np.float64]]:
        """By index of the categorical feature, the codes that splits name, ascending."""
        return self.ensemble.categories()

    def emit(self, graph: Graph, x: str) -> list[ModelOutput]:
        """Add the model to a graph.

        Args:
            graph: takes the nodes; its ml_opset becomes 5.
            x: a tensor of shape [rows, feature_count] and type `input_type`.

        Returns:
            For a classifier `probabilities` [rows, classes] and `label` [rows, 1], the
            int64 index of the class, or both for each of its labels; otherwise
            `value` [rows, targets], as the model's own predict returns.
        """
        return self.emit_with_margin(graph, x)[0]

    def emit_with_margin(self, graph: Graph, x: str) -> tuple[list[ModelOutput], str]:
        """Add the model to a graph, as `emit`; returns the margins, [rows, targets], too."""
        dtype = np.dtype(self.ensemble.element_type)
        if isinstance(self.ensemble, Ensemble):
            margin = emit_margin(graph, self.ensemble, x, self.input_type, self.feature_count)
        else:
            margin = self.ensemble.emit(graph, x, self.feature_count)
        targets = self.ensemble.target_count
        least = self.ensemble.least_margin() if isinstance(self.ensemble, Ensemble) else -np.inf
        prediction = emit_link(
            graph, self.link, self.slope, margin, targets=targets, dtype=dtype, least_margin=least
        )
        if self.label_classes:
            return self._emit_labels(graph, margin, prediction), margin
        if self.classes is not None:
            outputs = emit_classes(
                graph, self.classes, margin=margin, prediction=prediction, targets=targets, dtype=dtype
            )
            return self._with_margins(outputs, margin, targets), margin
        number = schema_pb2.OUTPUT_KIND_NUMBER
        value = ModelOutput(name="value", kind=number, tensor=prediction, width=targets)
        return self._with_margins([value], margin, targets), margin

    def _with_margins(self, outputs: Iterable[ModelOutput], margin: str, targets: int) -> list[ModelOutput]:
        """The outputs; numbers and probabilities with the margins that they are a function of."""
        return [
            output
            if output.kind == schema_pb2.OUTPUT_KIND_CLASS
            else self._with_margin(output, margin, targets)
            for output in outputs
        ]

    def _with_margin(self, output: ModelOutput, margin: str, targets: int) -> ModelOutput:
        if isinstance(self.ensemble, LinearTrees):
            return replace(
                output,
                without_margin="LightGBM's trees with linear models in their leaves have no contributions"
                " of columns",
            )
        pairs = targets < output.width
        own = margin_of(margin, targets, link_name(self.link), scale=self.slope, pairs=pairs)
        return replace(output, margin=own)

    def _emit_labels(self, graph: Graph, margin: str, prediction: str) -> list[ModelOutput]:
        """The outputs of each label, from its columns of margins and predictions."""
        shared = self.ensemble.target_count == len(self.label_classes)
        outputs: list[ModelOutput] = []
        begin = 0
        for target, classes in enumerate(self.label_classes):
            width = 1 if shared else len(classes.labels)
            places = graph.constant(np.arange(begin, begin + width))
            own = [graph.node("Gather", [tensor, places], axis=1) for tensor in (margin, prediction)]
            dtype = np.dtype(self.ensemble.element_type)
            parts = emit_classes(graph, classes, margin=own[0], prediction=own[1], targets=width, dtype=dtype)
            why = "its trees are of several labels at once"
            outputs.extend(
                part.of_target(target)
                if part.kind == schema_pb2.OUTPUT_KIND_CLASS
                else replace(part.of_target(target), without_margin=why)
                for part in parts
            )
            begin += width
        return outputs
