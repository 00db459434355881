"""The schema of a bundle, from the sample and from what the fitted model accepts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.frames import Features, WireRows
from scorewire_training.export.graph import ModelOutput
from scorewire_training.export.parity.input_limits import InputLimits


def build_schema(
    features: Features,
    outputs: Iterable[ModelOutput],
    *,
    rows: WireRows,
    input_limits: Mapping[str, InputLimits],
    known_texts: Mapping[str, Sequence[str]],
    descriptions: Mapping[str, str],
) -> schema_pb2.Schema:
    """Build the schema without its fingerprint.

    Args:
        features: name and kind of each feature, in order.
        outputs: the outputs, in order.
        rows: the sample; ranges and missing shares are computed from it.
        input_limits: the inputs that the model accepts, by feature.
        known_texts: the texts that the model knows, by text feature.
        descriptions: what each feature means, for people.
    """
    schema = schema_pb2.Schema()
    for name, kind in features:
        limits = input_limits[name]
        feature = schema.features.add(
            name=name,
            kind=schema_pb2.FeatureKind.ValueType(kind),
            description=descriptions.get(name, ""),
            missing_allowed=limits.missing,
        )
        if kind == schema_pb2.FEATURE_KIND_NUMBER:
            feature.magnitude_limit = max(-limits.low, limits.high)
            if limits.low > -feature.magnitude_limit:
                feature.lower_limit = limits.low
            if limits.high < feature.magnitude_limit:
                feature.upper_limit = limits.high
        else:
            feature.vocabulary_size = len(known_texts.get(name, ()))
            feature.unknown_allowed = limits.unknown
    describe_sample(schema, rows)
    for output in outputs:
        schema.outputs.add(
            name=output.name,
            kind=schema_pb2.OutputKind.ValueType(output.kind),
            width=output.width,
            class_labels=output.class_labels,
        )
    return schema


def describe_sample(schema: schema_pb2.Schema, rows: WireRows) -> None:
    """Set the range and the missing share of each feature from a sample."""
    number = text = 0
    for feature in schema.features:
        if feature.kind == schema_pb2.FEATURE_KIND_NUMBER:
            column = rows.numbers[:, number]
            finite = column[np.isfinite(column)]
            feature.minimum = float(finite.min()) if len(finite) else np.nan
            feature.maximum = float(finite.max()) if len(finite) else np.nan
            feature.missing_share = float(np.isnan(column).mean())
            number += 1
        else:
            feature.missing_share = float((rows.texts[:, text] == "").mean())
            text += 1
