"""Predictions in JSON, of one row or many; and of tables, which `uploads` answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from scorewire import Explain, InvalidRowsError, Prediction, Predictions, RowError, Violation
from scorewire_gateway.calls import call_options
from scorewire_gateway.errors import JSON, RequestError, invalid_field
from scorewire_gateway.explaining import read_explain, row_to_json, rows_to_json
from scorewire_gateway.json_values import read_json, to_text
from scorewire_gateway.limits import read_body
from scorewire_gateway.state import State
from scorewire_gateway.uploads.answering import Uploads

# The parsing of a longer body would hold up other requests.
_LARGE_BYTES = 65_536
_LARGE_ROWS = 200
# In the document of the gateway; the paths of each model describe its rows.
_DESCRIPTION = {
    "description": "The paths of each model in this document have its real features.",
    "parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}],
    "requestBody": {"required": True, "content": {JSON: {"schema": {"type": "object"}}}},
}
_FIELDS = frozenset({"row", "rows", "routing_key", "explain"})


class _PlainRoute(APIRoute):
    """A route that passes the request to its function, without the time that FastAPI takes for arguments."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        return self.endpoint


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a request asks for: one row or several."""

    rows: Any
    is_one: bool
    routing_key: str
    explain: Explain | None


def router(state: State) -> APIRouter:
    """The routes."""
    routes = APIRouter(route_class=_PlainRoute, tags=["predictions"])
    uploads = Uploads(state)

    @routes.post("/models/{name}:predict", summary="Score rows", openapi_extra=_DESCRIPTION)
    @routes.post("/models/{name}/versions/{version}:predict", include_in_schema=False)
    async def predict(request: Request) -> Response:
        settings = state.settings
        model = request.path_params["name"]
        version = request.path_params.get("version") or request.query_params.get("version", "")
        media = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
        if media != JSON:
            return await uploads.answer(request, model, version)
        options = call_options(request, settings)
        body = await read_body(
            request, max_bytes=settings.max_body_bytes, max_stall_seconds=settings.max_stall_seconds
        )
        if len(body) <= _LARGE_BYTES:
            wanted = read_request(body)
        else:
            wanted = await asyncio.to_thread(read_request, body)
        try:
            found = await state.client.predict(
                model,
                wanted.rows,
                version=version,
                routing_key=wanted.routing_key,
                explain=wanted.explain or False,
                **options,
            )
        except InvalidRowsError as error:
            raise _in_json(error, is_one=wanted.is_one) from None
        if isinstance(found, Prediction):
            state.metrics.rows.labels(found.model).inc()
            return Response(to_text(_one(found)), media_type=JSON)
        state.metrics.rows.labels(found.model).inc(len(found))
        if len(found) <= _LARGE_ROWS and found.contributions is None:
            return Response(_many(found), media_type=JSON)
        return Response(await asyncio.to_thread(_many, found), media_type=JSON)

    return routes


def read_request(body: bytes) -> _Wanted:
    """Read the body of a request for predictions.

    Raises:
        RequestError: the body is not JSON, or not such a request.
    """
    asked = read_json(body)
    if not isinstance(asked, dict):
        raise RequestError('the body is a JSON object, such as {"row": {...}} or {"rows": [{...}, ...]}')
    for name in asked:
        if name not in _FIELDS:
            raise invalid_field(
                name[:100], "is not a field of a request; row, rows, routing_key and explain are"
            )
    if ("row" in asked) == ("rows" in asked):
        raise RequestError('the body has either "row", an object, or "rows", an array of objects')
    key = asked.get("routing_key", "")
    if not isinstance(key, str):
        raise invalid_field("routing_key", "must be a text")
    is_one = "row" in asked
    rows = asked["row"] if is_one else asked["rows"]
    if is_one and not isinstance(rows, dict):
        raise invalid_field("row", "must be an object of values by feature")
    if not is_one and not isinstance(rows, list):
        raise invalid_field("rows", "must be an array of objects of values by feature")
    return _Wanted(rows, is_one, str(key), read_explain(asked.get("explain", False)))


def _one(found: Prediction) -> dict[str, Any]:
    answer: dict[str, Any] = {"model": found.model, "version": found.version}
    if found.id:
        answer["record_id"] = found.id
    if found.error is not None:
        return answer | {"prediction": {"error": _error(found.error)}}
    answer["prediction"] = {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in found.outputs.items()
    }
    answer |= _summary(found.score, found.label)
    if found.contributions is not None:
        answer["contributions"] = row_to_json(found.contributions)
    return answer


def _summary(score: float, label: str | None) -> dict[str, Any]:
    return {"score": score} if label is None else {"score": score, "label": label}


def _many(found: Predictions) -> bytes:
    columns = [
        values[:, 0].tolist() if values.shape[1] == 1 else values.tolist()
        for values in found.outputs.values()
    ]
    names = list(found.outputs)
    predictions: list[dict[str, Any]] = [
        dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)
    ]
    scores: list[float | None] = found.scores.tolist()
    for error in found.errors:
        predictions[error.row] = {"error": _error(error)}
        scores[error.row] = None
    answer: dict[str, Any] = {"model": found.model, "version": found.version}
    ids = found.ids
    if ids and ids[0]:
        answer["record_ids"] = ids
    answer |= {"predictions": predictions, "scores": scores}
    if any(label is not None for label in found.labels):
        answer["labels"] = found.labels
    if found.contributions is not None:
        answer["contributions"] = rows_to_json(found.contributions)
    return to_text(answer)


def _error(error: RowError) -> dict[str, str]:
    return {"reason": error.reason, "feature": error.feature, "message": error.message}


def _in_json(error: InvalidRowsError, *, is_one: bool) -> RequestError:
    """The SDK's error about rows in the terms of the request: `row` for the only row, and null for None."""

    def told(text: str) -> str:
        text = text.replace("as None ", "as null ")
        return text.replace("rows[0]", "row", 1) if is_one else text

    return RequestError(
        told(error.message),
        reason=error.reason or "INVALID_REQUEST",
        violations=[
            Violation(field=told(each.field), description=told(each.description)) for each in error.violations
        ],
    )
