"""Calls by nghttp, which sends what no client library of gRPC would and shows all that comes back."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT_SECONDS = 60
_FIELD = re.compile(rb"recv \(stream_id=\d+\) (:?[^:\n]+): (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Answer:
    """All fields of an answer, those of its end too, and its bytes: messages with their heads."""

    fields: dict[str, str]
    body: bytes

    @property
    def status(self) -> int:
        """The number of gRPC's status."""
        return int(self.fields["grpc-status"])


def call(address: str, path: str, body: bytes, **fields: str) -> Answer:
    """Make a call with these bytes and further fields, whose names have - for _."""
    told = {"content-type": "application/grpc", "te": "trailers", ":method": "POST"}
    told |= {name.replace("_", "-"): value for name, value in fields.items()}
    headers = [f"--header={name}: {value}" for name, value in told.items()]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "body"
        data.write_bytes(body)
        command = ["nghttp", f"--data={data}", "--no-dep", *headers, f"http://{address}{path}"]
        shown, got = (
            subprocess.run([*command, *flags], capture_output=True, check=True, timeout=_TIMEOUT_SECONDS)
            for flags in (("--verbose", "--null-out"), ())
        )
    found = {name.decode(): value.decode() for name, value in _FIELD.findall(shown.stdout)}
    return Answer(found, got.stdout)
