"""The blocking client."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, overload

import grpc
from numpy.typing import NDArray

from scorewire._control import Control
from scorewire._credentials import has_credential, token_failed, with_token
from scorewire._errors import CancelledError, ScorewireError, UnauthenticatedError, error_from_call
from scorewire._explain import Explaining
from scorewire._flows import READY_TIMEOUT, Call, Flow, Sleep, check_response
from scorewire._metadata import Metadata, Pairs
from scorewire._methods import PREDICT, PREDICT_STREAM
from scorewire._models import Model, ModelStatus
from scorewire._predictions import Prediction, Predictions
from scorewire._rows import Frame, Row, Rows
from scorewire._stream import OnError, StreamWindow, check_batches
from scorewire._stream_steps import END, Emit, Result, TakeRows
from scorewire._sync_hedge import hedged
from scorewire._sync_stream import Stream

_T = TypeVar("_T")


class Client(Control):
    """A blocking client of a Scorewire server; safe to share between threads.

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
        token: a function that returns the bearer token of a call, such as a `TokenFile`. It is called
            for each attempt, in the thread of the call, and should keep a token while it is valid. If
            the server refuses a token, the call is made once more if the function has another one.

    A credential in a call's own metadata, `authorization`, takes the place of these. Use TLS with them.

    Raises:
        ValueError: a setting is out of its range.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; calls in flight fail with `CancelledError`."""
        for channel in self._close():
            channel.close()

    @overload
    def predict(
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
    def predict(
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

    def predict(
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
        return self._carry_out(
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
        batches: Iterable[Row],
        *,
        version: str = "",
        routing_key: str = "",
        explain: Explaining = False,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        look_ahead: int | None = None,
        on_error: Literal["raise"] = "raise",
    ) -> Generator[Prediction, None, None]: ...

    @overload
    def predict_stream(
        self,
        model: str,
        batches: Iterable[Sequence[Row] | NDArray[Any] | Frame],
        *,
        version: str = "",
        routing_key: str = "",
        explain: Explaining = False,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        look_ahead: int | None = None,
        on_error: Literal["raise"] = "raise",
    ) -> Generator[Predictions, None, None]: ...

    @overload
    def predict_stream(
        self,
        model: str,
        batches: Iterable[Row],
        *,
        version: str = "",
        routing_key: str = "",
        explain: Explaining = False,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        look_ahead: int | None = None,
        on_error: Literal["yield"],
    ) -> Generator[Prediction | ScorewireError, None, None]: ...

    @overload
    def predict_stream(
        self,
        model: str,
        batches: Iterable[Sequence[Row] | NDArray[Any] | Frame],
        *,
        version: str = "",
        routing_key: str = "",
        explain: Explaining = False,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        look_ahead: int | None = None,
        on_error: Literal["yield"],
    ) -> Generator[Predictions | ScorewireError, None, None]: ...

    def predict_stream(
        self,
        model: str,
        batches: Iterable[Rows],
        *,
        version: str = "",
        routing_key: str = "",
        explain: Explaining = False,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        look_ahead: int | None = None,
        on_error: OnError = "raise",
    ) -> Generator[Any, None, None]:
        """Predict batches on one stream, with results in the order of the batches.

        The generator takes the batches in the caller's thread, while the caller
        iterates over the results. At most `look_ahead` batches are without a
        result at any time; with 1, each result comes before the next batch is
        taken, which is best for batches that come slowly.

        A row that is given as a dict is sent at once if no request is without a
        response, and otherwise together with the rows that follow it until then.

        Args:
            model: the model's name.
            batches: an iterable; each item is what `predict` takes as rows.
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
            A generator of what `predict` returns. Exhaust it, or close it.

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
        return self._stream(window, pairs, iter(batches))

    def models(self, *, timeout: float | None = None, metadata: Metadata | None = None) -> list[ModelStatus]:
        """List the server's models, ordered by name.

        Raises:
            ScorewireError: the call failed; the subclass tells the gRPC code.
        """
        return self._run(self._flows.models(timeout), metadata)

    def model(
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
        return self._run(self._flows.model(name, version, timeout), metadata)

    def health(
        self, model: str | None = None, *, timeout: float | None = None, metadata: Metadata | None = None
    ) -> bool:
        """Check whether the server, or one of its models, is serving.

        Raises:
            NotFoundError: there is no such model.
            ScorewireError: the call failed; the subclass tells the gRPC code.
        """
        return self._run(self._flows.health(model, timeout), metadata)

    def wait_ready(
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
        self._run(self._flows.wait_ready(model, version, timeout), metadata)

    def _make_channel(self) -> grpc.Channel:
        options, credentials = self._settings.options(), self._settings.credentials()
        if credentials is None:
            return grpc.insecure_channel(self._settings.address.uri(), options)
        return grpc.secure_channel(self._settings.address.uri(), credentials, options)

    def _run(self, flow: Flow[_T], metadata: Metadata | None = None) -> _T:
        """Make the calls of a flow, and return its result."""
        return self._carry_out(flow, self._checked(metadata)[0])

    def _carry_out(self, flow: Flow[_T], pairs: Pairs) -> _T:
        try:
            call = next(flow)
            while True:
                try:
                    response = self._invoke(call, pairs)
                except ScorewireError as error:
                    call = flow.throw(error)
                else:
                    call = flow.send(response)
        except StopIteration as stop:
            result: _T = stop.value
            return result

    def _invoke(self, call: Call | Sleep, metadata: Pairs) -> Any:
        if isinstance(call, Sleep):
            time.sleep(call.seconds)
            return None
        with self._policy.begin(call.method, is_poll=call.is_poll) as attempts:
            shown = metadata if self._credentials.token is None else self._show(metadata)
            while True:
                try:
                    response = self._attempt(call, shown)
                except UnauthenticatedError as error:
                    before, shown = shown, self._show(metadata) if attempts.may_renew() else shown
                    if shown == before:
                        raise error from error.__cause__
                    continue
                except ScorewireError as error:
                    pause = attempts.pause(error, call.timeout)
                    if pause is None:
                        raise self._explained(error, call) from error.__cause__
                else:
                    attempts.succeeded()
                    return response
                time.sleep(pause)
                if self._closed:
                    raise CancelledError("the client was closed")
                shown = self._show(metadata)

    def _show(self, metadata: Pairs) -> Pairs:
        """The metadata of an attempt, with a token if the client has a function for that.

        Raises:
            TokenError: there is no token.
        """
        token = self._credentials.token
        if token is None or has_credential(metadata):
            return metadata
        try:
            given = token()
        except Exception as error:
            raise token_failed(error) from error
        return with_token(metadata, given)

    def _attempt(self, call: Call, metadata: Pairs) -> Any:
        """Make a call once, or hedge it."""
        hedger = self._policy.hedger if call.method is PREDICT else None
        try:
            if hedger is None:
                stub = self._stub(call.method)
                return check_response(stub(call.request, timeout=call.timeout, metadata=metadata))
            return check_response(hedged(partial(self._copy, call, metadata), hedger))
        except grpc.RpcError as error:
            raise error_from_call(error) from error
        except (ValueError, grpc.FutureCancelledError) as error:
            # grpc raises ValueError where another thread has just closed the channel.
            raise CancelledError("the client was closed") from error

    def _copy(self, call: Call, metadata: Pairs) -> Any:
        """Send a copy of a call; the result is a future."""
        return self._stub(call.method).future(call.request, timeout=call.timeout, metadata=metadata)

    def _stream(
        self, window: StreamWindow, metadata: Pairs, batches: Iterator[Rows]
    ) -> Generator[Result, None, None]:
        """Carry out the steps of a stream's flow."""
        with (
            contextlib.closing(window.flow()) as flow,
            contextlib.closing(
                Stream(partial(self._stub, PREDICT_STREAM), window, partial(self._show, metadata))
            ) as stream,
        ):
            value: Any = None
            error: ScorewireError | None = None
            while True:
                try:
                    step = flow.send(value) if error is None else flow.throw(error)
                except StopIteration:
                    stream.finish()
                    return
                value = error = None
                if isinstance(step, TakeRows):
                    value = next(batches, END)
                elif isinstance(step, Emit):
                    yield from step.results
                else:
                    try:
                        value = (
                            self._invoke(step, metadata)
                            if isinstance(step, Call | Sleep)
                            else stream.do(step)
                        )
                    except ScorewireError as failure:
                        error = failure
