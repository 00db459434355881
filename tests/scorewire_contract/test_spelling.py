from __future__ import annotations

import pytest

from scorewire_contract.spelling import meant, suggestion

NAMES = ["country", "age", "signup_date", "n1", "Plan"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("contry", "country"),
        ("COUNTRY", "country"),
        ("N1", "n1"),
        ("plan", "Plan"),
        ("signupdate", "signup_date"),
    ],
)
def test_a_misspelt_name_is_recognized(name: str, expected: str) -> None:
    assert meant(name, NAMES) == expected


@pytest.mark.parametrize("name", ["", "zzz", "signed_up", "currency", "agent_id", "n", "päge", "x" * 1000])
def test_nonsense_has_no_suggestion(name: str) -> None:
    assert meant(name, NAMES) is None


def test_of_two_names_that_differ_in_case_the_first_is_meant() -> None:
    assert meant("Ages", ["Age", "age"]) == "Age"


def test_a_suggestion_ends_an_error_message() -> None:
    assert (
        f"no feature 'contry'{suggestion('contry', NAMES)}" == "no feature 'contry'; did you mean 'country'?"
    )
    assert suggestion("zzz", NAMES) == ""
