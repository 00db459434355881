"""What operators may set for a model, whatever serves now."""

from __future__ import annotations

from collections.abc import Sequence

from scorewire_contract.schema import InvalidNameError, check_model_name
from scorewire_server.engine.snapshot import LoadedVersion, Routing
from scorewire_server.errors import InvalidRequestError, SchemaMismatchError, Violation, clip

MAX_WEIGHT = 1_000_000
MAX_TARGETS = 16


def check_alias(alias: str) -> None:
    """Check that a text may be an alias.

    Raises:
        InvalidRequestError: it may not.
    """
    try:
        check_model_name(alias, what="alias")
    except InvalidNameError as error:
        raise invalid("alias", str(error)) from None


def check_split(weights: Sequence[tuple[str, int]]) -> None:
    """Check the weights of a split; none is a split, too.

    Raises:
        InvalidRequestError: a version stands there twice, or a weight is out of range.
    """
    if len(weights) > MAX_TARGETS:
        raise invalid("split", f"{len(weights)} versions are more than {MAX_TARGETS}")
    if len({version for version, _ in weights}) < len(weights):
        raise invalid("split", "a version stands there twice")
    if weights and not any(weight for _, weight in weights):
        raise invalid("split", "every weight is 0; one at least is 1 or more")
    if any(weight > MAX_WEIGHT for _, weight in weights):
        raise invalid("split", f"a weight is more than {MAX_WEIGHT}")


def check_share(share: float) -> None:
    """Check the share of the calls that are copied.

    Raises:
        InvalidRequestError: it is out of range.
    """
    if not 0 < share <= 1:
        raise invalid("shadow.share", f"{share} is not above 0 and up to 1")


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


def invalid(path: str, description: str) -> InvalidRequestError:
    """The refusal of a field."""
    return InvalidRequestError(f"{path}: {description}", violations=[Violation(path, description)])
