"""Calls by nghttp, which sends what no gRPC library would send, and shows the complete response."""

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
    """A response: its header fields with the trailers, and its body, which has messages with prefixes."""

    fields: dict[str, str]
    body: bytes

    @property
    def status(self) -> int:
        """The number of the gRPC status code."""
        return int(self.fields["grpc-status"])


def call(address: str, path: str, body: bytes, **fields: str) -> Answer:
    """Make a call with these bytes and further header fields, with _ for - in their names."""
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
