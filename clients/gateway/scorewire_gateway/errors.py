"""Why requests fail, and the one table from status codes to what the HTTP client sees.

The client gets a JSON object `{"error": {...}}`, whose `status` is the name of a gRPC
status code; the HTTP code is the one that `google/rpc/code.proto` gives for it. An
exception that is neither an error of the SDK nor a `RequestError` is a fault of the
gateway: the client gets a fixed text, and the exception goes to the log.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from scorewire import Code, ScorewireError, UnauthenticatedError, Violation

# The HTTP code of each status code; see google/rpc/code.proto. 499 is "Client Closed Request".
HTTP_CODES: Mapping[Code, int] = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}
INTERNAL_MESSAGE = "the gateway failed; its log has the reason"
JSON = "application/json"
MAX_TEXT = 1000


class RequestError(Exception):
    """The gateway refuses a request; the message is for the client.

    Args:
        message: what is wrong, and what to do.
        code: the status code.
        reason: a constant for programs, such as "BODY_TOO_LARGE".
        http_code: the HTTP code, if it is more exact than that of the status code.
        violations: the invalid parts of the request.
        headers: further headers of the answer.
        close: whether to close the connection, since the rest of the request is not read.
    """

    def __init__(
        self,
        message: str,
        *,
        code: Code = Code.INVALID_ARGUMENT,
        reason: str = "INVALID_REQUEST",
        http_code: int | None = None,
        violations: Iterable[Violation] = (),
        headers: Mapping[str, str] | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.http_code = http_code or HTTP_CODES[code]
        self.violations = tuple(violations)
        self.headers = dict(headers or {}) | ({"Connection": "close"} if close else {})


def invalid_field(path: str, description: str) -> RequestError:
    """The refusal of one part of a request; `path` names the part, like `rows[3].age`."""
    return RequestError(f"{path}: {description}", violations=[Violation(field=path, description=description)])


def unread(error: ScorewireError) -> RequestError:
    """The same refusal, of a request whose body is not read: so the connection is closed after it."""
    headers = _retry_after(error) | _challenge(error)
    return RequestError(
        error.message,
        code=error.code,
        reason=error.reason,
        violations=error.violations,
        headers=headers,
        close=True,
    )


def error_response(error: Exception) -> Response:
    """The answer to a request that fails with this exception; never raises."""
    return json_response(*_describe(error))


def inference_error_response(error: Exception) -> Response:
    """The same answer as the Open Inference Protocol has it: `{"error": "..."}`."""
    body, http_code, headers = _describe(error)
    return json_response({"error": body["error"]["message"]}, http_code, headers)


def _describe(error: Exception) -> tuple[dict[str, Any], int, dict[str, str]]:
    """The body, the HTTP code and further headers of the answer."""
    if isinstance(error, RequestError):
        body = to_json(error.code, error.reason, str(error), error.violations, error.http_code)
        return body, error.http_code, error.headers
    if isinstance(error, ScorewireError):
        body = to_json(error.code, error.reason, error.message, error.violations)
        return body, HTTP_CODES[error.code], _retry_after(error) | _challenge(error)
    return to_json(Code.INTERNAL, "INTERNAL", INTERNAL_MESSAGE), HTTP_CODES[Code.INTERNAL], {}


def http_error_response(http_code: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """The answer for an HTTP code of the router, such as 404 for a path that does not exist."""
    code = {404: Code.NOT_FOUND, 405: Code.UNIMPLEMENTED}.get(http_code, Code.INVALID_ARGUMENT)
    reason = HTTPStatus(http_code).name
    return json_response(to_json(code, reason, message, http_code=http_code), http_code, headers)


def to_json(
    code: Code, reason: str, message: str, violations: Iterable[Violation] = (), http_code: int | None = None
) -> dict[str, Any]:
    """The body of an answer that tells an error; `http_code` is that of the status code unless given."""
    error: dict[str, Any] = {"code": http_code or HTTP_CODES[code], "status": code.name}
    if reason:
        error["reason"] = reason
    error["message"] = _clip(message)
    if violations := tuple(violations):
        error["violations"] = [
            {"field": _clip(each.field), "description": _clip(each.description)} for each in violations
        ]
    return {"error": error}


def json_response(
    body: Mapping[str, Any], http_code: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer with a JSON body that has no NaN and no infinities."""
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(text.encode("utf-8", "replace"), http_code, headers, JSON)


def _retry_after(error: ScorewireError) -> dict[str, str]:
    """The header for a time that the server asked to wait, rounded up to whole seconds."""
    pause = error.retry_after
    return {} if pause is None else {"Retry-After": str(max(1, math.ceil(pause)))}


def _challenge(error: ScorewireError) -> dict[str, str]:
    """The header that tells how to say who calls, of RFC 6750."""
    return {"WWW-Authenticate": "Bearer"} if isinstance(error, UnauthenticatedError) else {}


def _clip(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."
