"""`scorewire keys`, as a user runs it."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scorewire_contract.patterns import Patterns
from scorewire_contract.service.file_lock import FileLock
from scorewire_server.access import editing
from scorewire_server.access.access_file import AccessFile
from scorewire_server.access.commands import keys
from scorewire_server.access.editing import read_access_file
from scorewire_server.engine.access import Right
from tests.scorewire_server.access.issuing import grant_of_key

KEY = re.compile(r"scorewire_[0-9a-f]{8}_[0-9a-f]{64}\n")
COMMENTED = """\
# The shop's own.
[principals.shop]     # since March
predict = [
    "repurchase",  # the first one
    "game-*",
]
calls_per_second = 1_000

[[principals.shop.keys]]
id = "00000001"       # of Anna
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"

# Nobody else.
[principals.admin]
control = ["*"]

[open]
metrics = true  # for Prometheus
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "access.toml"


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(keys, [str(argument) for argument in arguments])


def _new(path: Path, *arguments: str) -> str:
    """A new key; checks what is printed where."""
    result = _run("new", *arguments, "--access", path)
    assert result.exit_code == 0, result.output
    assert KEY.fullmatch(result.stdout)
    key = result.stdout.strip()
    assert key.split("_")[2] not in result.stderr
    assert f"Key {key.split('_')[1]} of {arguments[0]} " in result.stderr
    return key


def _read(path: Path) -> AccessFile:
    return read_access_file(path)


def test_the_first_key_makes_the_file_and_the_principal(path: Path) -> None:
    key = _new(path, "shop", "--predict", "repurchase", "--predict", "game-*", "--observe", "*")
    file = _read(path)
    grant = grant_of_key(file.table, key.encode())
    assert grant is not None
    assert grant.expires is None
    assert grant.principal.name == "shop"
    assert grant.principal.rights == {
        Right.PREDICT: Patterns(frozenset({"repurchase"}), ("game-",)),
        Right.OBSERVE: Patterns(frozenset(), ("",)),
        Right.CONTROL: Patterns(),
    }
    assert list(file.key_ids) == [key.split("_")[1]]
    assert key.split("_")[2] not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) & 0o027 == 0


def test_a_further_key_is_valid_beside_the_first_one(path: Path) -> None:
    first = _new(path, "shop", "--predict", "*")
    second = _new(path, "shop", "--expires-days", "3")
    table = _read(path).table
    assert first != second
    for key in (first, second):
        grant = grant_of_key(table, key.encode())
        assert grant is not None
        assert grant.principal is table.principals["shop"]
    result = _run("remove", first.split("_")[1], "--access", path)
    assert result.exit_code == 0
    assert (result.stdout, result.stderr) == ("", f"Key {first.split('_')[1]} of shop is removed.\n")
    table = _read(path).table
    assert grant_of_key(table, first.encode()) is None
    assert grant_of_key(table, second.encode()) is not None
    assert _run("remove", second.split("_")[1], "--access", path).exit_code == 0
    # The principal stays, and may get a key again.
    assert grant_of_key(_read(path).table, second.encode()) is None
    third = _new(path, "shop")
    assert grant_of_key(_read(path).table, third.encode()) is not None


def test_comments_and_form_stay(path: Path) -> None:
    path.write_text(COMMENTED)
    path.chmod(0o604)
    _new(path, "shop")
    _new(path, "admin")
    _new(path, "new", "--predict", "*")
    text = path.read_text()
    for line in COMMENTED.splitlines():
        assert line in text
    assert text.index("of Anna") < text.index("Nobody else")
    assert stat.S_IMODE(path.stat().st_mode) == 0o604
    for key_id in _read(path).key_ids:
        assert _run("remove", key_id, "--access", path).exit_code == 0
    assert "# since March" in path.read_text()
    assert _read(path).open.metrics
    assert not _read(path).key_ids


def test_the_list_has_all_keys_and_no_hash(path: Path) -> None:
    path.write_text(COMMENTED)
    key = _new(path, "new", "--predict", "*", "--expires-days", "1")
    path.write_text(
        path.read_text()
        + '[[principals.admin.keys]]\nid = "00000002"\nsha256 = "'
        + "1" * 64
        + '"\nexpires = 2020-01-01T00:00:00Z\n'
    )
    result = _run("list", "--access", path)
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["PRINCIPAL", "ID", "EXPIRES"]
    assert ["shop", "00000001", "never"] in lines
    assert ["admin", "00000002", "2020-01-01T00:00:00Z", "(expired)"] in lines
    (new,) = [line for line in lines if line[0] == "new"]
    assert new[1] == key.split("_")[1]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", new[2])
    assert "0" * 20 not in result.stdout


def test_an_empty_list_says_how_to_go_on(path: Path) -> None:
    path.write_text("")
    result = _run("list", "--access", path)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "`scorewire keys new` makes one" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["new", "shop", "--predict", "*"], "shop exists, and its rights are in"),
        (["new", "other"], "other is new, so say what it may do, such as --predict '*'"),
        (["new", "Other", "--predict", "*"], "NAME 'Other' must be 1 to 63"),
        (["new", "other", "--predict", "A b"], "nothing was changed.*predict has 'A b'; it must be the name"),
        (["new", "other", "--predict", "*", "--expires-days", "0"], "0 is not in the range"),
        (["remove", "ffffffff"], "has no key ffffffff; `scorewire keys list` shows its keys"),
        (["remove", "scorewire_00000001_" + "5e" * 32], "give the id of the key only, which is 00000001"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(
    path: Path, arguments: list[str], reason: str
) -> None:
    path.write_text(COMMENTED)
    result = _run(*arguments, "--access", path)
    assert result.exit_code != 0
    assert result.stdout == ""
    assert re.search(reason, result.stderr, re.DOTALL), result.stderr
    assert "5e5e" not in result.output
    assert path.read_text() == COMMENTED


@pytest.mark.parametrize("command", [["new", "shop", "--predict", "*"], ["list"], ["remove", "00000001"]])
def test_a_file_that_the_server_refuses_is_not_touched(path: Path, command: list[str]) -> None:
    for text in ("[", "[principals.shop]\npredcit = []"):
        path.write_text(text)
        result = _run(*command, "--access", path)
        assert result.exit_code == 1
        assert str(path) in result.stderr
        assert path.read_text() == text


@pytest.mark.parametrize(
    "text",
    [
        'principals = { shop = { predict = ["*"] } }\n',
        'principals.shop = { predict = ["*"], keys = [] }\n',
        '[principals]\nshop.predict = ["*"]\n',
        'principals.shop.predict = ["*"]',
        '[principals.shop]\npredict = ["*"]\n[open]\n[principals.other]\npredict = ["*"]\n',
        '[open]\n[[principals.shop.keys]]\nid = "00000001"\nsha256 = "' + "0" * 64 + '"\n[failures]\n',
        '\ufeff[principals.shop]\r\npredict = ["*"]\r\n',
    ],
)
def test_unusual_forms_are_changed_rightly_or_not_at_all(path: Path, text: str) -> None:
    path.write_text(text, newline="")
    known = "\ufeff" not in text
    result = _run("new", "shop", "--access", path)
    if result.exit_code == 0:
        table = _read(path).table
        assert grant_of_key(table, result.stdout.strip().encode()) is not None
    else:
        assert result.stdout == ""
        assert path.read_bytes() == text.encode()
        if known:
            assert "[principals.NAME]" in result.stderr or "nothing was changed" in result.stderr


def test_two_writers_at_once_both_succeed(path: Path) -> None:
    _new(path, "shop", "--predict", "*")
    code = "from scorewire_contract.cli import main; main()"

    def run(_: int) -> str:
        command = [sys.executable, "-c", code, "keys", "new", "shop", "--access", str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(run, range(8)))
    table = _read(path).table
    assert len(table.keys) == 9
    assert all(grant_of_key(table, key.encode()) is not None for key in made)


def test_a_writer_that_never_ends_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(editing, "_LOCK_SECONDS", 0)
    lock = FileLock(path.with_name(".access.toml.lock"))
    result = _run("new", "shop", "--predict", "*", "--access", path)
    lock.release()
    assert result.exit_code == 1
    assert f"process {os.getpid()} changes the file, too" in result.stderr
    assert not path.exists()


def test_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "folder" / "real.toml"
    target.parent.mkdir()
    path.symlink_to(target)
    key = _new(path, "shop", "--predict", "*")
    assert path.is_symlink()
    assert grant_of_key(_read(target).table, key.encode()) is not None


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    result = _run("new", "shop", "--predict", "*", "--access", tmp_path / "none" / "access.toml")
    assert result.exit_code == 1
    assert "cannot be changed: No such file or directory" in result.stderr


def test_what_a_crash_left_behind_is_in_nobodys_way(path: Path) -> None:
    path.with_name(".access.toml.tmp").write_text("half")
    _new(path, "shop", "--predict", "*")
    assert not path.with_name(".access.toml.tmp").exists()


def test_help_teaches_how_a_key_is_used_and_replaced() -> None:
    text = " ".join(_run("--help").output.split())
    for part in (
        "scorewire keys new shop --access access.toml --predict '*' > shop.key",
        "scorewire serve --access access.toml",
        "scorewire keys remove",
    ):
        assert part in text
    text = " ".join(_run("new", "--help").output.split())
    assert "alone on the standard output" in text
    assert "--expires-days" in text
