"""Tells from the states of versions whether a model serves."""

from __future__ import annotations

from collections.abc import Sequence

from scorewire._codec import Route
from scorewire._errors import FailedPreconditionError
from scorewire._models import ModelStatus, VersionState, VersionStatus
from scorewire_contract.spelling import suggestion

# The most versions that a message names.
_SHOWN = 5


def unreadiness(models: Sequence[ModelStatus], route: Route) -> str:
    """Why a model or one of its versions does not serve yet, for people; "" if it serves.

    Args:
        models: all models of a server.
        route: the model, and a version or an alias, or "" for the model's default.

    Raises:
        FailedPreconditionError: it will not serve, because bundles were refused.
    """
    status = next((each for each in models if each.name == route.model), None)
    if status is None:
        hint = suggestion(route.model, [each.name for each in models])
        return f"the server has no model {route.model!r}{hint}"
    if route.version:
        named = status.routing.aliases.get(route.version, route.version)
        versions = [each for each in status.versions if each.version == named]
        is_serving = any(each.state is VersionState.SERVING for each in versions)
    else:
        versions = list(status.versions)
        is_serving = bool(status.default_version)
    if is_serving:
        return ""
    if not versions:
        what = f"version or alias {route.version!r}" if route.version else "version"
        return f"model {route.model!r} has no {what}"
    states = {each.state for each in versions}
    refused = next((each for each in versions if each.state is VersionState.REFUSED), None)
    if refused is not None and states <= {VersionState.REFUSED, VersionState.UNLOADED}:
        raise FailedPreconditionError(
            f"{route.model} {refused.version} is refused: {refused.reason}", reason="BUNDLE_REFUSED"
        )
    return ", ".join(f"{route.model} {each.version} is {_state(each)}" for each in versions[:_SHOWN])


def _state(version: VersionStatus) -> str:
    reason = f" ({version.reason})" if version.reason else ""
    return f"{version.state.name}{reason}"
