"""The view of a model: the rows of all its tables, with the columns that records have in every store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from scorewire_contract.records.source import Source
from scorewire_proto.v1.errors_pb2 import ErrorReason
from scorewire_records.postgresql.connection import Connection, name
from scorewire_records.postgresql.identifiers import identifiers, view_name
from scorewire_records.postgresql.layout import NUMBERS, TEXTS, Layout

# A query has at most 1,664 columns.
_MAX_COLUMNS = 1600
_REASON_PREFIX = "ERROR_REASON_"
_REASONS = " ".join(
    f"WHEN {number} THEN '{reason.removeprefix(_REASON_PREFIX)}'"
    for reason, number in ErrorReason.items()
    if number
)
# Columns of every view, as expressions of a row r and its source s.
_FIXED = {
    "prediction_id": "r.writer::text || '-' || r.sequence::text",
    "row": "r.row",
    "time": "r.time",
    "model": "{model}::text",
    "version": "s.version",
    "route": "s.route",
    "route_kind": "s.route_kind",
    "share": "r.share",
    "caller": "nullif(r.caller, '')",
    "principal": "{principal}",
    "routing_key": "nullif(r.routing_key, '')",
    "shadow_of": "CASE WHEN r.shadow_sequence >= 0"
    " THEN r.shadow_writer::text || '-' || r.shadow_sequence::text END",
    "server_time_us": "r.server_time_us",
    "model_time_us": "r.model_time_us",
    "error_reason": f"CASE r.error_reason WHEN 0 THEN NULL {_REASONS} ELSE r.error_reason::text END",
    "error_feature": "CASE WHEN r.error_reason <> 0 THEN"
    " ((SELECT t.features FROM scorewire.tables t WHERE t.name = {table}))[r.error_feature + 1] END",
    "writer": "r.writer",
    "sequence": "r.sequence",
}


@dataclass(frozen=True, slots=True)
class _Value:
    """A column of the view in one table: its type, and its expression."""

    type: str
    expression: sql.Composable


def make_view(connection: Connection, model: str, sources: Sequence[Source]) -> None:
    """Make or extend the view of a model.

    Columns of the same name are one; where their types differ, it has texts. Where a view would have more
    columns than a query can, the features of wide tables stay in arrays, and the columns of the newest tables
    are left out.

    Args:
        connection: the connection, in a transaction.
        model: the model.
        sources: a source for each table of the model, the earliest first.
    """
    tables = [_columns(source, expanded=True) for source in sources]
    if len(_names(tables)) > _MAX_COLUMNS:
        tables = [_columns(source, expanded=False) for source in sources]
    columns = _names(tables)[:_MAX_COLUMNS]
    shorts = _in_order(dict(zip(columns, identifiers(columns), strict=True)), _columns_of(connection, model))
    types = {column: {table[column].type for table in tables if column in table} for column in columns}
    selects = [
        sql.SQL("SELECT {} FROM {} r JOIN scorewire.sources s ON s.id = r.source").format(
            sql.SQL(", ").join(
                sql.SQL("{} AS {}").format(
                    _expression(table.get(column), types[column]), sql.Identifier(short)
                )
                for column, short in shorts.items()
            ),
            name(Layout(source).table),
        )
        for source, table in zip(sources, tables, strict=True)
    ]
    view = name(view_name(model))
    query = sql.SQL("VIEW {} AS {}").format(view, sql.SQL("\nUNION ALL\n").join(selects))
    try:
        with connection.transaction():
            connection.execute(sql.SQL("CREATE OR REPLACE {}").format(query))
    except psycopg.errors.InvalidTableDefinition:
        # A column has another type than it had. Views of others that read this one would be in the way.
        connection.execute(sql.SQL("DROP VIEW {}").format(view))
        connection.execute(sql.SQL("CREATE {}").format(query))
    connection.execute(
        sql.SQL("COMMENT ON VIEW {} IS {}").format(
            view, sql.Literal(f"Recorded predictions of the model {model}")
        )
    )


def _columns_of(connection: Connection, model: str) -> list[str]:
    """The columns of a model's view, in their order; empty if there is no view."""
    rows = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(format('scorewire.%%I', %s::text))"
        " AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        [view_name(model)],
    ).fetchall()
    return [row[0] for row in rows]


def _in_order(shorts: dict[str, str], existing: Sequence[str]) -> dict[str, str]:
    """The columns, first those that the view has, in its order: a view can be extended at its end only."""
    places = {short: place for place, short in enumerate(existing)}
    return dict(sorted(shorts.items(), key=lambda each: places.get(each[1], len(places))))


def _columns(source: Source, *, expanded: bool) -> dict[str, _Value]:
    layout = Layout(source)
    constants = {
        "model": sql.Literal(source.model),
        "table": sql.Literal(layout.table),
        "principal": sql.SQL("nullif(r.principal, '')" if layout.has_principal else "NULL::text"),
    }
    columns = {
        column: _Value("", sql.SQL(expression).format(**constants)) for column, expression in _FIXED.items()
    }
    if layout.is_wide and not expanded:
        if source.numbers:
            columns[NUMBERS] = _Value("double precision[]", sql.Identifier("r", NUMBERS))
        if source.texts:
            columns[TEXTS] = _Value("text[]", sql.Identifier("r", TEXTS))
    else:
        for feature in source.features:
            if (value := _feature(source, layout, feature)) is not None:
                columns[f"feature_{feature}"] = value
    for output, column in zip(source.outputs, layout.outputs, strict=True):
        answered = sql.SQL("CASE WHEN r.error_reason = 0 THEN {} END").format(
            sql.Identifier("r", column.name)
        )
        columns[f"output_{output.name}"] = _Value(column.type, answered)
    return columns


def _feature(source: Source, layout: Layout, feature: str) -> _Value | None:
    """The column of a feature; None if it is not recorded."""
    for names, array, type_, missing in (
        (source.numbers, NUMBERS, "double precision", "NaN"),
        (source.texts, TEXTS, "text", ""),
    ):
        if feature in names:
            at = sql.SQL("[{}]").format(sql.Literal(names.index(feature) + 1))
            value = sql.Identifier("r", array if layout.is_wide else layout.features[feature].name)
            item = at if layout.is_wide else sql.SQL("")
            return _Value(type_, sql.SQL("nullif({}{}, {})").format(value, item, sql.Literal(missing)))
    return None


def _names(tables: Iterable[dict[str, _Value]]) -> list[str]:
    return list(dict.fromkeys(column for table in tables for column in table))


def _expression(value: _Value | None, types: set[str]) -> sql.Composable:
    if len(types) == 1:
        (type_,) = types
        return sql.SQL("NULL::{}").format(sql.SQL(type_)) if value is None else value.expression
    return sql.SQL("NULL::text") if value is None else sql.SQL("({})::text").format(value.expression)
