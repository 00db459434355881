"""What clients ask for becomes a command that only has known options."""

from __future__ import annotations

import pytest
from scorewire_gateway.errors import RequestError
from scorewire_gateway.jobs.request import (
    SETTINGS,
    check_command,
    read_request,
    table_name,
    training_command,
)


def test_settings_become_options_of_the_training_tool() -> None:
    request = read_request(
        [("model", "repurchase"), ("column", "customer=ID"), ("column", "time=-x"), ("horizon_days", "-1")]
    )
    assert request.options() == ["--column=customer=ID", "--column=time=-x", "--horizon-days=-1"]
    assert training_command(request, "shop.csv", memory_bytes=1 << 30) == [
        "repurchase", *request.options(), "--data=shop.csv", "--json", "--output=models",
    ]  # fmt: skip
    assert check_command(request) == ["repurchase", *request.options(), "--check"]


@pytest.mark.parametrize(
    ("memory_bytes", "memory_mb"), [(256 << 20, 256), (1 << 30, 512), (4 << 30, 2048), (64 << 30, 2048)]
)
def test_half_of_the_memory_is_for_duckdb(memory_bytes: int, memory_mb: int) -> None:
    request = read_request([("model", "repurchase"), ("kind", "features")])
    command = training_command(request, "shop.csv", memory_bytes=memory_bytes)
    assert command == [
        "features", "--model=repurchase", "--data=shop.csv", "--json", f"--memory-mb={memory_mb}",
        "--output=features.parquet",
    ]  # fmt: skip


def test_no_setting_names_a_place_of_this_machine() -> None:
    places = {"data", "config", "output", "output_dir", "mlflow", "mlflow_uri", "backend", "json", "check"}
    assert places & {name for names in SETTINGS.values() for name in names} == set()


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("shop.csv", "shop.csv"),
        ("My Shop (2).PARQUET", "My Shop (2).PARQUET"),
        ("año.csv", "año.csv"),
        ("/etc/passwd.csv", "passwd.csv"),
        ("C:\\tables\\shop.csv", "shop.csv"),
        ("..csv", "data.csv"),
        (".hidden.csv", "data.csv"),
        ("-rf.csv", "data.csv"),
        ("a\nb.csv", "data.csv"),
        ("a'b.csv", "data.csv"),
        (f"{'a' * 200}.parquet", "data.parquet"),
        ("", "default"),
        ("folder/", "default"),
    ],
)
def test_the_name_of_a_table_is_kept_where_it_is_harmless(name: str, kept: str) -> None:
    assert table_name(name, "default") == kept


@pytest.mark.parametrize("name", ["shop.xlsx", "shop", "shop.csv.gz", "csv", "job.json"])
def test_tables_of_other_kinds_are_refused(name: str) -> None:
    with pytest.raises(RequestError, match=r"ends in \.csv or \.parquet"):
        table_name(name, "default")
