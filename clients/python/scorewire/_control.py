"""The methods of the clients that call ModelService: loading, routing and statistics."""

# ruff: noqa: ASYNC109 - these timeouts are deadlines that are sent to the server

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from google.protobuf.message import Message

from scorewire import _methods as methods
from scorewire._base_client import ClientBase
from scorewire._errors import InvalidArgumentError
from scorewire._flows import Flow
from scorewire._ledger import RecordLedger
from scorewire._metadata import Metadata
from scorewire._models import ModelStatus, ServerInfo
from scorewire._statistics import RouteStatistics

# In seconds. The server reads and audits the bundle, and scores its golden rows, before it answers.
LOAD_TIMEOUT = 120.0

_T = TypeVar("_T")


class Control(ClientBase):
    """The ModelService methods of `Client`.

    When a method that changes something returns, the change is in force and
    stored for the server's next start. A method that fails changes nothing. Each
    returns the model's status after the change.
    """

    def load_version(
        self,
        model: str,
        version: str,
        *,
        timeout: float | None = LOAD_TIMEOUT,
        metadata: Metadata | None = None,
    ) -> ModelStatus:
        """Load a version from the repository, even one that the server's version policy leaves out.

        Raises:
            NotFoundError: the repository has no such version.
            FailedPreconditionError: the bundle is refused; the message says why.
            ScorewireError: the call failed; the subclass tells the gRPC code.
        """
        return self._change(_version(methods.LOAD_VERSION, model, version), timeout, metadata)

    def unload_version(
        self, model: str, version: str, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> ModelStatus:
        """Take a version out of service.

        Raises:
            FailedPreconditionError: an alias, the split or the shadow names the version.
            ScorewireError: the call failed; the subclass tells the gRPC code.
        """
        return self._change(_version(methods.UNLOAD_VERSION, model, version), timeout, metadata)

    def set_alias(
        self,
        model: str,
        alias: str,
        version: str,
        *,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> ModelStatus:
        """Point an alias, such as "stable", at a version that serves.

        Raises:
            FailedPreconditionError: the version does not serve.
            ScorewireError: the call failed; the subclass tells the gRPC code.
        """
        return self._change(_set_alias(model, alias, version), timeout, metadata)

    def delete_alias(
        self, model: str, alias: str, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> ModelStatus:
        """Remove an alias.

        Raises:
            ScorewireError: the call failed; the subclass tells the gRPC code.
        """
        return self._change(_delete_alias(model, alias), timeout, metadata)

    def set_split(
        self,
        model: str,
        weights: Mapping[str, int],
        *,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> ModelStatus:
        """Split the calls that name no version over several versions, by weight.

        Calls with the same routing key get the same version. A change of weights
        moves as few keys as possible.

        Args:
            model: the model's name.
            weights: weights by version, such as `{"1.0.0": 90, "1.1.0": 10}`; empty
                to remove the split, so that the highest release answers.
            timeout: seconds; None for the client's timeout.
            metadata: sent with each call; see `scorewire.Metadata`.

        Raises:
            FailedPreconditionError: a version does not serve, or two versions take different rows.
            ScorewireError: the call failed; the subclass tells the gRPC code.
        """
        return self._change(_set_split(model, weights), timeout, metadata)

    def set_shadow(
        self,
        model: str,
        version: str | None,
        share: float = 1.0,
        *,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> ModelStatus:
        """Copy a share of the calls that name no version to a shadow version; None removes the shadow.

        Callers never get the shadow's responses; `statistics` counts them.

        Args:
            model: the model's name.
            version: the version that gets the copies, or None.
            share: share of the calls to copy, above 0 and at most 1.
            timeout: seconds; None for the client's timeout.
            metadata: sent with each call; see `scorewire.Metadata`.

        Raises:
            FailedPreconditionError: the version does not serve, or takes different rows.
            ScorewireError: the call failed; the subclass tells the gRPC code.
        """
        return self._change(_set_shadow(model, version, share), timeout, metadata)

    def roll_back(
        self, model: str, *, timeout: float | None = LOAD_TIMEOUT, metadata: Metadata | None = None
    ) -> ModelStatus:
        """Undo the last change of the model's routing.

        A new release that became the default by itself counts as a change. Undoing
        it pins the default to the version before: newer releases do not answer
        calls that name no version, until `set_split(model, {})` unpins it. The
        status tells so in `pinned_version`.

        Raises:
            FailedPreconditionError: no change is left to undo, or a version that answered before it
                cannot serve.
            ScorewireError: the call failed; the subclass tells the gRPC code.
        """
        return self._change(_roll_back(model), timeout, metadata)

    def statistics(
        self, model: str = "", *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> list[RouteStatistics]:
        """Get the statistics of each loaded version by route, of one model or of all (`model=""`).

        Raises:
            ScorewireError: the call failed; the subclass tells the gRPC code.
        """
        return self._run(self._flows.statistics(model, timeout), metadata)

    def record_ledger(
        self, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> RecordLedger | None:
        """Get what became of the rows that the server was to record; None if it keeps no records.

        Raises:
            ScorewireError: the call failed; the subclass tells the gRPC code.
        """
        return self._run(self._flows.record_ledger(timeout), metadata)

    def server(self, *, timeout: float | None = None, metadata: Metadata | None = None) -> ServerInfo:
        """Get the server's version, engine and start time.

        Raises:
            ScorewireError: the call failed; the subclass tells the gRPC code.
        """
        return self._run(self._flows.server(timeout), metadata)

    def open_inference(
        self, request: Message, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> Any:
        """Call a method of the Open Inference Protocol with its own message.

        Args:
            request: a message of `scorewire_proto.inference.inference_pb2`, such as
                `ModelInferRequest`; its class tells the method.
            timeout: seconds; None for the client's timeout.
            metadata: sent with the call; see `scorewire.Metadata`.

        Returns:
            The method's response, such as a `ModelInferResponse`.

        Raises:
            TypeError: no method takes this message, or the method changes something.
            ScorewireError: the call failed; the subclass tells the gRPC code.
        """
        return self._run(self._flows.open_inference(request, timeout), metadata)

    def _change(self, change: _Change, timeout: float | None, metadata: Metadata | None) -> ModelStatus:
        return self._run(self._flows.change(*change, timeout), metadata)

    def _run(self, flow: Flow[_T], metadata: Metadata | None = None) -> _T:
        """Make the calls of a flow, and return its result."""
        raise NotImplementedError


class AsyncControl(ClientBase):
    """The ModelService methods of `AsyncClient`; see `Control`."""

    async def load_version(
        self,
        model: str,
        version: str,
        *,
        timeout: float | None = LOAD_TIMEOUT,
        metadata: Metadata | None = None,
    ) -> ModelStatus:
        """As `Client.load_version`."""
        return await self._change(_version(methods.LOAD_VERSION, model, version), timeout, metadata)

    async def unload_version(
        self, model: str, version: str, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> ModelStatus:
        """As `Client.unload_version`."""
        return await self._change(_version(methods.UNLOAD_VERSION, model, version), timeout, metadata)

    async def set_alias(
        self,
        model: str,
        alias: str,
        version: str,
        *,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> ModelStatus:
        """As `Client.set_alias`."""
        return await self._change(_set_alias(model, alias, version), timeout, metadata)

    async def delete_alias(
        self, model: str, alias: str, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> ModelStatus:
        """As `Client.delete_alias`."""
        return await self._change(_delete_alias(model, alias), timeout, metadata)

    async def set_split(
        self,
        model: str,
        weights: Mapping[str, int],
        *,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> ModelStatus:
        """As `Client.set_split`."""
        return await self._change(_set_split(model, weights), timeout, metadata)

    async def set_shadow(
        self,
        model: str,
        version: str | None,
        share: float = 1.0,
        *,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> ModelStatus:
        """As `Client.set_shadow`."""
        return await self._change(_set_shadow(model, version, share), timeout, metadata)

    async def roll_back(
        self, model: str, *, timeout: float | None = LOAD_TIMEOUT, metadata: Metadata | None = None
    ) -> ModelStatus:
        """As `Client.roll_back`."""
        return await self._change(_roll_back(model), timeout, metadata)

    async def statistics(
        self, model: str = "", *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> list[RouteStatistics]:
        """As `Client.statistics`."""
        return await self._run(self._flows.statistics(model, timeout), metadata)

    async def record_ledger(
        self, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> RecordLedger | None:
        """As `Client.record_ledger`."""
        return await self._run(self._flows.record_ledger(timeout), metadata)

    async def server(self, *, timeout: float | None = None, metadata: Metadata | None = None) -> ServerInfo:
        """As `Client.server`."""
        return await self._run(self._flows.server(timeout), metadata)

    async def open_inference(
        self, request: Message, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> Any:
        """As `Client.open_inference`."""
        return await self._run(self._flows.open_inference(request, timeout), metadata)

    async def _change(self, change: _Change, timeout: float | None, metadata: Metadata | None) -> ModelStatus:
        return await self._run(self._flows.change(*change, timeout), metadata)

    async def _run(self, flow: Flow[_T], metadata: Metadata | None = None) -> _T:
        """Make the calls of a flow, and return its result."""
        raise NotImplementedError


class _Change(NamedTuple):
    """The method and the request that make a change."""

    method: methods.Method
    request: Message


def _make(method: methods.Method, hint: str = "", **fields: Any) -> _Change:
    try:
        return _Change(method, method.request(**fields))
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"{method.path.rpartition('/')[2]}: {error}{hint}") from error


def _version(method: methods.Method, model: str, version: str) -> _Change:
    return _make(method, model=model, version=version)


def _set_alias(model: str, alias: str, version: str) -> _Change:
    return _make(methods.SET_ALIAS, model=model, alias=alias, version=version)


def _delete_alias(model: str, alias: str) -> _Change:
    return _make(methods.DELETE_ALIAS, model=model, alias=alias)


def _set_split(model: str, weights: Mapping[str, int]) -> _Change:
    split = [{"version": version, "weight": weight} for version, weight in weights.items()]
    hint = "; weights are whole numbers from 0 to 1,000,000"
    return _make(methods.SET_SPLIT, hint, model=model, split=split)


def _set_shadow(model: str, version: str | None, share: float) -> _Change:
    if version is None:
        return _make(methods.SET_SHADOW, model=model)
    return _make(methods.SET_SHADOW, model=model, shadow={"version": version, "share": share})


def _roll_back(model: str) -> _Change:
    return _make(methods.ROLLBACK, model=model)
