"""Downloads from the folders of --files, and the schemas of models as files."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from scorewire import Code
from scorewire.tables import in_thread
from scorewire_gateway.calls import call_options
from scorewire_gateway.descriptions import schema_to_json
from scorewire_gateway.errors import JSON, RequestError
from scorewire_gateway.files.answering import answer_file, close_file
from scorewire_gateway.files.digests import Digests
from scorewire_gateway.files.folder import AbsentError, Folder, Listing
from scorewire_gateway.files.media import media_headers
from scorewire_gateway.json_values import to_text
from scorewire_gateway.state import State

_METHODS = ["GET", "HEAD"]


def router(state: State) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["files"])
    folders = {name: Folder(path) for name, path in state.settings.files}
    digests = Digests()
    if folders:
        state.parts.append("files")

    @routes.get("/files", summary="Files for download", response_model=None)
    async def top(request: Request) -> Response:
        """The folders that the operator offers, or the content of the only one."""
        if not folders:
            raise _off()
        await state.guard.rights(request)
        if "" in folders:
            return _listing(await _open(folders, ""), "")
        return Response(
            to_text({"path": "", "entries": [{"name": name, "kind": "folder"} for name in sorted(folders)]}),
            media_type=JSON,
        )

    @routes.head("/files/{path:path}", include_in_schema=False, response_model=None)
    @routes.get("/files/{path:path}", summary="Download a file, or list a folder", response_model=None)
    async def file(request: Request, path: str) -> Response:
        """A file, or a range of it, with its SHA-256 in Repr-Digest; or the entries of a folder."""
        if not folders:
            raise _off()
        await state.guard.rights(request)
        found = await _open(folders, path)
        if isinstance(found, Listing):
            return _listing(found, path)
        return await answer_file(request, found, digests)

    @routes.get("/models/{name}/schema", summary="The schema of a model", response_model=None)
    async def schema(request: Request, name: str, version: str = "") -> Response:
        """The features and outputs, as a file."""
        model = await state.client.model(name, version, **call_options(request, state.settings))
        described: dict[str, Any] = {"model": model.name, "version": model.version}
        return _file(
            f"{model.name}-{model.version}.schema.json",
            to_text(described | schema_to_json(model.schema, model)),
        )

    @routes.get("/models/{name}/proto", summary="The typed service of a model", response_model=None)
    async def proto(request: Request, name: str, version: str = "") -> Response:
        """The .proto file for gRPC clients in any language, as `scorewire proto` prints it."""
        model = await state.client.model(name, version, **call_options(request, state.settings))
        return _file(f"{model.name}.proto", model.proto.encode())

    return routes


async def _open(folders: dict[str, Folder], path: str) -> Any:
    names = path.split("/") if path else []
    if names and not names[-1]:
        names.pop()  # of the slash at the end of a folder's path
    folder = folders.get("")
    if folder is None:
        folder = folders.get(names[0]) if names else None
        names = names[1:]
    try:
        if folder is None:
            raise AbsentError
        return await in_thread(folder.open, names, discard=close_file)
    except AbsentError:
        raise RequestError(
            f"there is no file {path[:200]!r}; /files lists them",
            code=Code.NOT_FOUND,
            reason="FILE_NOT_FOUND",
        ) from None


def _listing(listing: Listing, path: str) -> Response:
    entries = [
        {"name": each.name, "kind": "folder", "modified": each.modified.isoformat()}
        if each.is_folder
        else {"name": each.name, "kind": "file", "bytes": each.size, "modified": each.modified.isoformat()}
        for each in listing.entries
    ]
    body = {"path": path.strip("/"), "entries": entries, "truncated": listing.truncated}
    return Response(to_text(body), media_type=JSON, headers={"Cache-Control": "no-cache"})


def _file(name: str, content: bytes) -> Response:
    return Response(content, headers=media_headers(name) | {"Cache-Control": "no-cache"})


def _off() -> RequestError:
    return RequestError(
        "the gateway offers no files: start it with --files and a folder",
        code=Code.NOT_FOUND,
        reason="FILES_OFF",
    )
