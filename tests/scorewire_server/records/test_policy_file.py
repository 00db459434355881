"""The policy's file is followed, and one that cannot be used changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from scorewire_server.records.policy import Policy, PolicyError
from scorewire_server.records.policy_file import PolicyFile
from tests.bundles import write_sum_bundle


def _fits(_: Policy) -> str:
    return ""


async def _look_twice(followed: PolicyFile) -> bool:
    """Look again as the file stays the same, so that it is no longer being written."""
    assert not await followed.look(_fits)
    return await followed.look(_fits)


async def test_a_file_that_is_being_written_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    lines = ["[default]\n", "share = 0.5\n", "[models.sum]\n", "[models.sum.features]\n", 'country = "drop"']
    path.write_text("".join(lines))
    followed = PolicyFile(path, tmp_path)
    path.write_text("")
    with capture_logs() as logged, path.open("a") as file:
        for line in ["", *lines[:2], "[mod", "els.sum]\n", *lines[3:4], 'country = "keep"']:
            file.write(line)
            file.flush()
            assert not await followed.look(_fits)
            assert followed.policy.of("sum").features == {"country": "drop"}
        assert logged == []
        assert await followed.look(_fits)
    assert followed.policy.of("sum").features == {"country": "keep"}


async def test_a_changed_file_is_taken_once(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("[default]\nshare = 0.5")
    followed = PolicyFile(path, tmp_path)
    assert not await followed.look(_fits)
    path.write_text("[default]\nshare = 0.25")
    assert await _look_twice(followed)
    assert followed.policy.default.share == 0.25
    assert not await followed.look(_fits)


async def test_a_link_that_leads_to_another_folder_is_taken(tmp_path: Path) -> None:
    # As Kubernetes replaces a ConfigMap: policy.toml -> ..data/policy.toml, and ..data -> a folder.
    for name, share in (("first", 0.5), ("second", 0.25)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "policy.toml").write_text(f"[default]\nshare = {share}")
    (tmp_path / "..data").symlink_to("first")
    (tmp_path / "policy.toml").symlink_to("..data/policy.toml")
    followed = PolicyFile(tmp_path / "policy.toml", tmp_path)
    (tmp_path / "..new").symlink_to("second")
    (tmp_path / "..new").replace(tmp_path / "..data")
    assert await _look_twice(followed)
    assert followed.policy.default.share == 0.25


async def test_a_changed_key_is_a_new_policy(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(bytes(32))
    (tmp_path / "key").chmod(0o644)
    path = tmp_path / "policy.toml"
    path.write_text('hash_key_file = "key"\n[default]\ncaller = "hash"')
    with capture_logs() as lines:
        followed = PolicyFile(path, tmp_path)
    assert [(line["event"], line["file"]) for line in lines] == [
        ("everyone may read the key of hashes", str(tmp_path / "key"))
    ]
    (tmp_path / "key").write_bytes(bytes(range(32)))
    assert await _look_twice(followed)
    assert followed.policy.hash_key == bytes(range(32))


async def test_a_broken_file_is_logged_once_and_the_policy_before_stays(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("[default]\nshare = 0.5")
    followed = PolicyFile(path, tmp_path)
    path.write_text("[default]\nshar = 0.25")
    with capture_logs() as lines:
        for _ in range(3):
            assert not await followed.look(_fits)
    (line,) = lines
    assert "did you mean 'share'?" in line["reason"]
    assert "did you mean 'share'?" in followed.problem
    assert followed.policy.default.share == 0.5
    path.unlink()
    assert not await _look_twice(followed)
    assert "cannot be read" in followed.problem
    path.write_text("[default]\nshare = 0.5")
    assert not await followed.look(_fits)
    assert followed.problem == ""


async def test_a_policy_that_does_not_fit_the_models_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("[default]\nshare = 0.5")
    followed = PolicyFile(path, tmp_path)
    path.write_text("[default]\nshare = 0.25")
    for _ in range(2):
        assert not await followed.look(lambda _: "no version has it")
    assert "no version has it" in followed.problem
    assert followed.policy.default.share == 0.5
    assert await followed.look(_fits)


def test_at_the_start_features_are_compared_with_the_bundles(tmp_path: Path) -> None:
    write_sum_bundle(tmp_path / "models")
    path = tmp_path / "policy.toml"
    path.write_text('[models.sum.features]\ncontry = "drop"\n[models.later.features]\nany = "drop"')
    with pytest.raises(PolicyError, match="did you mean 'country'"):
        PolicyFile(path, tmp_path / "models")
    path.write_text('[models.sum.features]\ncountry = "drop"\n[models.later.features]\nany = "drop"')
    assert PolicyFile(path, tmp_path / "models").policy.of("later").features == {"any": "drop"}


async def test_without_a_file_everything_is_recorded(tmp_path: Path) -> None:
    followed = PolicyFile(None, tmp_path)
    assert followed.policy == Policy()
    assert not await followed.look(_fits)
