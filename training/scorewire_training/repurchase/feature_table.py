"""The feature table: a bundle-side file of features by customer, to score a customer by key later."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from scorewire_training.repurchase.features import TEXTS, build_features

FEATURES_FILE = "features.parquet"
# A bundle is sent about and held in memory: beyond so many customers those seen last are kept.
MAX_CUSTOMERS = 500_000
ROWS_PER_GROUP = 50_000


def feature_table(lines: pd.DataFrame, cut: pd.Timestamp, horizon_days: int) -> bytes:
    """Features of every customer at the cut, as a Parquet file; the same lines give the same bytes.

    Columns are customer, ascending and without repetition, and those of
    `build_features`; numbers are double with NaN where missing, texts are strings.
    The schema's metadata has cut (ISO 8601) and horizon_days. Beyond MAX_CUSTOMERS
    those with the least recency are kept.
    """
    features = build_features(lines, cut, horizon_days=horizon_days)
    if len(features) > MAX_CUSTOMERS:
        features = features.loc[features["recency_days"].nsmallest(MAX_CUSTOMERS).index].sort_index()
    sink = pa.BufferOutputStream()
    schema = describe_table(features, cut, horizon_days)
    with open_table(sink, schema) as writer:
        writer.write_table(to_table(features, schema), row_group_size=ROWS_PER_GROUP)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def describe_table(features: pd.DataFrame, cut: pd.Timestamp, horizon_days: int) -> pa.Schema:
    """The schema of a file of these features."""
    fields = [(name, pa.string() if name in TEXTS else pa.float64()) for name in features.columns]
    # Nothing of the day or the machine: the file is the same wherever it is made.
    metadata = {"cut": cut.isoformat(), "horizon_days": str(horizon_days)}
    return pa.schema([("customer", pa.string()), *fields], metadata=metadata)


def to_table(features: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    """The features as a table of the schema."""
    columns = [pa.array(features.index, pa.string())]
    # NaN stays NaN: the pipeline's missing number, on the wire as well.
    columns += [
        pa.array(features[field.name].to_numpy(), field.type, from_pandas=False) for field in list(schema)[1:]
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def open_table(sink: object, schema: pa.Schema) -> parquet.ParquetWriter:
    """A writer of feature tables."""
    return parquet.ParquetWriter(sink, schema, compression="zstd", use_dictionary=list(TEXTS))
