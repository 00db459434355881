"""Checks of what operators set for a model: aliases, split, shadow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from scorewire_contract.schema import InvalidNameError, check_model_name
from scorewire_contract.service.logs import logger
from scorewire_server.engine.snapshot import LoadedVersion, Routing, Snapshot
from scorewire_server.errors import (
    SchemaMismatchError,
    VersionNotFoundError,
    clip,
    invalid_field,
)

MAX_WEIGHT = 1_000_000
MAX_TARGETS = 16
MAX_ALIASES = 256


def check_alias(alias: str) -> None:
    """Check that a text is a valid alias.

    Raises:
        InvalidRequestError: the text is not a valid name.
    """
    try:
        check_model_name(alias, what="alias")
    except InvalidNameError as error:
        raise invalid_field("alias", str(error)) from None


def with_alias(routing: Routing, alias: str, version: str) -> Routing:
    """The routing with one alias added or moved.

    Raises:
        InvalidRequestError: the model would have more than `MAX_ALIASES` aliases.
    """
    aliases = {**routing.aliases, alias: version}
    if len(aliases) > max(MAX_ALIASES, len(routing.aliases)):
        raise invalid_field(
            "alias", f"the model has {len(routing.aliases)} aliases, the most that it may have; delete one"
        )
    return replace(routing, aliases=aliases)


def without_alias(routing: Routing, alias: str, model: str) -> Routing:
    """The routing with one alias removed.

    Raises:
        VersionNotFoundError: the model has no such alias.
    """
    if alias not in routing.aliases:
        raise VersionNotFoundError(
            f"model {clip(model)!r} has no alias {clip(alias)!r}", model=model, alias=alias
        )
    return replace(routing, aliases={name: v for name, v in routing.aliases.items() if name != alias})


def log_warnings(before: Snapshot, after: Snapshot) -> None:
    """Log each model whose routing is not in force, if its warning is new."""
    for name, model in after.models.items():
        warning, former = model.warning, before.models.get(name)
        if warning and (former is None or former.warning != warning):
            logger().warning("routing not in force", model=name, reason=warning)


def check_split(weights: Sequence[tuple[str, int]]) -> None:
    """Check the versions and weights of a split; an empty split is valid.

    Raises:
        InvalidRequestError: there are more than `MAX_TARGETS` versions, a version is named twice,
            a weight is out of range, or every weight is 0.
    """
    if len(weights) > MAX_TARGETS:
        raise invalid_field("split", f"{len(weights)} versions are more than the limit of {MAX_TARGETS}")
    if len({version for version, _ in weights}) < len(weights):
        raise invalid_field("split", "a version is named twice")
    if weights and not any(weight for _, weight in weights):
        raise invalid_field("split", "every weight is 0; at least one must be 1 or more")
    if any(weight > MAX_WEIGHT for _, weight in weights):
        raise invalid_field("split", f"a weight is more than {MAX_WEIGHT}")


def check_share(share: float) -> None:
    """Check the share of the calls that are copied.

    Raises:
        InvalidRequestError: the share is not above 0 and up to 1.
    """
    if not 0 < share <= 1:
        raise invalid_field("shadow.share", f"{share} is not above 0 and up to 1")


def check_one_schema(model: str, versions: Sequence[LoadedVersion]) -> None:
    """Check that versions take the same rows.

    Raises:
        SchemaMismatchError: their schemas differ.
    """
    if len({version.fingerprint for version in versions}) > 1:
        fingerprints = ", ".join(f"{version.version} {version.fingerprint}" for version in versions)
        raise SchemaMismatchError(
            f"these versions of model {clip(model)!r} do not take the same rows: {fingerprints}", model=model
        )


def needed(before: Routing, now: Routing) -> set[str]:
    """The versions that must serve before a routing is brought back.

    These are the versions that answer calls by their weight, and those of aliases that
    do not exist now.
    """
    answering = {version for version, weight in before.split if weight}
    return answering | (set(before.aliases.values()) - set(now.aliases.values()))
