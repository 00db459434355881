from __future__ import annotations

from pathlib import Path

from pyarrow import parquet

from scorewire_training.repurchase.data import read_transactions
from scorewire_training.repurchase.features import build_features, build_labels
from tests.scorewire_training.repurchase.generated_transactions import write_transactions


def test_one_seed_gives_one_file(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_transactions(tmp_path / name, 2_500, seed=seed, chunk_lines=1_000)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


def test_lines_are_written_in_chunks_and_told_of(tmp_path: Path) -> None:
    written: list[int] = []
    write_transactions(tmp_path / "shop.parquet", 2_500, seed=1, chunk_lines=1_000, progress=written.append)
    assert written == [1_000, 2_000, 2_500]
    metadata = parquet.ParquetFile(tmp_path / "shop.parquet").metadata
    assert (metadata.num_rows, metadata.num_row_groups) == (2_500, 3)


def test_cleaning_has_work_to_do_and_customers_differ(tmp_path: Path) -> None:
    write_transactions(tmp_path / "shop.parquet", 40_000, seed=1, customers=900, chunk_lines=10_000)
    transactions = read_transactions(tmp_path / "shop.parquet")
    taken = {step.name: step.rows_taken for step in transactions.steps}
    assert taken["customer"] > 0
    assert taken["cancellations"] > 0
    assert taken["duplicates"] > 0
    lines = transactions.lines
    assert lines["customer"].nunique() <= 900
    # No invoice is in two chunks.
    assert (lines.groupby("invoice")["customer"].nunique() == 1).all()
    cutoff = lines["time"].max() - (lines["time"].max() - lines["time"].min()) / 2
    features = build_features(lines, cutoff, horizon_days=60)
    labels = build_labels(lines, features.index, cutoff, 60)
    recency = features["recency_days"].groupby(labels).median()
    assert recency[1] < recency[0]
