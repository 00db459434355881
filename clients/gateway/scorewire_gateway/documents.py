"""Makes the OpenAPI documents of models, and keeps them while the server has the same schemas."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from scorewire import (
    AsyncClient,
    Model,
    ModelStatus,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnimplementedError,
)
from scorewire_gateway.calls import CallOptions
from scorewire_gateway.json_values import to_text
from scorewire_gateway.openapi import gateway_document, model_document, model_parts

# The most features of all models in the document of the gateway; a further model has a document of its own.
MAX_FEATURES = 2000
# The most models in it, each of which is one call to the server.
MAX_MODELS = 100
# The most documents, and bytes of documents, that are kept.
MAX_KEPT = 128
MAX_KEPT_BYTES = 16 << 20
# Calls to the server at one time.
_CALLS = 4


class Documents:
    """The OpenAPI documents; safe to use for several requests of one event loop at one time."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._release = version("scorewire-gateway")
        self._kept: OrderedDict[tuple[str, str, str], bytes] = OrderedDict()
        self._kept_bytes = 0
        self._parts: OrderedDict[tuple[str, str, datetime | None], tuple[int, Mapping[str, Any]]] = (
            OrderedDict()
        )

    async def of_model(self, model: Model) -> bytes:
        """The document of one version of a model, as JSON."""
        key = (model.name, model.version, model.schema.fingerprint)
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found
        found = await asyncio.to_thread(lambda: to_text(model_document(model, self._release)))
        if key not in self._kept:
            self._kept[key] = found
            self._kept_bytes += len(found)
        while len(self._kept) > MAX_KEPT or self._kept_bytes > MAX_KEPT_BYTES:
            self._kept_bytes -= len(self._kept.popitem(last=False)[1])
        return found

    async def of_gateway(self, app: FastAPI, options: CallOptions) -> bytes:
        """The document of all routes, and of the models that serve and the caller may know, as JSON.

        A caller without a credential, such as a browser that opens /docs, gets the routes only.

        Raises:
            ScorewireError: the server does not answer, or does not take the caller's credential.
        """
        statuses: list[ModelStatus] = []
        try:
            statuses = await self._client.models(**options)
        except UnauthenticatedError:
            if any(key == "authorization" for key, _ in options["metadata"]):
                raise
        serving = [each for each in statuses if each.default_version]
        gate = asyncio.Semaphore(_CALLS)

        async def parts(status: ModelStatus) -> tuple[int, Mapping[str, Any]] | None:
            async with gate:
                return await self._parts_of(status, options)

        found = await asyncio.gather(*map(parts, serving[:MAX_MODELS]))
        shown, left_out, left = [], [each.name for each in serving[MAX_MODELS:]], MAX_FEATURES
        for status, part in zip(serving, found, strict=False):
            if part is None:
                continue
            features, model = part
            if features > left:
                left_out.append(status.name)
            else:
                left -= features
                shown.append(model)
        base = get_openapi(title="Scorewire", version=self._release, routes=app.routes)
        return await asyncio.to_thread(
            lambda: to_text(gateway_document(base, shown, left_out, self._release))
        )

    async def _parts_of(
        self, status: ModelStatus, options: CallOptions
    ) -> tuple[int, Mapping[str, Any]] | None:
        """The count of features, the paths and the schemas of a default version; None if it is gone."""
        since = next((v.serving_since for v in status.versions if v.version == status.default_version), None)
        # A version never changes while it serves.
        key = (status.name, status.default_version, since)
        kept = self._parts.get(key)
        if kept is not None:
            self._parts.move_to_end(key)
            return kept
        try:
            model = await self._client.model(status.name, status.default_version, **options)
        except (NotFoundError, PermissionDeniedError, UnimplementedError):
            return None
        count = len(model.schema.features)
        if count > MAX_FEATURES:
            self._parts[key] = count, {}
        else:
            paths, schemas = model_parts(model, prefix=f"{model.name}.")
            self._parts[key] = count, {"paths": paths, "schemas": schemas}
        while len(self._parts) > MAX_MODELS:
            self._parts.popitem(last=False)
        return self._parts[key]
