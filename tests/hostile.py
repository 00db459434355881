"""Bundles with a hostile value in the manifest or the golden rows, but with valid checksums."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf import json_format

from scorewire_contract import bundle as contract
from scorewire_contract.schema import fingerprint
from scorewire_proto.bundle.v1 import manifest_pb2
from tests import bundles

_NUMBERS: tuple[object, ...] = (
    0, -1, 1.5, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 10**30, 1e308,
    "NaN", "Infinity", "-Infinity", True, None,
)  # fmt: skip
_TEXTS: tuple[object, ...] = (
    "", "\x00", "a\x1b[31m\r\nb", "\ud800", "\u202e", "x" * 2000, "../up", ".hidden", 7, None,
)  # fmt: skip
VERSIONS = (
    "99999999999999999999999.0.0", "0.18446744073709551616.0", "0.0.9223372036854775808",
    "9223372036854775807.9223372036854775807.9223372036854775807", "1.0.0-99999999999999999999999",
    "1.0.0-" + "9" * 50, "01.0.0", "1.00.0", f"{'1' * 1000}.0.0", f"{'1' * 5000}.0.0", "1.0.0+é", "v1.0.0",
)  # fmt: skip
_WRITERS: dict[str, Callable[..., Path]] = {
    "sum": bundles.write_sum_bundle,
    "classes": bundles.write_classifier_bundle,
    "tensors": bundles.write_tensor_bundle,
}
# Fields that cannot have a hostile value: they are for people, or depend on the content of files.
_HARMLESS = {"createdAt", "sha256", "sizeBytes", "fingerprint"}


def _additions(number: object) -> Iterator[tuple[tuple[Any, ...], object]]:
    """Numeric fields that the good manifests leave out."""
    yield ("schema", "features", 0, "fieldNumber"), number
    yield ("schema", "outputs", 0, "fieldNumber"), number
    yield ("schema", "reservedFeatures"), {"numbers": [number], "names": ["gone"]}
    yield ("schema", "reservedOutputs"), {"numbers": [number], "names": ["gone"]}
    yield ("coding", "inputs", 0, "shape"), {"dims": [number, number]}
    tensor = {"name": "t", "datatype": "FP64", "dims": [number, number, number]}
    yield ("tensors",), {"inputs": [tensor], "outputs": [tensor]}
    yield ("coding", "vocabularies"), [{"text": number, "fold": number, "texts": ["a"]}]


class Hostile(NamedTuple):
    """The files of a bundle; `what` tells what is hostile about it."""

    what: str
    model: object
    version: object
    files: dict[str, bytes]

    def write(self, folder: Path) -> Path:
        """Write the bundle without any checks."""
        folder.mkdir(parents=True)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        return folder


def hostile_bundles(folder: Path) -> Iterator[Hostile]:
    """Bundles of three models, each with one hostile value in the manifest or the golden rows.

    Args:
        folder: an empty folder for the good bundles.
    """
    for name, write in _WRITERS.items():
        path = write(folder)
        files = {each.name: each.read_bytes() for each in path.iterdir()}
        for file in (contract.MANIFEST, contract.GOLDEN):
            told = json.loads(files[file])
            exchanges = [*_exchanges(told)]
            if file == contract.MANIFEST:
                exchanges += [each for number in _NUMBERS for each in _additions(number)]
            for place, value in exchanges:
                changed = copy.deepcopy(told)
                _put(changed, place, value)
                what = f"{name}: {'.'.join(map(str, place))} of {file} is {str(value)[:40]!r}"
                if file == contract.MANIFEST:
                    yield _signed(what, changed, files)
                else:
                    content = {**files, contract.GOLDEN: json.dumps(changed).encode()}
                    yield _signed(what, json.loads(files[contract.MANIFEST]), content)


def _exchanges(told: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], object]]:
    """Positions in a message, each with the hostile values for it."""
    if isinstance(told, dict):
        for key, value in told.items():
            if key not in _HARMLESS:
                yield from _exchanges(value, (*place, key))
        others: tuple[object, ...] = ({}, None)
    elif isinstance(told, list):
        # One element of a repeated field is enough.
        for index, value in list(enumerate(told))[:2]:
            yield from _exchanges(value, (*place, index))
        others = ([], told * 2, None)
    elif place[-1] == "version":
        others = VERSIONS
    elif isinstance(told, str) and told not in ("NaN", "Infinity") and not told.lstrip("-").isdigit():
        # For an enum: another name, and a number.
        others = _TEXTS
    else:
        others = _NUMBERS
    if place:
        yield from ((place, value) for value in others)


def _put(told: Any, place: tuple[Any, ...], value: object) -> None:
    for step in place[:-1]:
        told = told[step]
    told[place[-1]] = value


def _signed(what: str, told: dict[str, Any], files: dict[str, bytes]) -> Hostile:
    """Correct the checksums and the fingerprint, so that they are not the reason for a refusal."""
    golden = files[contract.GOLDEN]
    listed = told.get("files")
    for file in listed if isinstance(listed, list) else ():
        if isinstance(file, dict) and file.get("name") == contract.GOLDEN:
            file.update(sha256=hashlib.sha256(golden).hexdigest(), sizeBytes=str(len(golden)))
    try:
        manifest = json_format.ParseDict(told, manifest_pb2.Manifest())
        told["schema"]["fingerprint"] = fingerprint(manifest.schema)
    except (json_format.ParseError, KeyError, TypeError, ValueError, SystemError):
        pass
    content = {**files, contract.MANIFEST: json.dumps(told).encode()}
    return Hostile(what, told.get("model"), told.get("version"), content)
