"""The checks of prediction calls, written once for both engines."""

from __future__ import annotations

from scorewire_server.engine.encodings.encoding import VersionName
from scorewire_server.engine.explaining import Explainer
from scorewire_server.engine.snapshot import LoadedVersion, Route, Snapshot
from scorewire_server.errors import (
    InvalidRequestError,
    SchemaMismatchError,
    TooManyRowsError,
    Violation,
    clip,
    invalid_field,
    missing_model,
)


def find_route(snapshot: Snapshot, target: VersionName) -> Route:
    """The route of the model and the version that a call names.

    Raises:
        CallError: the name is empty, or leads nowhere, or to a version that does not serve.
    """
    model, version, major = target
    if major is not None:
        return snapshot.major_route(model, major, version)
    if not model:
        raise missing_model()
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
    """Check that the rows of a call fit a version.

    Args:
        version: the version that is to answer.
        schema_fingerprint: the fingerprint that the caller expects; "" for any.
        row_count: rows of the request.
        number_count: numbers of all rows.
        text_count: texts of all rows.
        max_rows: the server's limit of rows.

    Raises:
        SchemaMismatchError: the version has another fingerprint.
        InvalidRequestError: there are no rows, or too few or too many numbers or texts.
        TooManyRowsError: there are more rows than the limit.
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


def find_explainer(version: LoadedVersion, output: str) -> Explainer:
    """What explains an output of a version; "" is the first output that can be explained.

    Raises:
        InvalidRequestError: the version has no such output.
        NotExplainedError: the output cannot be explained.
    """
    return version.explanations.find(
        output, outputs=version.scorer.output_names, model=version.model, version=version.version
    )


def check_answer(answer_bytes: int, max_message_bytes: int) -> None:
    """Check that an answer is not too long.

    Raises:
        TooManyRowsError: the answer has more than `max_message_bytes` bytes.
    """
    if answer_bytes > max_message_bytes:
        raise TooManyRowsError(
            f"the answer has {answer_bytes} bytes, more than {max_message_bytes}; send fewer rows",
            limit_bytes=max_message_bytes,
        )
