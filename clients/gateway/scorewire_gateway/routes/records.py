"""The records of the last predictions; off without `--records`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from scorewire import Code
from scorewire_contract.records.identity import PredictionId
from scorewire_gateway.errors import JSON, RequestError
from scorewire_gateway.guard import Rights
from scorewire_gateway.json_values import to_text
from scorewire_gateway.recorded import Records, open_reader
from scorewire_gateway.state import State

_PART = "records"
_MAX_LIMIT = 500
# An answer ends before the record that would make it longer.
_MAX_BYTES = 4 << 20
_MAX_NAME = 200


def router(state: State) -> APIRouter:
    """The routes.

    Raises:
        SettingError: `--records` is not valid.
    """
    routes = APIRouter(tags=["records"])
    settings = state.settings
    known = None
    if settings.records is not None:
        known = Records(open_reader(settings.records, settings.records_password_file))
        state.parts.append(_PART)

    @routes.get("/records", summary="The last predictions", response_model=None)
    async def latest(
        request: Request,
        model: Annotated[str, Query(max_length=_MAX_NAME, description="a model's name; all models")] = "",
        limit: Annotated[int, Query(ge=1, le=_MAX_LIMIT, description="the most rows")] = 20,
    ) -> Response:
        """The rows that were recorded last, newest first, with their features and outputs.

        `truncated` is true if older rows were left out because the answer would be too long. Where the
        server has an access file and no model is named, rows of models that the caller may not observe
        are left out of the last ones.
        """
        records = _on(known)
        rights = await state.guard.rights(request)
        rights.check("observe", model)
        return _answer(_seen(await records.latest(limit, model), rights))

    @routes.get("/records/{prediction_id}", summary="One prediction", response_model=None)
    async def find(
        request: Request,
        prediction_id: str,
        limit: Annotated[int, Query(ge=1, le=_MAX_LIMIT, description="the most rows")] = 100,
    ) -> Response:
        """The rows of one prediction; its id is that of the answer, without the row."""
        records = _on(known)
        try:
            wanted = PredictionId.parse(prediction_id)
        except ValueError:
            raise RequestError(
                "the id of a prediction has the form <uuid>-<number>", reason="INVALID_ARGUMENT"
            ) from None
        rights = await state.guard.rights(request)
        rights.check("observe")
        # One more than is told, to know whether there are more.
        rows = _seen(await records.find(wanted, limit + 1), rights)
        if not rows:
            raise RequestError(
                "no prediction with this id is recorded; a server takes a second to record one, and its"
                " policy may leave some out",
                code=Code.NOT_FOUND,
                reason="RECORD_NOT_FOUND",
            )
        return _answer(rows[:limit], truncated=len(rows) > limit)

    return routes


def _seen(rows: list[dict[str, Any]], rights: Rights) -> list[dict[str, Any]]:
    """The rows of the models that a caller may observe."""
    return [row for row in rows if rights.has("observe", row["model"])]


def _on(records: Records | None) -> Records:
    if records is None:
        raise RequestError(
            "this gateway tells no records: start it with --records",
            code=Code.NOT_FOUND,
            reason="RECORDS_OFF",
        )
    return records


def _answer(rows: Iterable[dict[str, Any]], *, truncated: bool = False) -> Response:
    texts: list[bytes] = []
    size = 0
    for row in rows:
        text = to_text(row)
        size += len(text)
        if size > _MAX_BYTES and texts:
            truncated = True
            break
        texts.append(text)
    body = b'{"records":[%s],"truncated":%s}' % (b",".join(texts), b"true" if truncated else b"false")
    return Response(body, media_type=JSON, headers={"Cache-Control": "no-store"})
