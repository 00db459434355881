from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from scorewire_training.errors import TrainingError
from scorewire_training.game_revenue.data import (
    FEATURES,
    NUMBERS,
    TARGET,
    TEXTS,
    draw_folds,
    group_countries,
    partition_users,
    read_users,
)
from scorewire_training.game_revenue.generate import generate_users


def _write(tmp_path: Path, users: pd.DataFrame) -> Path:
    path = tmp_path / "users.csv"
    users.to_csv(path, index=False)
    return path


def test_texts_stay_as_they_are_written(tmp_path: Path) -> None:
    users = generate_users(300, seed=0)
    users.loc[0, "os_version"], users.loc[1, "country"], users.loc[2, "platform"] = "8.10", "NA", " iOS "
    read, steps = read_users(_write(tmp_path, users), seed=0)
    assert [(step.rows_taken, step.rows_left) for step in steps] == [(0, 300)] * 3
    assert read.columns.tolist() == [*FEATURES, TARGET]
    for column in TEXTS:
        assert read[column].dropna().tolist() == users[column].dropna().tolist()
        assert read[column].isna().tolist() == users[column].isna().tolist()
    assert (read[[*NUMBERS, TARGET]].dtypes == np.float64).all()
    np.testing.assert_array_equal(read["event_3"], users["event_3"])


def test_csv_and_parquet_give_the_same_users(tmp_path: Path) -> None:
    users = generate_users(250, seed=0)
    users.to_parquet(tmp_path / "users.parquet")
    from_parquet, _ = read_users(tmp_path / "users.parquet", seed=0)
    from_csv, _ = read_users(_write(tmp_path, users), seed=0)
    pd.testing.assert_frame_equal(from_csv, from_parquet)


def test_large_ids_stay_apart_where_one_is_missing(tmp_path: Path) -> None:
    users = generate_users(300, seed=0)
    ids = [None, *((1 << 60) + number for number in range(299))]
    columns = {name: pa.array(users[name], from_pandas=True) for name in (*FEATURES, TARGET)}
    parquet.write_table(
        pa.table({"user_id": pa.array(ids, pa.int64()), **columns}), tmp_path / "users.parquet"
    )
    assert len(read_users(tmp_path / "users.parquet", seed=0)[0]) == 300


def test_texts_that_are_lists_are_refused(tmp_path: Path) -> None:
    users = generate_users(250, seed=0)
    users["country"] = [[country] for country in users["country"]]
    users.to_parquet(tmp_path / "users.parquet")
    with pytest.raises(TrainingError, match="column country has values of several parts, such as lists"):
        read_users(tmp_path / "users.parquet", seed=0)


def test_users_that_cannot_teach_are_left_out_and_counted(tmp_path: Path) -> None:
    users = generate_users(300, seed=0)
    users.loc[5, "user_id"] = users.loc[4, "user_id"]
    users.loc[[6, 7], "revenue"] = [np.nan, -1.0]
    # Dropped once, as a duplicate, and not again for missing revenue.
    users.loc[9, ["user_id", "revenue"]] = [users.loc[8, "user_id"], np.nan]
    read, steps = read_users(_write(tmp_path, users), seed=0)
    assert len(read) == 296
    assert [(step.name, step.rows_taken, step.rows_left) for step in steps] == [
        ("duplicates", 2, 298),
        ("revenue missing", 1, 297),
        ("revenue negative", 1, 296),
    ]


def test_the_user_id_is_neither_needed_nor_a_feature(tmp_path: Path) -> None:
    read, _ = read_users(_write(tmp_path, generate_users(250, seed=0).drop(columns="user_id")), seed=0)
    assert len(read) == 250
    assert "user_id" not in FEATURES


@pytest.mark.parametrize("value", ["many", "inf"])
def test_a_number_that_is_none_is_refused(tmp_path: Path, value: str) -> None:
    users = generate_users(250, seed=0).astype({"event_2": object})
    users.loc[3, "event_2"] = value
    with pytest.raises(TrainingError, match=f"column event_2 has '{value}', which is not a finite number"):
        read_users(_write(tmp_path, users), seed=0)


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    users = generate_users(250, seed=0).drop(columns=["source", "revenue"])
    with pytest.raises(TrainingError, match=r"no column source, revenue: it must have .* and has user_id"):
        read_users(_write(tmp_path, users), seed=0)


def test_too_few_users_or_too_few_with_revenue_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="199 users: at least 200"):
        read_users(_write(tmp_path, generate_users(199, seed=0)), seed=0)
    few = generate_users(200, seed=0).assign(revenue=[1.0] * 19 + [0.0] * 181, event_2=3)
    with pytest.raises(TrainingError, match="19 users have revenue and event_2 or event_3: at least 20"):
        read_users(_write(tmp_path, few), seed=0)
    idle = generate_users(200, seed=0).assign(revenue=1.0, event_2=np.nan, event_3=0.0)
    with pytest.raises(TrainingError, match="0 users have revenue and event_2 or event_3"):
        read_users(_write(tmp_path, idle), seed=0)


def test_the_split_is_70_15_15_and_alike_in_revenue_and_country() -> None:
    users, _ = read_users(None, seed=0)
    partition = partition_users(users, seed=0)
    parts = (partition.training, partition.validation, partition.test)
    assert [len(part.revenue) for part in parts] == [14_000, 3_000, 3_000]
    for limit in (0.0, 0.1, 10.0):
        shares = [float((part.revenue <= limit).mean()) for part in parts]
        assert max(shares) - min(shares) < 0.003
    for country in ("us", "de", "is"):
        shares = [float((part.features["country"] == country).mean()) for part in parts]
        assert max(shares) - min(shares) < 0.01
    # Every user is in one part.
    together = pd.concat([part.features.assign(revenue=part.revenue) for part in parts])
    order = [*NUMBERS, "revenue", *TEXTS]
    pd.testing.assert_frame_equal(
        together.sort_values(order, ignore_index=True)[order],
        users.sort_values(order, ignore_index=True)[order],
    )


def test_the_split_follows_the_seed() -> None:
    users, _ = read_users(None, seed=0)
    users = users.head(1_000)
    one, same, other = (partition_users(users, seed=seed).test for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(one.features, same.features)
    assert not one.features.equals(other.features)


def test_folds_are_alike_in_revenue_and_country() -> None:
    training = partition_users(read_users(None, seed=0)[0], seed=0).training
    fold = draw_folds(training, 4, seed=0)
    assert np.bincount(fold).tolist() == [3_500] * 4
    for limit in (0.0, 0.1, 10.0):
        shares = [float((training.revenue[fold == i] <= limit).mean()) for i in range(4)]
        assert max(shares) - min(shares) < 0.003
    np.testing.assert_array_equal(fold, draw_folds(training, 4, seed=0))
    assert (fold != draw_folds(training, 4, seed=1)).any()


def test_countries_with_few_users_are_one_group() -> None:
    country = pd.Series(["de"] * 800 + [" DE"] * 190 + ["fr"] * 6 + ["is"] * 3 + [None], dtype=object)
    assert group_countries(country).tolist() == ["de"] * 990 + ["fr"] * 6 + [""] * 4
