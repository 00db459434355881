"""Each gRPC status code has its HTTP code, and an error leaves as one JSON object."""

from __future__ import annotations

import json

import grpc
import httpx
import pytest
from google.rpc import code_pb2
from scorewire_gateway.errors import HTTP_CODES, INTERNAL_MESSAGE, RequestError, error_response

from scorewire import Code, ScorewireError, Violation
from scorewire.testing import FakeServer

# From the comments of google/rpc/code.proto.
GOOGLE = {
    "OK": 200,
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "UNAUTHENTICATED": 401,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
}


def test_the_table_has_every_code_as_google_maps_it() -> None:
    assert {code.name: http for code, http in HTTP_CODES.items()} == GOOGLE
    assert set(GOOGLE) == set(code_pb2.Code.keys()) == {code.name for code in grpc.StatusCode}


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
def test_an_error_of_the_server_leaves_with_its_code_reason_and_violations(
    code: Code, fake: FakeServer, http: httpx.Client
) -> None:
    violation = Violation(field="rows.numbers", description="are too few")
    fake.fail(code, "it failed", method="ListModels", times=9, reason="SOME_REASON", violations=[violation])
    answer = http.get("/models")
    assert answer.status_code == GOOGLE[code.name]
    assert answer.headers.get("WWW-Authenticate") == ("Bearer" if code is Code.UNAUTHENTICATED else None)
    assert answer.json() == {
        "error": {
            "code": GOOGLE[code.name],
            "status": code.name,
            "reason": "SOME_REASON",
            "message": "it failed",
            "violations": [{"field": "rows.numbers", "description": "are too few"}],
        }
    }


def test_the_time_after_which_to_try_again_is_a_header(fake: FakeServer, http: httpx.Client) -> None:
    fake.fail(Code.RESOURCE_EXHAUSTED, method="ListModels", retry_after=1.2)
    answer = http.get("/models")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "2")


def test_an_error_of_the_gateway_may_have_an_http_code_of_its_own() -> None:
    error = RequestError("too long", code=Code.RESOURCE_EXHAUSTED, reason="BODY_TOO_LARGE", http_code=413)
    answer = error_response(error)
    assert answer.status_code == 413
    assert json.loads(bytes(answer.body))["error"] == {
        "code": 413,
        "status": "RESOURCE_EXHAUSTED",
        "reason": "BODY_TOO_LARGE",
        "message": "too long",
    }


@pytest.mark.parametrize("error", [ValueError("secret"), RuntimeError("secret"), KeyError("secret")])
def test_a_fault_leaves_as_a_fixed_text(error: Exception) -> None:
    answer = error_response(error)
    assert answer.status_code == 500
    assert json.loads(bytes(answer.body))["error"]["message"] == INTERNAL_MESSAGE


def test_long_texts_and_lone_surrogates_are_cut_to_what_json_can_hold() -> None:
    answer = error_response(ScorewireError("\ud800" + "x" * 5000))
    message = json.loads(bytes(answer.body))["error"]["message"]
    assert message.startswith("?x")
    assert len(message) == 1000
