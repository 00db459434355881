"""How the routes of jobs are described in OpenAPI, where the code does not tell it."""

from __future__ import annotations

from typing import Any

from scorewire_gateway.jobs.request import KINDS, MODELS

_TEXTS = {
    "name": "The name of the table, which ends in .csv or .parquet.",
    "version": "train: the semantic version of the new bundle; default 1.0.0.",
    "trials": "train: sets of parameters to try for each candidate, 1 to 1000; default 15.",
    "seed": "train: the seed of all random numbers; default 0.",
    "cut": "repurchase: the cutoff, like 2011-09-10.",
    "horizon_days": "repurchase: days after the cutoff that the label covers, 1 to 3650; default 90.",
    "date_format": "repurchase: the format of times, like %d/%m/%Y.",
    "delimiter": "The character between the values of a CSV file.",
    "decimal": "The decimal mark of numbers that are written as text, . or ,",
    "encoding": "The encoding of a CSV file, like windows-1252.",
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}


def _parameter(name: str, text: str, schema: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": text, "required": required, "schema": schema}


_MODEL = _parameter("model", "The use case.", {"type": "string", "enum": list(MODELS)}, required=True)
_KIND = _parameter(
    "kind",
    "train makes a bundle with its report; features only cleans the table and makes the model's rows of it.",
    {"type": "string", "enum": list(KINDS), "default": KINDS[0]},
)
_COLUMN = _parameter(
    "column",
    "MEANING=NAME, several times: a column that the table calls otherwise, like customer=ID_CLIENTE.",
    {"type": "array", "items": {"type": "string"}},
)
_OTHERS = [_parameter(name, text, {"type": "string"}) for name, text in _TEXTS.items()]
SUBMIT: dict[str, Any] = {
    "parameters": [_MODEL, _KIND, *_OTHERS, _COLUMN],
    "requestBody": {
        "required": True,
        "content": {
            "text/csv": _BINARY,
            "application/vnd.apache.parquet": _BINARY,
            "application/octet-stream": _BINARY,
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            },
        },
    },
}
EVENTS: dict[str, Any] = {
    "parameters": [
        {
            "name": "Last-Event-ID",
            "in": "header",
            "description": "The id of the last event that the client has seen.",
            "required": False,
            "schema": {"type": "string"},
        }
    ]
}
