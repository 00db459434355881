"""Two versions of a model against each other: those of a split, or a shadow and what it copies."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from scorewire import Code, ModelStatus, RouteStatistics
from scorewire_gateway.calls import metadata_of, timeout_of
from scorewire_gateway.errors import JSON, RequestError
from scorewire_gateway.json_values import to_text
from scorewire_gateway.routes.statistics import distribution_to_json
from scorewire_gateway.state import State

if TYPE_CHECKING:
    from scorewire.comparison import Comparison, Difference, Side

MAX_SECONDS = 60.0
# Comparisons that count calls for a while at one time; each of them keeps a request open.
_MAX_COUNTING = 8
_MAX_NAME = 200
_Version = Annotated[str, Query(max_length=_MAX_NAME, description="a version; by the routing unless given")]


def router(state: State) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["models"])
    counting = Counting()

    @routes.get("/models/{name}/comparison", summary="Two versions of a model compared", response_model=None)
    async def compare(
        request: Request,
        name: str,
        a: _Version = "",
        b: _Version = "",
        seconds: Annotated[
            float,
            Query(
                ge=0,
                le=MAX_SECONDS,
                description="compare only the calls of the next seconds; 0: all since loading",
            ),
        ] = 0.0,
    ) -> Response:
        """Calls, errors, latency and scores of two versions, with tests of significance.

        Only calls that name no version count. The two versions are those of the split, or the one that
        answers and its shadow, unless they are given. If `in_doubt` is true, the calls were not split by
        the weights, and the other differences may mislead.
        """
        if bool(a) != bool(b):
            raise RequestError("give both versions, a and b, or neither", reason="INVALID_ARGUMENT")
        timeout, metadata = timeout_of(request, state.settings), metadata_of(request)

        async def status() -> ModelStatus:
            return (await state.client.model(name, timeout=timeout, metadata=metadata)).status

        async def read() -> list[RouteStatistics]:
            return await state.client.statistics(name, timeout=timeout, metadata=metadata)

        before: list[RouteStatistics] = []
        if seconds:
            with counting.one():
                found = await status()
                before = await read()
                await asyncio.sleep(seconds)
                now = await read()
                if (await status()).routing != found.routing:
                    raise _not_comparable("the routing was changed while calls were counted; compare again")
        else:
            found, now = await status(), await read()
        # The tests take a moment, as does the first import of scipy.
        body = await asyncio.to_thread(_compare, found, before, now, (a, b) if a else ())
        return Response(to_text(body), media_type=JSON)

    return routes


class Counting:
    """Comparisons that count calls now; to be used from one event loop."""

    def __init__(self) -> None:
        self._count = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count one more until the end of the block.

        Raises:
            RequestError: there are as many as there may be.
        """
        if self._count >= _MAX_COUNTING:
            raise RequestError(
                f"{_MAX_COUNTING} comparisons count calls already; try again later",
                code=Code.RESOURCE_EXHAUSTED,
                reason="TOO_MANY_COMPARISONS",
                headers={"Retry-After": "10"},
            )
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1


def _compare(
    status: ModelStatus,
    before: Sequence[RouteStatistics],
    now: Sequence[RouteStatistics],
    versions: Sequence[str],
) -> dict[str, Any]:
    # scipy takes half a second to import, and memory that a gateway without comparisons does without.
    from scorewire.comparison import ComparisonError, compare_versions, counted_since, sides  # noqa: PLC0415

    try:
        a, b = sides(status, versions)
        return to_json(compare_versions(status.routing, counted_since(before, now), a, b))
    except ComparisonError as error:
        raise _not_comparable(str(error)) from None


def to_json(comparison: Comparison) -> dict[str, Any]:
    """A comparison; a test without data is null."""
    from scorewire.comparison import DIFFERENCE_LEVEL, SAMPLE_RATIO_LEVEL  # noqa: PLC0415

    return {
        "model": comparison.model,
        "a": _side(comparison.a),
        "b": _side(comparison.b),
        "sample_ratio": comparison.sample_ratio,
        "in_doubt": comparison.in_doubt,
        "errors": _difference(comparison.errors),
        "row_errors": _difference(comparison.row_errors),
        "latency": _difference(comparison.latency),
        "scores": _difference(comparison.scores),
        "levels": {"sample_ratio": SAMPLE_RATIO_LEVEL, "difference": DIFFERENCE_LEVEL},
    }


def _side(side: Side) -> dict[str, Any]:
    counted = side.counted
    return {
        "version": side.version,
        "role": str(side.role),
        "weight": side.weight,
        "calls": counted.calls,
        "failed": counted.failed,
        "error_rate": side.error_rate,
        "rows": counted.rows,
        "failed_rows": counted.failed_rows,
        "row_error_rate": side.row_error_rate,
        "dropped": counted.dropped,
        "since": counted.loaded_at.isoformat(),
        "latency_seconds": distribution_to_json(counted.latency_seconds),
        "scores": distribution_to_json(counted.scores),
    }


def _difference(difference: Difference | None) -> dict[str, Any] | None:
    if difference is None:
        return None
    return {"p_value": difference.p_value, "size": difference.size, "differs": difference.differs}


def _not_comparable(message: str) -> RequestError:
    return RequestError(message, code=Code.FAILED_PRECONDITION, reason="NOT_COMPARABLE")
