"""The version policy: which versions of a model are loaded unless operators say otherwise."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from scorewire_contract.schema import InvalidNameError, Version, check_model_name

DESCRIPTION = "all, latest:N or specific:VERSION,VERSION; for one model NAME=...; several parted by ;"
_LATEST = re.compile(r"latest:([1-9][0-9]{0,5})")


@dataclass(frozen=True, slots=True)
class Rule:
    """The highest `latest` releases, or the versions in `named`, or all versions where both are None."""

    latest: int | None = None
    named: frozenset[str] | None = None

    def select(self, versions: Iterable[str]) -> set[str]:
        """The versions that are to be loaded; `latest` counts releases only, no pre-releases."""
        if self.named is not None:
            return set(versions) & self.named
        if self.latest is None:
            return set(versions)
        releases = sorted((v for v in map(_parsed, versions) if v and not v.is_prerelease), reverse=True)
        return {version.text for version in releases[: self.latest]}


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """A rule for each model in `models`, and the `default` rule for all other models."""

    default: Rule = Rule()
    models: dict[str, Rule] = field(default_factory=dict)

    def select(self, model: str, versions: Iterable[str]) -> set[str]:
        """The versions of a model that are to be loaded."""
        return self.models.get(model, self.default).select(versions)


def parse_version_policy(text: str) -> VersionPolicy:
    """Read a policy like "latest:2; repurchase=all; game=specific:1.0.0,1.1.0".

    Raises:
        ValueError: the text is not a policy.
    """
    default, models = Rule(), {}
    for part in text.split(";"):
        name, equals, rule = part.strip().rpartition("=")
        if equals:
            models[check_model_name(name.strip())] = _rule(rule.strip())
        else:
            default = _rule(rule)
    return VersionPolicy(default, models)


def _rule(text: str) -> Rule:
    if text == "all":
        return Rule()
    if match := _LATEST.fullmatch(text):
        return Rule(latest=int(match[1]))
    kind, _, versions = text.partition(":")
    if kind != "specific" or not versions:
        raise ValueError(text)
    return Rule(named=frozenset(Version(version.strip()).text for version in versions.split(",")))


def _parsed(version: str) -> Version | None:
    try:
        return Version(version)
    except InvalidNameError:
        return None
