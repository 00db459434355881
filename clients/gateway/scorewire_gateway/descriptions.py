"""Models as JSON: status, schema, metrics, limits, and a row that works."""

from __future__ import annotations

import math
from typing import Any

from scorewire import Feature, FeatureKind, Model, ModelStatus, Output, Schema

_TEXT = "text"


def status_to_json(status: ModelStatus) -> dict[str, Any]:
    """A model with its versions and its routing."""
    shadow = status.routing.shadow
    return {
        "name": status.name,
        "default_version": status.default_version,
        "versions": [
            {
                "version": each.version,
                "state": str(each.state),
                "reason": each.reason,
                "serving_since": each.serving_since.isoformat() if each.serving_since else None,
                "runs_on": each.runs_on,
                "runs_on_details": each.runs_on_details,
                "explanations": [
                    {"output": one.output, "link": one.link, "details": one.details}
                    for one in each.explanations
                ],
            }
            for each in status.versions
        ],
        "routing": {
            "split": dict(status.routing.split),
            "aliases": dict(status.routing.aliases),
            "shadow": {"version": shadow.version, "share": shadow.share} if shadow else None,
        },
        "rollbacks": status.rollbacks,
        "warning": status.warning,
    }


def model_to_json(model: Model) -> dict[str, Any]:
    """One version of a model, with all that a caller needs to send rows to it."""
    return {
        **status_to_json(model.status),
        "version": model.version,
        "description": model.description,
        "created_at": model.created_at.isoformat() if model.created_at else None,
        "metrics": dict(model.metrics),
        "schema": schema_to_json(model.schema, model),
        "limits": {"max_rows": model.max_rows, "max_message_bytes": model.max_message_bytes},
        "example": {"row": example_row(model)},
    }


def schema_to_json(schema: Schema, model: Model) -> dict[str, Any]:
    """The features and outputs in order; null where there is no limit, or the schema does not tell."""
    return {
        "fingerprint": schema.fingerprint,
        "features": [_feature(each, model.known_texts.get(each.name)) for each in schema.features],
        "outputs": [_output(each) for each in schema.outputs],
    }


def example_row(model: Model) -> dict[str, Any]:
    """A row of values that the model takes; a text that must be one of many unknown to us is left out."""
    return {
        each.name: value
        for each in model.schema.features
        if (value := _example(each, model.known_texts.get(each.name, ()))) is not None or each.missing_allowed
    }


def _feature(feature: Feature, texts: tuple[str, ...] | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": feature.name,
        "kind": str(feature.kind),
        "description": feature.description,
        "missing_allowed": feature.missing_allowed,
        "missing_share": _known(feature.missing_share),
    }
    if feature.kind is FeatureKind.NUMBER:
        found |= {
            "minimum": _known(feature.minimum),
            "maximum": _known(feature.maximum),
            "lower_limit": _known(feature.lower_limit),
            "upper_limit": _known(feature.upper_limit),
            "whole": feature.whole,
        }
    if feature.kind is FeatureKind.TEXT:
        found |= {
            "unknown_allowed": feature.unknown_allowed,
            "vocabulary_size": feature.vocabulary_size,
            "known_texts": None if texts is None else list(texts),
        }
    return found


def _output(output: Output) -> dict[str, Any]:
    return {
        "name": output.name,
        "kind": str(output.kind),
        "width": output.width,
        "class_labels": list(output.class_labels),
    }


def _known(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _example(feature: Feature, texts: tuple[str, ...]) -> float | int | str | None:
    if feature.kind is FeatureKind.NUMBER:
        return _example_number(feature)
    if texts:
        return texts[0]
    return _TEXT if feature.unknown_allowed or not feature.vocabulary_size else None


def _example_number(feature: Feature) -> float | int:
    """A number in the middle of the training sample, with few digits, or the one nearest to 0."""
    low, high = feature.lower_limit, feature.upper_limit
    number = 0.0
    if math.isfinite(feature.minimum) and math.isfinite(feature.maximum):
        number = feature.minimum / 2 + feature.maximum / 2
        short = float(f"{number:.3g}")
        if feature.minimum <= short <= feature.maximum:
            number = short
    number = min(max(number, low), high)
    if feature.whole:
        whole = math.floor(number) if math.floor(number) >= low else math.ceil(number)
        return whole if abs(whole) <= 1 << 53 else float(whole)
    return number
