from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from scorewire_training.repurchase import feature_table as table_module
from scorewire_training.repurchase.data import clean_transactions
from scorewire_training.repurchase.feature_table import build_feature_table
from scorewire_training.repurchase.features import DESCRIPTIONS, TEXTS, build_features
from tests.scorewire_training.repurchase.shop import make_lines

CUT = pd.Timestamp("2020-10-01")


@pytest.fixture(scope="module")
def lines() -> pd.DataFrame:
    return clean_transactions(make_lines(60)).lines


def _read(content: bytes) -> pa.Table:
    return parquet.read_table(pa.BufferReader(content))


def test_the_table_has_every_feature_by_customer(lines: pd.DataFrame) -> None:
    table = _read(build_feature_table(lines, CUT, 60))
    assert table.column_names == ["customer", *DESCRIPTIONS]
    assert all(
        field.type == (pa.string() if field.name in (*TEXTS, "customer") else pa.float64())
        for field in table.schema
    )
    assert table.schema.metadata == {b"cut": b"2020-10-01T00:00:00", b"horizon_days": b"60"}
    # Missing numbers are NaN, as they are on the wire.
    assert all(column.null_count == 0 for column in table.columns)
    features = build_features(lines, CUT, horizon_days=60)
    found = table.to_pandas().set_index("customer")
    pd.testing.assert_frame_equal(
        found, features, check_exact=True, check_dtype=False, check_index_type=False
    )


def test_the_same_lines_give_the_same_bytes(lines: pd.DataFrame) -> None:
    once = build_feature_table(lines, CUT, 60)
    assert build_feature_table(lines.sample(frac=1, random_state=3), CUT, 60) == once


def test_of_too_many_customers_those_seen_last_are_kept(
    lines: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_module, "MAX_CUSTOMERS", 10)
    table = _read(build_feature_table(lines, CUT, 60)).to_pandas()
    recency = build_features(lines, CUT, horizon_days=60)["recency_days"]
    assert table["customer"].tolist() == sorted(recency.nsmallest(10).index)
