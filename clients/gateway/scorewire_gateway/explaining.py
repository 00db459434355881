"""Explained predictions in JSON, and what a request says about them.

The contributions of one row are an object with one entry in `margins` for each margin of
the output: most outputs have one, and an output of several classes has one for each class.
"""

from __future__ import annotations

from typing import Any

from scorewire import Contributions, Explain, RowContributions
from scorewire_gateway.errors import RequestError, invalid_field

_FIELDS = frozenset({"top_k", "output"})
_WORDS = {"true": True, "false": False}
_TOP_K = {"type": "integer", "minimum": 1, "maximum": 2**32 - 1}
# The field `explain` of a request.
EXPLAIN_SCHEMA: dict[str, Any] = {
    "description": "Asks for contributions: true for those of all columns, a number for the strongest columns"
    " of each row, or an object that also names an output.",
    "anyOf": [
        {"type": "boolean"},
        _TOP_K,
        {
            "type": "object",
            "additionalProperties": False,
            "properties": {"top_k": _TOP_K | {"minimum": 0}, "output": {"type": "string"}},
        },
    ],
}
# The parameters that say the same for a table.
EXPLAIN_QUERY: list[dict[str, Any]] = [
    {
        "name": "explain",
        "in": "query",
        "required": False,
        "description": "For a table: adds the contributions of all columns, or of the strongest.",
        "schema": {"anyOf": [{"type": "boolean"}, _TOP_K]},
    },
    {
        "name": "explain_output",
        "in": "query",
        "required": False,
        "description": "For a table: the output that is explained.",
        "schema": {"type": "string"},
    },
]
_NUMBER = {"type": ["number", "string"]}
# The contributions of one row.
CONTRIBUTIONS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "For each margin, `base` and the contributions of all columns add up to `margin`.",
    "required": ["output", "link", "margins"],
    "properties": {
        "output": {"type": "string"},
        "link": {"type": "string", "description": "the function from margins to the output"},
        "margins": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["base", "margin", "values"],
                "properties": {
                    "label": {"type": "string", "description": "the class that the margin is of"},
                    "base": _NUMBER,
                    "margin": _NUMBER,
                    "values": {
                        "type": "object",
                        "description": "contributions by column",
                        "additionalProperties": _NUMBER,
                    },
                },
            },
        },
    },
}


def read_explain(wanted: object) -> Explain | None:
    """What the field `explain` of a request asks for; None if it asks for nothing.

    Raises:
        RequestError: it is neither true, false, a whole number of at least 1, nor an object with `top_k`
            and `output`.
    """
    if wanted is False:
        return None
    if wanted is True:
        return Explain()
    if isinstance(wanted, dict):
        for name in wanted:
            if name not in _FIELDS:
                raise invalid_field(
                    f"explain.{name[:100]}", "is not a field of explain; top_k and output are"
                )
        try:
            return Explain(**wanted)
        except ValueError as error:
            raise invalid_field("explain", str(error)) from None
    if isinstance(wanted, int) and wanted >= 1:
        try:
            return Explain(top_k=wanted)
        except ValueError as error:
            raise invalid_field("explain", str(error)) from None
    raise invalid_field(
        "explain", "must be true, false, a whole number of columns of at least 1, or an object"
    )


def explain_of_query(text: str, output: str) -> Explain | None:
    """What the parameters `explain` and `explain_output` of a URL ask for.

    Raises:
        RequestError: `explain` is neither true, false nor a whole number of at least 1, or there is an
            output without it.
    """
    word = text.lower()
    if word and word not in _WORDS and not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise RequestError("explain is true, false, or a whole number of columns of at least 1")
    found = read_explain(_WORDS[word] if word in _WORDS else int(text)) if word else None
    if found is None and output:
        raise RequestError("explain_output needs explain")
    return None if found is None else Explain(top_k=found.top_k, output=output)


def row_to_json(found: RowContributions) -> dict[str, Any]:
    """The contributions of one row."""
    return {
        "output": found.output,
        "link": found.link,
        "margins": [_margin(each) for each in found.of_each_margin()],
    }


def rows_to_json(found: Contributions) -> list[dict[str, Any] | None]:
    """The contributions of each row; None for a row with an error."""
    return [None if row is None else row_to_json(row) for row in found]


def _margin(found: RowContributions) -> dict[str, Any]:
    label = {} if found.label is None else {"label": found.label}
    return {**label, "base": found.base, "margin": found.margin, "values": dict(found)}
