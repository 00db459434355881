"""The formats of tables that are uploaded and answered, by their media types."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from scorewire_gateway.errors import RequestError


class Format(StrEnum):
    """A format of a table; the value is its media type."""

    CSV = "text/csv"
    PARQUET = "application/vnd.apache.parquet"
    JSON_LINES = "application/x-ndjson"

    @property
    def suffix(self) -> str:
        """The suffix of files of this format."""
        return {Format.CSV: ".csv", Format.PARQUET: ".parquet", Format.JSON_LINES: ".jsonl"}[self]


MULTIPART = "multipart/form-data"
READABLE = (Format.CSV, Format.PARQUET)
_ALIASES = {
    "application/parquet": Format.PARQUET,
    "application/x-parquet": Format.PARQUET,
    "application/csv": Format.CSV,
    "application/jsonl": Format.JSON_LINES,
    "application/x-jsonlines": Format.JSON_LINES,
}
_CHARSETS = ("", "utf-8", "utf8", "us-ascii")


def media_type(header: str) -> tuple[str, dict[str, str]]:
    """The media type of a header, in lower case, and its parameters; none of those here may have a semicolon.

    The parsers of libraries take seconds for a header that is long enough.
    """
    media, *parts = header.split(";")
    parameters = {}
    for part in parts:
        name, _, value = part.partition("=")
        parameters[name.strip().lower()] = value.strip().strip('"')
    return media.strip().lower(), parameters


def format_of(header: str, filename: str = "") -> Format | None:
    """The format of a table, by its Content-Type, or else by the name of its file; None for no table.

    Raises:
        RequestError: it is CSV in another encoding than UTF-8.
    """
    media, parameters = media_type(header)
    found = _by_media_type(media)
    if found is None:
        found = next((each for each in READABLE if filename.lower().endswith(each.suffix)), None)
    charset = parameters.get("charset", "").strip().lower()
    if found is Format.CSV and charset not in _CHARSETS:
        raise RequestError(
            f"CSV is read as UTF-8, and not as {charset[:50]!r}: convert the file",
            reason="UNSUPPORTED_MEDIA_TYPE",
            http_code=415,
            close=True,
        )
    return found if found in READABLE else None


def wanted_format(accept: Iterable[str], given: Format) -> Format:
    """The format of the answer: the first of the most wanted media types of Accept.

    A type that stands for any, such as */*, means the format of the upload.

    Raises:
        RequestError: no format is acceptable.
    """
    ranges = [part for header in accept for part in header.split(",") if part.strip()]
    wanted: list[tuple[float, Format]] = []
    for part in ranges:
        media, parameters = media_type(part)
        found = given if media in ("*/*", "text/*", "application/*") else _by_media_type(media)
        if media == "text/*":
            found = Format.CSV
        quality = _quality(parameters.get("q", "1"))
        if found is not None and quality > 0:
            wanted.append((quality, found))
    if not ranges:
        return given
    if not wanted:
        raise RequestError(
            f"Accept names no format of tables; they are {', '.join(Format)}",
            reason="NOT_ACCEPTABLE",
            http_code=406,
            close=True,
        )
    return max(wanted, key=lambda each: each[0])[1]


def _by_media_type(media: str) -> Format | None:
    return next((each for each in Format if each == media), _ALIASES.get(media))


def _quality(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        return 0.0
    return found if 0 <= found <= 1 else 0.0
