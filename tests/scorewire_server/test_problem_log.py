"""A problem is logged once a minute at most, and its end once."""

from __future__ import annotations

from structlog.testing import capture_logs

from scorewire_server.problem_log import SECONDS_BETWEEN_LINES, ProblemLog

WRONG, OVER = "predictions are not recorded as they should be", "predictions are recorded again"


def test_a_line_a_minute_while_it_lasts_and_one_when_it_is_over() -> None:
    now = 0.0
    log = ProblemLog(WRONG, OVER, lambda: now)
    with capture_logs() as lines:
        for problem, second in [("", 0), ("a", 1), ("b", 2), ("b", 60), ("b", 61), ("", 62), ("", 63)]:
            now = second
            log.note(problem, pending=second)
    told = [(line["event"], line.get("problem"), line["pending"]) for line in lines]
    assert told == [(WRONG, "a", 1), (WRONG, "b", 61), (OVER, None, 62)]
    assert [line["log_level"] for line in lines] == ["error", "error", "info"]


def test_a_problem_that_comes_and_goes_makes_two_lines_a_minute() -> None:
    now = 0.0
    log = ProblemLog(WRONG, OVER, lambda: now)
    with capture_logs() as lines:
        for second in range(int(SECONDS_BETWEEN_LINES)):
            now = second
            log.note("a" if second % 2 else "")
    assert [line["event"] for line in lines] == [WRONG, OVER]
