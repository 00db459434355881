"""The result of lowering: one graph, and how rows become its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import pandas as pd
from numpy.typing import NDArray
from onnx import TensorProto
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.errors import UnsupportedModelError
from scorewire_training.export.graph import Covers, ModelOutput
from scorewire_training.export.lowering.exact_inputs import has_exact_inputs
from scorewire_training.export.lowering.graph_builder import GraphBuilder
from scorewire_training.export.lowering.registry import lower_model
from scorewire_training.export.lowering.sample_columns import match_sample
from scorewire_training.export.lowering.threshold_counting import domains


@dataclass(frozen=True, slots=True, kw_only=True)
class LoweredModel:
    """A fitted model as a graph.

    Attributes:
        graph: takes the inputs that `coding` names, and returns `outputs` by name.
        coding: how rows become the inputs.
        features: the columns that the model reads, in the sample's order, as (name,
            FEATURE_KIND_*).
        outputs: the outputs.
        thresholds: for number features that the model compares unchanged, the numbers
            that it compares them with, ascending.
        known_texts: for text features, the folded texts that the model knows.
        hard_texts: for text features that are split into terms, texts that may be
            split differently.
        missing_texts: for text features, the value that the fitted model takes for a
            missing text in a frame: "", None or NaN; on the wire it is "".
        coded_features: the text features that the model takes as codes of a pandas
            categorical.
        family: the kind of model, for people.
        domains: for number features that go through functions, the smallest and the
            largest number for which the functions are finite.
        only_near: whether the model is only for rows near those of the sample; it
            is discontinuous where training rows are equally near.
        is_exact: whether it has trees, whose inputs are computed without rounding that
            differs by library, and the arithmetic of the model's library is known, so
            that the kernel gives the fitted model's own bits.
        covers: by the output of a TreeEnsemble, the covers that its library tells.
    """

    graph: onnx.ModelProto
    coding: manifest_pb2.Coding
    features: tuple[tuple[str, int], ...]
    outputs: tuple[ModelOutput, ...]
    thresholds: Mapping[str, NDArray[np.float64]]
    known_texts: Mapping[str, tuple[str, ...]]
    hard_texts: Mapping[str, Sequence[str]]
    missing_texts: Mapping[str, object]
    coded_features: frozenset[str]
    family: str
    domains: Mapping[str, tuple[float, float]]
    only_near: bool
    is_exact: bool
    covers: Mapping[str, Covers]


def lower(model: object, sample: pd.DataFrame) -> LoweredModel:
    """Lower a fitted model, or a pipeline that ends in one, to a graph.

    Args:
        model: a model of scikit-learn, XGBoost or LightGBM, or a pipeline of them.
        sample: rows as the model takes them; names, dtypes and the representation of
            missing texts are read from them.

    Raises:
        UnsupportedModelError: the model, a step or a setting has no exact translation,
            or the sample does not match the model.
        sklearn.exceptions.NotFittedError: the model is not fitted.
    """
    if isinstance(model, BaseEstimator):
        check_is_fitted(model)
    read = match_sample(model, sample)
    builder = GraphBuilder(
        sample_features=read.features, categories=read.categories, typical=read.typical, narrow=read.narrow
    )
    prediction = lower_model(builder, model, read.inputs)
    for output in prediction.outputs:
        if output.kind == schema_pb2.OUTPUT_KIND_CLASS:
            builder.graph.output(output.name, output.tensor, TensorProto.INT64, output.width)
        else:
            builder.graph.output(output.name, output.tensor, prediction.element_type, output.width)
    if not prediction.outputs:
        raise UnsupportedModelError(
            f"{prediction.family} has no output to serve", "use a classifier or a regressor"
        )
    graph, coding, known = builder.finish(prediction.family)
    texts = [name for name, kind in builder.features if kind == schema_pb2.FEATURE_KIND_TEXT]
    return LoweredModel(
        graph=graph,
        coding=coding,
        features=builder.features,
        outputs=prediction.outputs,
        thresholds={name: np.unique(values) for name, values in builder.thresholds.items() if values},
        known_texts={name: known.get(name, ()) for name in texts},
        hard_texts=builder.hard_texts,
        missing_texts={
            name: builder.missing_texts.get(name, (*read.spellings[name], "")[0]) for name in texts
        },
        coded_features=frozenset(builder.coded_features),
        family=prediction.family,
        domains=domains(builder),
        only_near=builder.only_near,
        is_exact=prediction.is_exact and has_exact_inputs(graph.graph),
        covers=builder.graph.covers,
    )
