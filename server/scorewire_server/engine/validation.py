"""What a prediction call must be, and how it fails where it is not: the one definition for all engines."""

from __future__ import annotations

from scorewire_server.engine.snapshot import LoadedVersion, Route, Snapshot
from scorewire_server.errors import (
    DeadlineExceededError,
    DrainingError,
    InvalidRequestError,
    MalformedMessageError,
    OverloadedError,
    RunStoppedError,
    SchemaMismatchError,
    TooManyInFlightError,
    TooManyRowsError,
    Violation,
    clip,
    invalid_field,
)


def find_route(snapshot: Snapshot, model: str, version: str) -> Route:
    """What a request's names lead to.

    Raises:
        CallError: there is none.
    """
    if not model:
        raise invalid_field("model", "a model's name is missing; ListModels names them all")
    return snapshot.route(model, version)


def check_request(
    version: LoadedVersion,
    *,
    schema_fingerprint: str,
    row_count: int,
    number_count: int,
    text_count: int,
    max_rows: int,
) -> None:
    """Check that the rows have the shape that the version asks for.

    Raises:
        CallError: they have not.
    """
    if schema_fingerprint and schema_fingerprint != version.fingerprint:
        raise SchemaMismatchError(
            f"the request is for schema {clip(schema_fingerprint)!r}, and model {version.model!r}"
            f" {version.version} has {version.fingerprint!r}; fetch the schema anew",
            model=version.model,
            version=version.version,
            schema_fingerprint=version.fingerprint,
        )
    if not row_count:
        raise invalid_field("rows.row_count", "there are no rows; send at least one")
    limit = min(max_rows, version.max_rows or max_rows)
    if row_count > limit:
        raise TooManyRowsError(
            f"{row_count} rows are more than the {limit} of one call; send them in several",
            rows=row_count,
            limit=limit,
        )
    scorer = version.scorer
    if number_count == row_count * scorer.number_count and text_count == row_count * scorer.text_count:
        return
    violations = [
        Violation(path, f"{found} {what} for {row_count} rows; {per_row} each make {row_count * per_row}")
        for path, what, found, per_row in (
            ("rows.numbers", "numbers", number_count, scorer.number_count),
            ("rows.texts", "texts", text_count, scorer.text_count),
        )
        if found != row_count * per_row
    ]
    raise InvalidRequestError(
        f"the rows do not fit the schema: {violations[0].field} has {violations[0].description}",
        violations=violations,
        model=version.model,
        version=version.version,
    )


def check_answer(answer_bytes: int, max_message_bytes: int) -> None:
    """Check that an answer may be sent.

    Raises:
        TooManyRowsError: it is too long.
    """
    if answer_bytes > max_message_bytes:
        raise TooManyRowsError(
            f"the answer has {answer_bytes} bytes, more than {max_message_bytes}; send fewer rows",
            limit_bytes=max_message_bytes,
        )


def malformed() -> MalformedMessageError:
    """The failure of bytes that are no message."""
    return MalformedMessageError("the message is not one that this method takes: send scorewire.v1 messages")


def too_many_in_flight(limit: int) -> TooManyInFlightError:
    """The failure of a call that comes while `limit` others are being answered."""
    return TooManyInFlightError(f"the server answers {limit} calls already; try again later", limit=limit)


def too_many_bytes() -> TooManyInFlightError:
    """The failure of a call whose answer would have to wait behind too many others."""
    return TooManyInFlightError(
        "the server holds as many bytes of messages and answers as it may; try again later"
    )


def too_many_failing() -> TooManyInFlightError:
    """The failure of a call that is wrong, while very many are."""
    return TooManyInFlightError(
        "more calls fail at one time than the server can word; try again for the reason"
    )


def expired() -> DeadlineExceededError:
    """The failure of a call whose deadline passed."""
    return DeadlineExceededError(
        "the deadline passed before the model was done; allow more time or send fewer rows"
    )


def overloaded() -> OverloadedError:
    """The failure of a call that waited for too long where more calls come than can be answered."""
    return OverloadedError("the call waited for half of its time already; try another server, or again later")


def run_stopped(seconds: float) -> RunStoppedError:
    """The failure of a call whose run was stopped."""
    return RunStoppedError(
        f"the model ran longer than the {seconds:g} s of one run and was stopped; send fewer rows",
        limit_seconds=f"{seconds:g}",
    )


def draining() -> DrainingError:
    """The failure of a call that is not answered before the server stops."""
    return DrainingError("the server is about to stop; send the call to another")
