"""Feature tables: Parquet files of features by key, to score a stored row by its key later.

The first column is the key, ascending and without repetition. The others are
features: numbers are doubles with NaN where missing, texts are strings with the
empty string where missing. The same features give the same bytes, wherever the
file is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from scorewire_training.errors import TrainingError

FEATURES_FILE = "features.parquet"
ROWS_PER_GROUP = 50_000


def render_feature_table(features: pd.DataFrame, metadata: Mapping[str, str]) -> bytes:
    """A feature table as the content of a Parquet file.

    Args:
        features: the index is the key, and its name the key's; columns are float64 or text.
        metadata: of the table, kept in the file's schema.
    """
    sink = pa.BufferOutputStream()
    schema = feature_schema(features, metadata)
    with open_feature_table(sink, schema) as writer:
        writer.write_table(to_arrow(features, schema), row_group_size=ROWS_PER_GROUP)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def feature_schema(features: pd.DataFrame, metadata: Mapping[str, str]) -> pa.Schema:
    """The Arrow schema of a table of these features."""
    fields = [
        (name, pa.float64() if pd.api.types.is_numeric_dtype(column.dtype) else pa.string())
        for name, column in features.items()
    ]
    return pa.schema([(str(features.index.name), pa.string()), *fields], metadata=dict(metadata))


def to_arrow(features: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    """The features as an Arrow table of the schema."""
    columns = [pa.array(features.index, pa.string())]
    # NaN stays NaN: the pipeline's missing number, on the wire as well.
    columns += [
        pa.array(features[field.name].to_numpy(), field.type, from_pandas=False) for field in list(schema)[1:]
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def open_feature_table(sink: object, schema: pa.Schema) -> parquet.ParquetWriter:
    """A writer of a feature table; texts of features repeat and are stored as dictionaries."""
    texts = [field.name for field in list(schema)[1:] if field.type == pa.string()]
    return parquet.ParquetWriter(sink, schema, compression="zstd", use_dictionary=texts or False)


def check_output(output: Path, source: Path | None) -> None:
    """Check before the work that a file of rows can be written beside its source.

    Raises:
        TrainingError: the folder does not exist, or the output is the source.
    """
    if not output.parent.is_dir():
        raise TrainingError(f"{output.parent} is not a folder: make it, or choose another output")
    if source is not None and output.resolve() == source.resolve():
        raise TrainingError(f"{output} is the data: choose another output")
