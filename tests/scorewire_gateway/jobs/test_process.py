"""The process of a job: what it gets, and what its words tell."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import uvloop
from scorewire_gateway.jobs.process import TrainingProcess, child_environment, without_folders
from scorewire_gateway.settings import library_variables

from tests.processes import TIMEOUT_SECONDS, wait_until


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/srv/jobs/1/files/shop.csv cannot be read", "shop.csv cannot be read"),
        ('File "/usr/lib/python3/site-packages/pandas/core/frame.py", line 3', 'File "frame.py", line 3'),
        ("at '/a/b/' and /c/d.txt", "at '' and d.txt"),
        ("see https://scikit-learn.org/stable/modules/cross.html", None),
        ("format %d/%m/%Y of 03/04/2011", None),
        ("1/2 of the rows", None),
        ("shop.csv has no rows", None),
    ],
)
def test_words_tell_no_folders(text: str, shown: str | None) -> None:
    assert without_folders(text) == (text if shown is None else shown)


def test_secrets_of_the_gateway_are_not_in_the_environment_of_a_job(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SCOREWIRE_GATEWAY_TOKEN", "secret")
    monkeypatch.setenv("PGPASSWORD", "secret")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    environment = child_environment(library_variables(), home=tmp_path, temporary=tmp_path / "work")
    assert "secret" not in environment.values()
    assert "PYTHONPATH" not in environment
    assert environment["HOME"] == str(tmp_path)
    assert environment["TMPDIR"] == str(tmp_path / "work")


def _become(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "scorewire_gateway.jobs.child", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_job_whose_gateway_has_ended_does_not_begin() -> None:
    told = _become("1", "0", str(1 << 30), str(1 << 30), sys.executable, "-c", "print('began')")
    assert (told.returncode, told.stdout, told.stderr) == (1, "", "the gateway has ended\n")


def test_the_limits_are_those_of_the_command() -> None:
    script = (
        "import os, resource, signal, ctypes\n"
        "found = ctypes.c_int()\n"
        "ctypes.CDLL(None).prctl(2, ctypes.byref(found))\n"
        "limits = [resource.RLIMIT_DATA, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE]\n"
        "print(os.nice(0), *map(resource.getrlimit, limits), found.value == signal.SIGKILL, os.umask(0))\n"
        "bytearray(1 << 30)\n"
    )
    # A shell is the parent, as it would be the gateway.
    told = subprocess.run(
        [
            *("/bin/sh", "-c", '"$0" -P -m scorewire_gateway.jobs.child $$ "$@"; exit $?'),
            *(sys.executable, "3", str(512 << 20), "4096", sys.executable, "-c", script),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.stdout.split("\n")[0] == (
        f"{os.nice(0) + 3} ({512 << 20}, {512 << 20}) (4096, 4096) (0, 0) True 63"
    ), told.stderr
    assert told.returncode == 1
    assert "MemoryError" in told.stderr


@pytest.mark.parametrize(
    "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def test_what_a_process_leaves_behind_ends_with_it(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    texts: list[str] = []

    async def follow() -> int:
        # The process that is left has the pipes open, and would keep them open for an hour.
        process = await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", "sleep 3600 & echo $! >&2; exit 3"),
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,
        )
        return await TrainingProcess(process).follow(lambda _: None, texts.append)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(asyncio.wait_for(follow(), TIMEOUT_SECONDS)) == 3
    (left,) = map(int, texts)
    wait_until(lambda: _has_ended(left), "the end of the process that was left")


def _has_ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
