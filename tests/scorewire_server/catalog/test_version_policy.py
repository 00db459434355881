from __future__ import annotations

import pytest

from scorewire_server.catalog.version_policy import parse_version_policy

VERSIONS = ["1.2.0", "1.10.0", "2.0.0-rc.1", "1.0.0", "scratch"]


@pytest.mark.parametrize(
    ("policy", "selected"),
    [
        ("all", set(VERSIONS)),
        ("latest:1", {"1.10.0"}),
        ("latest:2", {"1.10.0", "1.2.0"}),
        ("latest:9", {"1.10.0", "1.2.0", "1.0.0"}),
        ("specific:1.0.0,2.0.0-rc.1,7.0.0", {"1.0.0", "2.0.0-rc.1"}),
    ],
)
def test_a_policy_selects_by_semantic_order(policy: str, selected: set[str]) -> None:
    assert parse_version_policy(policy).select("sum", VERSIONS) == selected


def test_a_model_may_have_a_rule_of_its_own() -> None:
    policy = parse_version_policy("latest:1; sum=all; game=specific:1.0.0")
    assert policy.select("sum", VERSIONS) == set(VERSIONS)
    assert policy.select("game", VERSIONS) == {"1.0.0"}
    assert policy.select("other", VERSIONS) == {"1.10.0"}


@pytest.mark.parametrize(
    "text", ["", "some", "latest", "latest:0", "latest:x", "specific:", "specific:one", "UP=all", "sum=", ";"]
)
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message is the option's
        parse_version_policy(text)
