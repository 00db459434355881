"""The asyncio client."""

# ruff: noqa: ASYNC109 - these timeouts are deadlines that are sent to the server

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

import grpc
import grpc.aio
from numpy.typing import NDArray

from scorewire._async_hedge import hedged
from scorewire._async_stream import Source, Stream
from scorewire._control import AsyncControl
from scorewire._credentials import awaited_token, has_credential, with_token
from scorewire._errors import (
    CancelledError,
    ScorewireError,
    UnauthenticatedError,
    UnavailableError,
    error_from_call,
)
from scorewire._explain import Explaining
from scorewire._flows import READY_TIMEOUT, Call, Flow, Sleep, check_response
from scorewire._metadata import Metadata, Pairs
from scorewire._methods import PREDICT, PREDICT_STREAM, Method
from scorewire._models import Model, ModelStatus
from scorewire._predictions import Prediction, Predictions
from scorewire._rows import Frame, Row, Rows
from scorewire._stream import OnError, StreamWindow, check_batches
from scorewire._stream_steps import Emit, Result, TakeRows

_T = TypeVar("_T")


class AsyncClient(AsyncControl):
    """An asyncio client of a Scorewire server, bound to the event loop of its first call.

    A call that fails with UNAVAILABLE is retried up to twice, with growing pauses,
    within its timeout, and on another server if there are several. The first call
    opens the connection. A client cannot be used after a fork: create it in the
    process that uses it.

    Args:
        address: HOST:PORT of the server, or HOST for port 8500, or unix:PATH. Calls
            are spread over several servers if it is a list of such addresses, or
            `dns:///HOST:PORT` for all addresses that DNS has for the host.
        timeout: default timeout of a method, in seconds.
        channels: number of connections to each server, used in turn. One is enough
            unless a single connection, or a single server behind a load balancer,
            is the bottleneck.
        tls: True for TLS that trusts the authorities that grpc ships, or TLS
            settings; None or False for a connection without TLS.
        max_message_bytes: the largest request and the largest response, in bytes.
        retries: how calls that fail with UNAVAILABLE are made again; None for `Retries()`.
        breaker: lets calls fail at once while the server fails most of them; None for none.
        hedging: sends a second copy of a call of `predict` that is slow; None for none.
        api_key: a key of `scorewire keys`, or another bearer token, which each call shows.
        token: a function that returns the bearer token of a call, such as a `TokenFile`, or an async
            function. It is called for each attempt, and should keep a token while it is valid; one that
            has to wait for a token is async. If the server refuses a token, the call is made once more if
            the function has another one.

    A credential in a call's own metadata, `authorization`, takes the place of these. Use TLS with them.

    Raises:
        ValueError: a setting is out of its range.
    """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; calls in flight fail with `CancelledError`."""
        for channel in self._close():
            await channel.close()

    @overload
    async def predict(
        self,
        model: str,
        rows: Row,
        *,
        version: str = "",
        routing_key: str = "",
        explain: Explaining = False,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> Prediction: ...

    @overload
    async def predict(
        self,
        model: str,
        rows: Sequence[Row] | NDArray[Any] | Frame,
        *,
        version: str = "",
        routing_key: str = "",
        explain: Explaining = False,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> Predictions: ...

    async def predict(
        self,
        model: str,
        rows: Rows,
        *,
        version: str = "",
        routing_key: str = "",
        explain: Explaining = False,
        timeout: float | None = None,
        metadata: Metadata | None = None,
    ) -> Prediction | Predictions:
        """Predict one row or a batch of rows.

        A batch beyond the server's limits is sent in several calls, one after the
        other. The version that answers the first one scores all rows.

        Args:
            model: the model's name.
            rows: one row as a dict of values by feature name; or a batch, which is
                a list of dicts, a numpy array of shape [rows, features] in the
                schema's order, or a pandas data frame. See `scorewire.Rows`.
            version: a version or an alias; "" for the model's default.
            routing_key: a split sends all calls with the same key to one version.
            explain: True to get what each column contributes to each prediction; a number of columns
                for the strongest ones; or an `Explain`, which also names an output.
            timeout: seconds for all of it; None for the client's timeout.
            metadata: sent with each call; see `scorewire.Metadata`.

        Returns:
            A `Prediction` for one row given as a dict; else the `Predictions`. A
            row that the model refuses has an error there instead of a score; the
            method does not raise for it.

        Raises:
            InvalidRowsError: the rows do not fit the model's schema; nothing was sent.
            ValueError: the timeout, the metadata or `explain` is not valid; nothing was sent.
            NotExplainedError: the version cannot explain the output; the message tells why.
            ScorewireError: the call failed; the subclass tells the gRPC code.
        """
        pairs, caller = self._checked(metadata)
        return await self._carry_out(
            self._flows.predict(
                model,
                rows,
                version=version,
                routing_key=routing_key,
                explain=explain,
                timeout=timeout,
                caller=caller,
            ),
            pairs,
        )

    @overload
    def predict_stream(
        self,
        model: str,
        batches: Iterable[Row] | AsyncIterable[Row],
        *,
        version: str = "",
        routing_key: str = "",
        explain: Explaining = False,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        look_ahead: int | None = None,
        on_error: Literal["raise"] = "raise",
    ) -> AsyncGenerator[Prediction, None]: ...

    @overload
    def predict_stream(
        self,
        model: str,
        batches: Iterable[Sequence[Row] | NDArray[Any] | Frame]
        | AsyncIterable[Sequence[Row] | NDArray[Any] | Frame],
        *,
        version: str = "",
        routing_key: str = "",
        explain: Explaining = False,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        look_ahead: int | None = None,
        on_error: Literal["raise"] = "raise",
    ) -> AsyncGenerator[Predictions, None]: ...

    @overload
    def predict_stream(
        self,
        model: str,
        batches: Iterable[Row] | AsyncIterable[Row],
        *,
        version: str = "",
        routing_key: str = "",
        explain: Explaining = False,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        look_ahead: int | None = None,
        on_error: Literal["yield"],
    ) -> AsyncGenerator[Prediction | ScorewireError, None]: ...

    @overload
    def predict_stream(
        self,
        model: str,
        batches: Iterable[Sequence[Row] | NDArray[Any] | Frame]
        | AsyncIterable[Sequence[Row] | NDArray[Any] | Frame],
        *,
        version: str = "",
        routing_key: str = "",
        explain: Explaining = False,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        look_ahead: int | None = None,
        on_error: Literal["yield"],
    ) -> AsyncGenerator[Predictions | ScorewireError, None]: ...

    def predict_stream(
        self,
        model: str,
        batches: Iterable[Rows] | AsyncIterable[Rows],
        *,
        version: str = "",
        routing_key: str = "",
        explain: Explaining = False,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        look_ahead: int | None = None,
        on_error: OnError = "raise",
    ) -> AsyncGenerator[Any, None]:
        """Predict batches on one stream, with results in the order of the batches.

        The generator takes the batches while the caller iterates over the results.
        At most `look_ahead` batches are without a result at any time; with 1, each
        result comes before the next batch is taken. A task takes an async iterable,
        so that results do not wait for a batch that is slow to come.

        A row that is given as a dict is sent at once if no request is without a
        response, and otherwise together with the rows that follow it until then.

        Args:
            model: the model's name.
            batches: an iterable or async iterable; each item is what `predict` takes
                as rows.
            version: a version or an alias; "" for the model's default.
            routing_key: a split sends all streams with the same key to one version.
            explain: as in `predict`.
            timeout: seconds for the response to each batch; None for the client's
                timeout. The stream as a whole has no time limit.
            metadata: sent with the stream, and with each call that gets the schema.
            look_ahead: the most batches or dicts without a result; None for 8 batches,
                or as many dicts as fit in 8 requests of about 1,000 rows.
            on_error: "raise" ends the stream with the error of a batch that fails;
                "yield" gives the error in place of the batch's result, and the
                stream goes on.

        Returns:
            An async generator of what `predict` returns. Exhaust it, or close it with
            `contextlib.aclosing`.

        Raises:
            InvalidRowsError: `batches` is itself one batch; raised at once.
            ValueError: an argument is not valid; raised at once.
            ScorewireError: the stream failed, or one of its batches with `on_error="raise"`.
        """
        check_batches(batches)
        pairs, caller = self._checked(metadata)
        window = StreamWindow(
            self._flows,
            self._policy,
            model,
            version=version,
            routing_key=routing_key,
            timeout=timeout,
            look_ahead=look_ahead,
            on_error=on_error,
            explain=explain,
            caller=caller,
        )
        return self._stream(window, pairs, batches)

    async def models(
        self, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> list[ModelStatus]:
        """List the server's models, ordered by name.

        Raises:
            ScorewireError: the call failed; the subclass tells the gRPC code.
        """
        return await self._run(self._flows.models(timeout), metadata)

    async def model(
        self, name: str, version: str = "", *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> Model:
        """Get one model: its schema, versions and metrics.

        Args:
            name: the model's name.
            version: a version or an alias; "" for the model's default.
            timeout: seconds; None for the client's timeout.
            metadata: sent with each call; see `scorewire.Metadata`.

        Raises:
            NotFoundError: there is no such model or version.
            ScorewireError: the call failed; the subclass tells the gRPC code.
        """
        return await self._run(self._flows.model(name, version, timeout), metadata)

    async def health(
        self, model: str | None = None, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> bool:
        """Check whether the server, or one of its models, is serving.

        Raises:
            NotFoundError: there is no such model.
            ScorewireError: the call failed; the subclass tells the gRPC code.
        """
        return await self._run(self._flows.health(model, timeout), metadata)

    async def wait_ready(
        self,
        model: str = "",
        version: str = "",
        *,
        timeout: float | None = READY_TIMEOUT,
        metadata: Metadata | None = None,
    ) -> None:
        """Wait until a model serves, or one version of it, or the server.

        Args:
            model: the model's name; "" for the server as a whole.
            version: a version or an alias; "" for the model's default.
            timeout: seconds; None for the client's timeout.
            metadata: sent with each call; see `scorewire.Metadata`.

        Raises:
            FailedPreconditionError: the version, or each version of the model that could serve, is
                refused; raised at once.
            PermissionDeniedError: the caller has no right to the model; raised at once.
            DeadlineExceededError: the timeout has passed; the message tells the last state, such as
                LOADING.
        """
        await self._run(self._flows.wait_ready(model, version, timeout), metadata)

    def _make_channel(self) -> grpc.aio.Channel:
        self._loop = asyncio.get_running_loop()
        options, credentials = self._settings.options(), self._settings.credentials()
        if credentials is None:
            return grpc.aio.insecure_channel(self._settings.address.uri(), options)
        return grpc.aio.secure_channel(self._settings.address.uri(), credentials, options)

    def _stub(self, method: Method) -> Any:
        stub = super()._stub(method)
        if self._loop is not asyncio.get_running_loop():
            raise RuntimeError("an AsyncClient belongs to the event loop of its first call: make one in each")
        return stub

    async def _run(self, flow: Flow[_T], metadata: Metadata | None = None) -> _T:
        """Make the calls of a flow, and return its result."""
        return await self._carry_out(flow, self._checked(metadata)[0])

    async def _carry_out(self, flow: Flow[_T], pairs: Pairs) -> _T:
        try:
            call = next(flow)
            while True:
                try:
                    response = await self._invoke(call, pairs)
                except ScorewireError as error:
                    call = flow.throw(error)
                else:
                    call = flow.send(response)
        except StopIteration as stop:
            result: _T = stop.value
            return result

    async def _invoke(self, call: Call | Sleep, metadata: Pairs) -> Any:
        if isinstance(call, Sleep):
            return await asyncio.sleep(call.seconds)
        with self._policy.begin(call.method, is_poll=call.is_poll) as attempts:
            is_fixed = self._credentials.token is None
            shown = metadata if is_fixed else await self._show(metadata, call.timeout)
            while True:
                try:
                    response = await self._attempt(call, shown)
                except UnauthenticatedError as error:
                    before = shown
                    if attempts.may_renew():
                        shown = await self._show(metadata, call.timeout)
                    if shown == before:
                        raise error from error.__cause__
                    continue
                except ScorewireError as error:
                    pause = attempts.pause(error, call.timeout)
                    if pause is None:
                        failure: ScorewireError = error
                        if isinstance(error, UnavailableError) and not error.reason:
                            failure = await asyncio.to_thread(self._explained, error, call)
                        raise failure from error.__cause__
                else:
                    attempts.succeeded()
                    return response
                await asyncio.sleep(pause)
                if self._closed:
                    raise CancelledError("the client was closed")
                shown = await self._show(metadata, call.timeout)

    async def _show(self, metadata: Pairs, timeout: float) -> Pairs:
        """The metadata of an attempt, with a token if the client has a function for that.

        Raises:
            TokenError: there is no token.
            DeadlineExceededError: it did not come in time.
        """
        token = self._credentials.token
        if token is None or has_credential(metadata):
            return metadata
        return with_token(metadata, await awaited_token(token, timeout))

    async def _attempt(self, call: Call, metadata: Pairs) -> Any:
        """Make a call once, or hedge it."""
        if self._stubs is None and self._settings.address.must_look_up:
            await asyncio.to_thread(self._settings.address.uri)
        hedger = self._policy.hedger if call.method is PREDICT else None
        try:
            if hedger is None:
                return check_response(await self._copy(call, metadata))
            return check_response(await hedged(partial(self._copy, call, metadata), hedger))
        except grpc.RpcError as error:
            raise error_from_call(error) from error
        except asyncio.CancelledError:
            self._raise_if_closed()
            raise

    def _copy(self, call: Call, metadata: Pairs) -> Any:
        """Send a copy of a call; the result is to be awaited."""
        return self._stub(call.method)(call.request, timeout=call.timeout, metadata=metadata)

    def _raise_if_closed(self) -> None:
        """Raise `CancelledError` if `close` ended the call; return if the task itself was cancelled.

        grpc.aio raises asyncio's CancelledError in both cases.
        """
        task = asyncio.current_task()
        if self._closed and task is not None and not task.cancelling():
            raise CancelledError("the client was closed")

    async def _stream(
        self, window: StreamWindow, metadata: Pairs, batches: Iterable[Rows] | AsyncIterable[Rows]
    ) -> AsyncGenerator[Result, None]:
        """Carry out the steps of a stream's flow."""
        with contextlib.closing(window.flow()) as flow:
            async with (
                contextlib.aclosing(Source(batches, window)) as source,
                contextlib.aclosing(
                    Stream(
                        partial(self._stub, PREDICT_STREAM),
                        window,
                        partial(self._show, metadata, window.timeout),
                        source.wake,
                    )
                ) as stream,
            ):
                value: Any = None
                error: ScorewireError | None = None
                while True:
                    try:
                        step = flow.send(value) if error is None else flow.throw(error)
                    except StopIteration:
                        await stream.finish()
                        return
                    value = error = None
                    if isinstance(step, TakeRows):
                        value = await source.take()
                    elif isinstance(step, Emit):
                        for result in step.results:
                            yield result
                    else:
                        try:
                            value = await (
                                self._invoke(step, metadata)
                                if isinstance(step, Call | Sleep)
                                else stream.do(step)
                            )
                        except ScorewireError as failure:
                            error = failure
