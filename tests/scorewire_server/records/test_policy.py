"""The policy of records is read strictly, and its errors say what to change."""

from __future__ import annotations

import os
import re
from dataclasses import fields
from hashlib import blake2b
from pathlib import Path

import pytest

from scorewire_server.records.policy import ModelPolicy, PolicyError, read_policy


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "hash.key"
    path.write_bytes(bytes(range(32)))
    path.chmod(0o600)
    return path


def _write(folder: Path, text: str) -> Path:
    path = folder / "policy.toml"
    path.write_text(text, encoding="utf-8")
    return path


def _refusal(folder: Path, text: str) -> str:
    with pytest.raises(PolicyError) as caught:
        read_policy(_write(folder, text))
    return str(caught.value)


def test_an_empty_file_records_everything_for_good(tmp_path: Path) -> None:
    policy = read_policy(_write(tmp_path, ""))
    assert policy.of("any") == ModelPolicy()
    assert policy.hash_key == b""


def test_a_table_of_a_model_goes_over_the_default(tmp_path: Path, key: Path) -> None:
    policy = read_policy(
        _write(
            tmp_path,
            f"""
            hash_key_file = "{key.name}"
            [default]
            share = 0.25
            sample_by = "routing_key"
            caller = "drop"
            principal = "drop"
            retention_days = 30
            [models.churn]
            share = 1
            keep_errors = true
            keep_shadowed = true
            principal = "hash"
            routing_key = "hash"
            [models.churn.features]
            email = "hash"
            age = "drop"
            """,
        )
    )
    assert policy.of("other") == ModelPolicy(
        share=0.25, sample_by="routing_key", caller="drop", principal="drop", retention_days=30
    )
    assert policy.of("churn") == ModelPolicy(
        share=1.0,
        sample_by="routing_key",
        keep_errors=True,
        keep_shadowed=True,
        retention_days=30,
        caller="drop",
        principal="hash",
        routing_key="hash",
        features={"email": "hash", "age": "drop"},
    )
    assert policy.hash_key == bytes(range(32))
    assert policy.exposed_key is None
    assert str(policy.hash_key) not in repr(policy)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[default", ["no valid TOML"]),
        ("[defaults]", ["'defaults'", "did you mean 'default'?"]),
        ("[default]\nshare = 1.5", ["[default] share", "from 0 to 1"]),
        ("[default]\nshare = nan", ["[default] share", "from 0 to 1"]),
        ("[default]\nshare = true", ["[default] share", "from 0 to 1"]),
        ('[default]\nsample_by = "routing-key"', ["sample_by", "did you mean 'routing_key'?"]),
        ("[default]\nkeep_errors = 1", ["keep_errors", "true or false"]),
        ("[default]\nretention_days = 0", ["retention_days", "1 to 36500", "left out"]),
        ("[default]\nretention_days = 1.5", ["retention_days", "whole number"]),
        ('[default]\ncaller = "hide"', ["caller", "keep, drop, hash"]),
        ("default = 1", ["default must be a table: write [default]"]),
        ("[default.features]", ["[models.NAME.features]"]),
        ("[models]\nchurn = 0.5", ["write [models.churn]"]),
        ("[models.churn]\nshar = 0.5", ["[models.churn]", "did you mean 'share'?"]),
        ("[models.churn]\nshadow = 0.5", ["'shadow'", "its keys are share, sample_by"]),
        ('[models.churn]\nhash_key_file = "k"', ["above all tables"]),
        ('[models."Not A Name"]', ["'Not A Name'"]),
        ('[models.churn]\nfeatures = "drop"', ["[models.churn.features]"]),
        ('[models.churn.features]\nemail = "remove"', ["[models.churn.features] email", "keep, drop, hash"]),
        ('[models.churn.features]\nemail = "hash"', ["hash_key_file", "head -c 32 /dev/urandom"]),
        ('[default]\ncaller = "hash"', ["hash_key_file"]),
        ('[default]\nprincipal = "hash"', ["hash_key_file"]),
        ('[default]\nprincipal = "hide"', ["principal", "keep, drop, hash"]),
        ("hash_key_file = 7", ["a path in quotes"]),
        ('hash_key_file = "nowhere"', ["nowhere", "cannot be read"]),
    ],
)
def test_a_wrong_file_is_refused_with_what_to_change(tmp_path: Path, text: str, says: list[str]) -> None:
    refusal = _refusal(tmp_path, text)
    assert str(tmp_path / "policy.toml") in refusal
    assert all(part in refusal for part in says), refusal


def test_the_policy_of_the_page_is_valid(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "records.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "hash.key").write_bytes(bytes(32))
    policy = read_policy(_write(tmp_path, text))
    assert policy.of("churn").features == {"country": "hash", "age": "drop"}
    # The page's table has every key.
    assert all(f"`{each.name}`" in page for each in fields(ModelPolicy) if each.name != "features")


def test_a_file_that_is_missing_a_folder_a_pipe_or_huge_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "huge").write_bytes(b"#" * (1 << 20) + b"\n")
    for name in ("missing", ".", "pipe", "huge"):
        with pytest.raises(PolicyError):
            read_policy(tmp_path / name)


def test_a_short_key_is_refused_and_a_long_one_is_digested(tmp_path: Path, key: Path) -> None:
    key.write_bytes(bytes(31))
    assert "31 bytes" in _refusal(tmp_path, f'hash_key_file = "{key}"')
    key.write_bytes(bytes(65))
    assert read_policy(_write(tmp_path, f'hash_key_file = "{key}"')).hash_key == blake2b(bytes(65)).digest()


def test_a_key_that_everyone_may_read_is_told(tmp_path: Path, key: Path) -> None:
    key.chmod(0o644)
    assert read_policy(_write(tmp_path, f'hash_key_file = "{key}"')).exposed_key == key


def test_a_feature_that_no_version_has_does_not_fit() -> None:
    policy = ModelPolicy(features={"emial": "drop"})
    assert "did you mean 'email'?" in policy.misfit([["age"], ["age", "email"]])
    assert policy.misfit([["age"], ["emial"]]) == ""
    # Of a model without versions nothing is known.
    assert policy.misfit([]) == ""
