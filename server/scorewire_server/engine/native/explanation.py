"""Words the failures that the extension finds.

The extension finds that a call must fail, and does not know the words. It passes on
what it has read of the call, and the checks of the reference engine run on that. So
they fail in the same way, with the same words.
"""

from __future__ import annotations

from typing import TypeAlias

import scorewire_native
from scorewire_contract.service.logs import log_fault
from scorewire_server.engine.encodings.encoding import VersionName
from scorewire_server.engine.encodings.methods import TYPED_PREDICT_BATCH
from scorewire_server.engine.interpreted.failures import caller_limit
from scorewire_server.engine.native.version import row_error
from scorewire_server.engine.validation import check_answer, check_request, find_explainer, find_route
from scorewire_server.errors import code_and_reason, is_fault, to_status

Failure: TypeAlias = "scorewire_native.Failure"


def failure_of(error: BaseException) -> Failure:
    """What the caller sees of an exception, in the form that the extension takes."""
    status = to_status(error)
    return status.code, code_and_reason(error)[1], status.message, status.SerializeToString()


def limit_failure() -> Failure:
    """The failure of a caller's limit, without when to try again, which the extension appends."""
    error = caller_limit(0)
    status = to_status(error)
    del status.details[-1]
    return status.code, code_and_reason(error)[1], status.message, status.SerializeToString()


def explain(question: scorewire_native.Question, *, max_rows: int, max_message_bytes: int) -> Failure:
    """Word a failure that the extension has found. Never raises, since a call waits for the words.

    Args:
        question: what the extension has read of the call.
        max_rows: the server's limit of rows.
        max_message_bytes: the server's limit of an answer.
    """
    snapshot, method, names, (schema_fingerprint, explained), counts, problem = question
    model, major, version, picked = names
    row_count, number_count, text_count = counts
    malformed, refusal, answer_bytes = problem
    try:
        check_answer(answer_bytes, max_message_bytes)
        chosen = find_route(snapshot, VersionName(model, version, major)).version(picked)
        if malformed:
            raise chosen.typed.malformed(batch=method == TYPED_PREDICT_BATCH)
        if refusal is not None:
            raise chosen.typed.refusal(row_error(refusal))
        check_request(
            chosen,
            schema_fingerprint=schema_fingerprint,
            row_count=row_count,
            number_count=number_count,
            text_count=text_count,
            max_rows=max_rows,
        )
        if explained is not None:
            find_explainer(chosen, explained)
        error: Exception = RuntimeError("the native engine refused what the control plane allows")
    except Exception as found:
        error = found
    if is_fault(error):
        log_fault(method, error)
    return failure_of(error)
