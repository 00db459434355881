"""What operators may set for a model, whatever serves now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from scorewire_contract.schema import InvalidNameError, check_model_name
from scorewire_server.engine.snapshot import LoadedVersion, Routing, Snapshot
from scorewire_server.errors import (
    SchemaMismatchError,
    VersionNotFoundError,
    clip,
    invalid_field,
)
from scorewire_server.logs import logger

MAX_WEIGHT = 1_000_000
MAX_TARGETS = 16
MAX_ALIASES = 256


def check_alias(alias: str) -> None:
    """Check that a text may be an alias.

    Raises:
        InvalidRequestError: it may not.
    """
    try:
        check_model_name(alias, what="alias")
    except InvalidNameError as error:
        raise invalid_field("alias", str(error)) from None


def with_alias(routing: Routing, alias: str, version: str) -> Routing:
    """The routing with an alias.

    Raises:
        InvalidRequestError: the model has as many aliases as it may.
    """
    aliases = {**routing.aliases, alias: version}
    if len(aliases) > max(MAX_ALIASES, len(routing.aliases)):
        raise invalid_field(
            "alias", f"the model has {len(routing.aliases)} aliases and may have no more; delete one"
        )
    return replace(routing, aliases=aliases)


def without_alias(routing: Routing, alias: str, model: str) -> Routing:
    """The routing of a model without an alias.

    Raises:
        VersionNotFoundError: it has none of that name.
    """
    if alias not in routing.aliases:
        raise VersionNotFoundError(
            f"model {clip(model)!r} has no alias {clip(alias)!r}", model=model, alias=alias
        )
    return replace(routing, aliases={name: v for name, v in routing.aliases.items() if name != alias})


def log_warnings(before: Snapshot, after: Snapshot) -> None:
    """Log what of the routing is no longer in force."""
    for name, model in after.models.items():
        warning, former = model.warning, before.models.get(name)
        if warning and (former is None or former.warning != warning):
            logger().warning("routing not in force", model=name, reason=warning)


def check_split(weights: Sequence[tuple[str, int]]) -> None:
    """Check the weights of a split; none is a split, too.

    Raises:
        InvalidRequestError: a version stands there twice, or a weight is out of range.
    """
    if len(weights) > MAX_TARGETS:
        raise invalid_field("split", f"{len(weights)} versions are more than {MAX_TARGETS}")
    if len({version for version, _ in weights}) < len(weights):
        raise invalid_field("split", "a version stands there twice")
    if weights and not any(weight for _, weight in weights):
        raise invalid_field("split", "every weight is 0; one at least is 1 or more")
    if any(weight > MAX_WEIGHT for _, weight in weights):
        raise invalid_field("split", f"a weight is more than {MAX_WEIGHT}")


def check_share(share: float) -> None:
    """Check the share of the calls that are copied.

    Raises:
        InvalidRequestError: it is out of range.
    """
    if not 0 < share <= 1:
        raise invalid_field("shadow.share", f"{share} is not above 0 and up to 1")


def check_one_schema(model: str, versions: Sequence[LoadedVersion]) -> None:
    """Check that versions take the same rows.

    Raises:
        SchemaMismatchError: they do not.
    """
    if len({version.fingerprint for version in versions}) > 1:
        told = ", ".join(f"{version.version} {version.fingerprint}" for version in versions)
        raise SchemaMismatchError(
            f"these versions of model {clip(model)!r} do not take the same rows: {told}", model=model
        )


def needed(before: Routing, now: Routing) -> set[str]:
    """The versions without which a routing that comes back would leave callers worse off than now."""
    answering = {version for version, weight in before.split if weight}
    return answering | (set(before.aliases.values()) - set(now.aliases.values()))
