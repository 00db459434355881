from __future__ import annotations

import json
import subprocess
import sys

import pytest

from scorewire_training.cli import progress
from scorewire_training.cli.progress import Stage, show_stages

SENTENCES = [
    "Reading [the rows]",
    "Scoring rows (0 of 4,000)",
    "Scoring rows (2,000 of 4,000)",
    "Tuning trees: trial 1 of 3",
    "Tuning trees: trial 2 of 3",
    "Reading [the rows]",
]


def _tell() -> None:
    with show_stages() as report_stage:
        for sentence in SENTENCES:
            report_stage(sentence)


def test_stages_are_lines_where_no_terminal_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress.time, "monotonic", lambda: 100.0)
    _tell()
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [f"{SENTENCES[i]} ..." for i in (0, 1, 3, 5)]


def test_a_stage_that_takes_long_is_told_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(range(100, 200, 6))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(times)))
    _tell()
    assert capsys.readouterr().err.splitlines() == [f"{sentence} ..." for sentence in SENTENCES]


def test_a_terminal_has_one_line_with_a_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with show_stages() as report_stage:
        report_stage("Scoring rows (2,000 of 4,000)")
    told = capsys.readouterr()
    assert told.out == ""
    assert "Scoring rows (2,000 of 4,000)" in told.err
    assert "━" in told.err


@pytest.mark.parametrize("terminal", [False, True])
def test_lines_that_stay_are_shown_among_the_stages(
    terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm")
    with show_stages() as stages:
        stages("Reading the rows")
        stages.say(["times: [ISO 8601]", "period: " + "a long text " * 20])
        stages("Scoring rows (2,000 of 4,000)")
    told = capsys.readouterr()
    assert told.out == ""
    for line in ("times: [ISO 8601]\n", "period: " + "a long text " * 20):
        assert told.err.count(line) == 1


def test_the_progress_at_the_end_of_a_sentence_is_read() -> None:
    assert [Stage.read(sentence) for sentence in SENTENCES[:2]] == [
        Stage("Reading [the rows]", "Reading [the rows]"),
        Stage("Scoring rows (0 of 4,000)", "Scoring rows", 0, 4_000),
    ]
    # A step in progress is not done yet.
    assert Stage.read("Tuning trees: trial 2 of 3") == Stage(
        "Tuning trees: trial 2 of 3", "Tuning trees: trial", 1, 3
    )


def test_programs_get_lines_of_json_and_nothing_that_libraries_print() -> None:
    script = (
        "import os, sys\n"
        "from scorewire_training.cli.progress import render_event, show_stages\n"
        "from scorewire_training.tables.notes import TableNote\n"
        "with show_stages(as_json=True) as stages:\n"
        "    stages('Tuning trees: trial 2 of 3')\n"
        "    os.write(1, b'from a library in C\\n')\n"
        "    print('from a library')\n"
        "    stages.show_notes([TableNote('times', 'ISO 8601', \"like '2020-01-01 ü'\")])\n"
        "print(render_event('result', {'rows': 3}))\n"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert [json.loads(line) for line in told.stdout.decode().splitlines()] == [
        {
            "event": "stage",
            "sentence": "Tuning trees: trial 2 of 3",
            "name": "Tuning trees: trial",
            "done": 1,
            "total": 3,
        },
        {
            "event": "table",
            "notes": [{"subject": "times", "text": "ISO 8601", "values": "like '2020-01-01 ü'"}],
        },
        {"event": "result", "rows": 3},
    ]
    assert sorted(told.stderr.decode().splitlines()) == ["from a library", "from a library in C"]
