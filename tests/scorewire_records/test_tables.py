"""Blocks of rows become tables with the same columns in every store."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from scorewire_contract.records.identity import PredictionId, new_start
from scorewire_contract.records.rows import KEPT, NO_WRITER, RowsBlock
from scorewire_contract.records.source import Output
from scorewire_contract.records.texts import Texts
from scorewire_records.tables import FIXED, schema_of, to_table
from tests.scorewire_records.spools import rows_of, source

START = new_start()


def test_a_row_has_its_prediction_its_features_and_its_outputs() -> None:
    where = source(route="champion", kind="alias", share=0.25)
    rows = rows_of(where, 7, 2, per_call=2, writer=3)
    table = to_table(START, where, rows)
    table.validate(full=True)
    assert table.schema == schema_of(where)
    assert table.to_pylist()[3] == {
        "prediction_id": str(PredictionId(START, 3, 8)),
        "row": 1,
        "time": datetime(2096, 11, 30, 1, 0, 0, 1, tzinfo=UTC),
        "model": "churn",
        "version": "1.0.0",
        "route": "champion",
        "route_kind": "alias",
        "share": 0.25,
        "caller": "127.0.0.1",
        "principal": "game",
        "routing_key": "key-8",
        "shadow_of": None,
        "server_time_us": 50,
        "model_time_us": 30,
        "error_reason": None,
        "error_feature": None,
        "feature_age": 8.0,
        "feature_country": "text-8",
        "feature_income": 8.0,
        "output_probability": [8 / (1 << 20)] * 2,
        "output_class": 8 / (1 << 20),
    }


def test_features_stand_in_the_order_of_the_schema_without_dropped_ones() -> None:
    where = source(
        features=("e-mail", "age", "country", "income"),
        numbers=("age",),
        texts=("country", "e-mail", "income"),
        hashed=("e-mail", "income"),
    )
    names = schema_of(where).names[len(FIXED) :]
    assert names[:4] == ["feature_e-mail", "feature_age", "feature_country", "feature_income"]
    dropping = source(numbers=("age",), dropped=("income",))
    assert "feature_income" not in schema_of(dropping).names


def test_missing_values_are_null_and_so_are_the_outputs_of_rows_with_an_error() -> None:
    where = source()
    rows = rows_of(where, 0, 3)
    numbers = rows.numbers.copy()
    numbers[0, 1] = np.nan
    rows = replace(
        rows,
        numbers=numbers,
        texts=Texts.of(["DE", "", "ü"]),
        callers=Texts.of(["", "unix", "10.0.0.1"]),
        principals=Texts.of(["shop", "shop", ""]),
        error_rows=np.array([1, 2], np.uint32),
        error_reasons=np.array([100, 9999], np.uint16),
        error_features=np.array([2, 0], np.uint16),
        flags=np.array([0, KEPT, 0], np.uint16),
    )
    table = to_table(START, replace(where, share=0.5), rows).to_pydict()
    assert table["feature_income"] == [None, 1.0, 2.0]
    assert table["feature_country"] == ["DE", None, "ü"]
    assert table["caller"] == [None, "unix", "10.0.0.1"]
    assert table["principal"] == ["shop", "shop", None]
    assert table["error_reason"] == [None, "MISSING_VALUE", "9999"]
    assert table["error_feature"] == [None, "income", "age"]
    assert table["output_probability"] == [[0.0, 0.0], None, None]
    assert table["output_class"] == [0.0, None, None]
    assert table["share"] == [0.5, 1.0, 0.5]


def test_a_shadow_points_to_the_prediction_that_was_copied() -> None:
    where = source(kind="shadow")
    rows = rows_of(where, 5, 2)
    rows = replace(
        rows,
        original_sequences=np.array([9, 0], np.uint64),
        original_writers=np.array([4, NO_WRITER], np.uint16),
    )
    table = to_table(START, where, rows).to_pydict()
    assert table["shadow_of"] == [str(PredictionId(START, 4, 9)), None]


def test_a_part_of_a_large_prediction_begins_at_its_first_row() -> None:
    where = source()
    rows = replace(rows_of(where, 0, 2, per_call=3), first_rows=np.array([600, 0], np.uint32))
    assert to_table(START, where, rows).to_pydict()["row"] == [600, 601, 602, 0, 1, 2]


@pytest.mark.parametrize("width", [1, 2])
def test_texts_of_outputs_stay_as_they_were_answered(width: int) -> None:
    where = source(outputs=(Output(name="label", width=width, kind="text"),))
    rows = replace(rows_of(where, 0, 2), outputs=(Texts.of(["", "b"] * width),))
    expected = ["", "b"] if width == 1 else [["", "b"], ["", "b"]]
    assert to_table(START, where, rows).to_pydict()["output_label"] == expected


def test_bytes_that_are_not_utf8_are_replaced() -> None:
    where = source()
    rows = replace(rows_of(where, 0, 2), texts=Texts.of_bytes([b"a\xffb", b"ok"]))
    assert to_table(START, where, rows).to_pydict()["feature_country"] == [
        "a\N{REPLACEMENT CHARACTER}b",
        "ok",
    ]


def test_a_source_without_features_and_a_large_sequence_number_work() -> None:
    where = source(features=(), numbers=(), texts=(), outputs=())
    rows = replace(rows_of(where, 0, 1), sequences=np.array([2**64 - 1], np.uint64))
    decoded = RowsBlock.decode(rows.encode(), where)
    assert to_table(START, where, decoded).to_pydict()["prediction_id"] == [
        str(PredictionId(START, 0, 2**64 - 1))
    ]
