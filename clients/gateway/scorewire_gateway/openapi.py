"""OpenAPI documents: of one model, with its real features and outputs, and of the whole gateway."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from typing import Any

from scorewire import Feature, FeatureKind, Model, Output, OutputKind
from scorewire_gateway.descriptions import example_row
from scorewire_gateway.errors import HTTP_CODES, JSON
from scorewire_gateway.explaining import CONTRIBUTIONS_SCHEMA, EXPLAIN_QUERY, EXPLAIN_SCHEMA
from scorewire_gateway.uploads.formats import MULTIPART, Format

VERSION = "3.1.0"
# The most class labels, and texts, that one description lists.
_MAX_LISTED = 50
_SPECIAL = ["NaN", "Infinity", "-Infinity"]
_ERROR = {"$ref": "#/components/schemas/Error"}
_BYTES = {"type": "string", "format": "binary"}
_TABLES = {each.value: {"schema": _BYTES} for each in Format}
# What requests of all paths may have.
_HEADERS = [
    {
        "name": "Grpc-Timeout",
        "in": "header",
        "required": False,
        "description": "Time for the answer: a whole number and a unit (H, M, S, m, u, n), such as 500m for"
        " half a second.",
        "schema": {"type": "string", "pattern": "^[0-9]{1,8}[HMSmun]$"},
    }
]
_ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "status", "message"],
            "properties": {
                "code": {"type": "integer", "description": "the HTTP code"},
                "status": {
                    "type": "string",
                    "description": "the name of the gRPC status code",
                    "enum": [code.name for code in HTTP_CODES if code],
                },
                "reason": {"type": "string", "description": "a constant for programs"},
                "message": {"type": "string", "description": "what is wrong, for people"},
                "violations": {
                    "type": "array",
                    "description": "the invalid parts of the request",
                    "items": {
                        "type": "object",
                        "properties": {
                            "field": {"type": "string", "examples": ["rows[3].age"]},
                            "description": {"type": "string"},
                        },
                    },
                },
            },
        }
    },
}
_ROW_ERROR: dict[str, Any] = {
    "type": "object",
    "description": "Why the row has no score.",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "properties": {name: {"type": "string"} for name in ("reason", "feature", "message")},
        }
    },
}


def model_document(model: Model, release: str) -> dict[str, Any]:
    """The document of one version of a model; `release` is the gateway's."""
    paths, schemas = model_parts(model, prefix="")
    return _document(
        f"Scorewire: {model.name}",
        f"{model.description}\n\nVersion {model.version} of the model `{model.name}`.".strip(),
        release,
        paths,
        schemas,
        base="../..",
    )


def gateway_document(
    base: Mapping[str, Any], models: Iterable[Mapping[str, Any]], left_out: Iterable[str], release: str
) -> dict[str, Any]:
    """The document of the whole gateway.

    Args:
        base: the document that FastAPI makes of the routes.
        models: the `paths` and `schemas` of models, as `model_parts` gives them.
        left_out: names of models that did not fit.
        release: the gateway's.
    """
    paths = {path: _without_422(item) for path, item in base["paths"].items()}
    schemas = {
        name: schema
        for name, schema in base.get("components", {}).get("schemas", {}).items()
        if name not in ("HTTPValidationError", "ValidationError")
    }
    for each in models:
        paths |= each["paths"]
        schemas |= each["schemas"]
    about = "HTTP/JSON in front of a Scorewire server. Each model has its own paths, with its real features."
    if others := list(left_out):
        shown = ", ".join(f"`{name}`" for name in others[:_MAX_LISTED])
        about += f"\n\nThese models have documents of their own, `/models/NAME/openapi.json`: {shown}."
    return _document("Scorewire", about, release, paths, schemas, base=".")


def model_parts(model: Model, *, prefix: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The paths and the schemas of one model; `prefix` begins the names of the schemas."""
    row, prediction = f"{prefix}Row", f"{prefix}Prediction"
    schemas = {
        row: _row_schema(model),
        prediction: {
            "type": "object",
            "required": [each.name for each in model.schema.outputs],
            "properties": {each.name: _output_schema(each) for each in model.schema.outputs},
        },
    }
    example = example_row(model)
    links = [
        each.link
        for status in model.status.versions
        if status.version == model.version
        for each in status.explanations
    ]
    explained = {"one row, explained": {"value": {"row": example, "explain": 5}}} if any(links) else {}
    operation = {
        "tags": [f"model {model.name}"],
        "summary": f"Score rows with {model.name}",
        "description": model.description,
        "parameters": [*_HEADERS, *EXPLAIN_QUERY],
        "security": [{}, {"bearer": []}],
        "requestBody": {
            "required": True,
            "content": {
                JSON: {
                    "schema": _request_schema(row),
                    "examples": {
                        "one row": {"value": {"row": example}},
                        "several rows": {"value": {"rows": [example, example]}},
                        **explained,
                    },
                },
                **_tables(example),
            },
        },
        "responses": {
            "200": {
                "description": "The prediction of `row`, or the predictions of `rows` in their order; or the"
                " table with its predictions, in the format that `Accept` asks for.",
                "content": {JSON: {"schema": _answer_schema(prediction, model)}, **_TABLES},
            },
            "default": {"description": "An error.", "content": {JSON: {"schema": _ERROR}}},
        },
    }
    version = {
        "name": "version",
        "in": "path",
        "required": True,
        "description": "a version or an alias",
        "schema": {"type": "string", "examples": [model.version]},
    }
    by_version = operation | {
        "summary": f"Score rows with one version of {model.name}",
        "parameters": [version, *_HEADERS, *EXPLAIN_QUERY],
    }
    paths = {
        f"/models/{model.name}:predict": {"post": operation},
        f"/models/{model.name}/versions/{{version}}:predict": {"post": by_version},
    }
    return paths, schemas


def _tables(example: Mapping[str, Any]) -> dict[str, Any]:
    """The tables that a request may have instead of JSON, with a row that works."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([example.keys(), example.values()])
    form = {"type": "object", "required": ["file"], "properties": {"file": _BYTES}}
    return {
        Format.CSV.value: {"schema": {"type": "string"}, "example": text.getvalue()},
        Format.PARQUET.value: {"schema": _BYTES},
        MULTIPART: {"schema": form},
    }


def _document(
    title: str,
    about: str,
    release: str,
    paths: Mapping[str, Any],
    schemas: Mapping[str, Any],
    *,
    base: str,
) -> dict[str, Any]:
    return {
        "openapi": VERSION,
        "info": {"title": title, "version": release, "description": about},
        # Relative to the document, since the gateway may be below a path of a proxy.
        "servers": [{"url": base}],
        "paths": dict(paths),
        "components": {
            "schemas": {
                **schemas,
                "Error": _ERROR_SCHEMA,
                "RowError": _ROW_ERROR,
                "Contributions": CONTRIBUTIONS_SCHEMA,
            },
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Passed on to the server as it is.",
                }
            },
        },
    }


def _without_422(item: Mapping[str, Any]) -> dict[str, Any]:
    """The operations of a path with the gateway's own error in place of FastAPI's."""
    found = {}
    for method, operation in item.items():
        responses = {code: each for code, each in operation["responses"].items() if code != "422"}
        responses["default"] = {"description": "An error.", "content": {JSON: {"schema": _ERROR}}}
        found[method] = operation | {"responses": responses}
    return found


def _request_schema(row: str) -> dict[str, Any]:
    reference = {"$ref": f"#/components/schemas/{row}"}
    return {
        "type": "object",
        "description": "Either `row` or `rows`.",
        "additionalProperties": False,
        "oneOf": [{"required": ["row"]}, {"required": ["rows"]}],
        "properties": {
            "row": reference,
            "rows": {"type": "array", "items": reference, "minItems": 1},
            "routing_key": {
                "type": "string",
                "description": "A split sends all requests with the same key to one version.",
            },
            "explain": EXPLAIN_SCHEMA,
        },
    }


def _answer_schema(prediction: str, model: Model) -> dict[str, Any]:
    either = {
        "anyOf": [
            {"$ref": f"#/components/schemas/{prediction}"},
            {"$ref": "#/components/schemas/RowError"},
        ]
    }
    score = {"type": ["number", "string", "null"], "description": "the main number of the prediction"}
    label = {"type": ["string", "null"], "description": "the predicted class"}
    contributions = {"$ref": "#/components/schemas/Contributions"}
    return {
        "type": "object",
        "required": ["model", "version"],
        "properties": {
            "model": {"type": "string", "examples": [model.name]},
            "version": {"type": "string", "examples": [model.version]},
            "prediction": either,
            "score": score,
            "label": label,
            "record_id": {"type": "string", "description": "by which the record is found"},
            "contributions": {
                "description": "what each column contributes, if the request has `explain`; for `rows`, one"
                " for each row, and null for a row with an error",
                "anyOf": [
                    contributions,
                    {"type": "array", "items": {"anyOf": [contributions, {"type": "null"}]}},
                ],
            },
            "predictions": {"type": "array", "items": either},
            "scores": {"type": "array", "items": score},
            "labels": {"type": "array", "items": label},
            "record_ids": {"type": "array", "items": {"type": "string"}},
        },
    }


def _row_schema(model: Model) -> dict[str, Any]:
    features = model.schema.features
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [each.name for each in features if not each.missing_allowed],
        "properties": {
            each.name: _feature_schema(each, model.known_texts.get(each.name, ())) for each in features
        },
        "examples": [example_row(model)],
    }


def _feature_schema(feature: Feature, texts: tuple[str, ...]) -> dict[str, Any]:
    notes = [feature.description]
    found: dict[str, Any]
    if feature.kind is FeatureKind.NUMBER:
        number: dict[str, Any] = {"type": "integer" if feature.whole else "number"}
        limits = {"minimum": feature.lower_limit, "maximum": feature.upper_limit}
        number |= {name: limit for name, limit in limits.items() if math.isfinite(limit)}
        # A missing value and the infinities are texts, as JSON has no numbers for them.
        found = {"anyOf": [number, {"type": "string", "enum": _SPECIAL}]}
        if math.isfinite(feature.minimum) and math.isfinite(feature.maximum):
            notes.append(f"From {feature.minimum:g} to {feature.maximum:g} in the training sample.")
    else:
        text: dict[str, Any] = {"type": "string"}
        if texts and not feature.unknown_allowed:
            text["enum"] = list(texts)
        elif texts:
            text["examples"] = list(texts[:_MAX_LISTED])
        found = {"anyOf": [text]}
        if feature.vocabulary_size:
            others = "are scored, too" if feature.unknown_allowed else "get an error"
            notes.append(f"The model knows {feature.vocabulary_size} texts; others {others}.")
    if feature.missing_allowed:
        found["anyOf"].append({"type": "null"})
        if 0 < feature.missing_share <= 1:
            notes.append(f"Missing in {feature.missing_share:.1%} of the training sample.")
    else:
        notes.append("Must not be missing.")
    if described := " ".join(filter(None, notes)):
        found["description"] = described
    return found


def _output_schema(output: Output) -> dict[str, Any]:
    value: dict[str, Any] = {"type": "string"}
    if output.kind is not OutputKind.TEXT:
        value = {"anyOf": [{"type": "number"}, value | {"enum": _SPECIAL}]}
    found = (
        dict(value)
        if output.width == 1
        else {"type": "array", "items": value, "minItems": output.width, "maxItems": output.width}
    )
    if output.class_labels:
        shown = ", ".join(output.class_labels[:_MAX_LISTED])
        more = ", ..." if len(output.class_labels) > _MAX_LISTED else ""
        is_index = output.kind is OutputKind.CLASS
        about = "The index of the class in" if is_index else "In the order of the classes"
        found["description"] = f"{about}: {shown}{more}."
    return found
