"""Reads and writes bundles; models/README.md describes the format.

A bundle is read with every check that needs no ONNX runtime. Nothing in it is
executed or unpickled, and the type, size and links of each file are checked
before its content is read. A bundle is written completely or not at all.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from scorewire_contract.schema import InvalidNameError, Version, check_model_name, fingerprint
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import schema_pb2

# The newest format. A bundle is written in the oldest format that can express it, so that older
# releases can read it.
FORMAT_VERSION = 4
MANIFEST = "manifest.json"
GRAPH = "model.onnx"
GOLDEN = "golden.json"
TYPED_SCHEMA = "schema.proto"
EXPLANATION = "explanation.pb"
EXPLANATION_GRAPH = "explanation.onnx"
MAX_MANIFEST_BYTES = 64 << 20
MAX_FILE_BYTES = 2 << 30
MAX_FILES = 64
# The longest name of a feature, output or file. Error messages repeat these names.
MAX_NAME_BYTES = 1000
MAX_DESCRIPTION_CHARACTERS = 100_000

# The files that a server reads, beside the manifest.
_READ = frozenset({GRAPH, GOLDEN, EXPLANATION, EXPLANATION_GRAPH})
# What each format can express and the one before it cannot.
_ADDITIONS = {2: "counts of words", 3: "names of fields", 4: "claim of equal bits"}
_OUTPUT_KINDS = set(schema_pb2.OutputKind.values()) - {schema_pb2.OUTPUT_KIND_UNSPECIFIED}

_M = TypeVar("_M", manifest_pb2.Manifest, manifest_pb2.Golden)


class BundleError(ValueError):
    """A folder is not a valid bundle; the message tells why."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose manifest, file list and checksums have been checked.

    `digest` is the SHA-256 of its manifest file. The manifest has the SHA-256 of
    every other file, so two bundles with the same digest are identical. It is
    empty if the bundle was not read from a folder. `explanation` is None in bundles of
    earlier releases; `explanation_graph` is empty if no output is explained.
    """

    path: Path
    manifest: manifest_pb2.Manifest
    graph: bytes
    golden: manifest_pb2.Golden
    digest: str = ""
    explanation: manifest_pb2.Explanation | None = None
    explanation_graph: bytes = b""

    @property
    def model(self) -> str:
        """The model's name."""
        return self.manifest.model

    @property
    def version(self) -> Version:
        """The version."""
        return Version(self.manifest.version)


def read_bundle(path: Path, digest: str = "") -> Bundle:
    """Read the bundle in a folder.

    Args:
        path: the folder.
        digest: the digest that the bundle must have; "" for any. It is checked
            before anything is parsed.

    Raises:
        BundleError: a file is missing, too large, not listed in the manifest, or not
            a regular file with a single link; a checksum, the digest, the format
            version or a name is wrong; or the manifest contradicts itself.
    """
    content = _read_manifest(path)
    found = hashlib.sha256(content).hexdigest()
    if digest not in ("", found):
        raise BundleError("it is not the bundle that was read before: its files have changed meanwhile")
    manifest = _manifest(content)
    expected = {MANIFEST, *(file.name for file in manifest.files)}
    present = {entry.name for entry in os.scandir(path)}
    if missing := sorted(expected - present):
        raise BundleError(f"{missing[0]} is missing")
    if surplus := sorted(present - expected):
        raise BundleError(f"{surplus[0]} is not in the manifest")
    contents: dict[str, bytes] = {}
    for file in manifest.files:
        content = _read(path / file.name, MAX_FILE_BYTES)
        if len(content) != file.size_bytes or hashlib.sha256(content).hexdigest() != file.sha256:
            raise BundleError(f"{file.name} differs from its checksum in the manifest")
        if file.name in _READ:
            contents[file.name] = content
    for name in (GRAPH, GOLDEN):
        if name not in contents:
            raise BundleError(f"the manifest does not list {name}")
    golden = _parse(contents[GOLDEN], manifest_pb2.Golden(), GOLDEN)
    return Bundle(
        path=path,
        manifest=manifest,
        graph=contents[GRAPH],
        golden=golden,
        digest=found,
        explanation=_explanation(contents, manifest),
        explanation_graph=contents.get(EXPLANATION_GRAPH, b""),
    )


def read_manifest(path: Path) -> manifest_pb2.Manifest:
    """Read and check the manifest of the bundle in a folder, without its other files.

    Raises:
        BundleError: the manifest is missing, cannot be read, or is invalid.
    """
    return _manifest(_read_manifest(path))


def write_bundle(output_dir: Path, manifest: manifest_pb2.Manifest, files: Mapping[str, bytes]) -> Path:
    """Write a bundle as output_dir/<model>/<version>, and return that folder.

    Sets the manifest's format version, files and schema fingerprint. The folder
    appears with all its files or not at all.

    Args:
        output_dir: the folder of all bundles.
        manifest: the manifest; changed in place.
        files: the content of every file except the manifest, by name.

    Raises:
        BundleError: the version exists already, or the bundle is invalid.
    """
    manifest.format_version = _needed_format(manifest)
    manifest.schema.fingerprint = fingerprint(manifest.schema)
    del manifest.files[:]
    for name, content in sorted(files.items()):
        manifest.files.add(name=name, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
    _check(manifest)
    target = output_dir / manifest.model / manifest.version
    if target.exists():
        raise BundleError(f"{target} exists, and a version never changes: choose another version")
    target.parent.mkdir(parents=True, exist_ok=True)
    # Next to the target, so that the rename stays within one file system. Servers
    # ignore folders whose names begin with a dot.
    scratch = target.parent / f".{manifest.version}.{secrets.token_hex(4)}"
    scratch.mkdir()
    try:
        for name, content in files.items():
            _write(scratch / name, content)
        text = json_format.MessageToJson(manifest, indent=1, ensure_ascii=False, sort_keys=True)
        _write(scratch / MANIFEST, text.encode("utf-8"))
        read_bundle(scratch)
        try:
            scratch.rename(target)
        except OSError as error:
            raise BundleError(f"{target} cannot be put in place: {error.strerror}") from error
    finally:
        if scratch.exists():
            shutil.rmtree(scratch)
    return target


def to_json(message: manifest_pb2.Golden) -> bytes:
    """Serialize the message to the JSON form of protobuf, in UTF-8."""
    return json_format.MessageToJson(message, indent=None, ensure_ascii=False).encode("utf-8")


def _explanation(
    contents: Mapping[str, bytes], manifest: manifest_pb2.Manifest
) -> manifest_pb2.Explanation | None:
    """The explanation of a bundle, checked against its manifest; None if the bundle has none."""
    if EXPLANATION not in contents:
        if EXPLANATION_GRAPH in contents:
            raise BundleError(f"{EXPLANATION_GRAPH} is there without {EXPLANATION}")
        return None
    try:
        explanation = manifest_pb2.Explanation.FromString(contents[EXPLANATION])
    except DecodeError:
        raise BundleError(f"{EXPLANATION} does not fit the format") from None
    if bool(explanation.outputs) != (EXPLANATION_GRAPH in contents):
        raise BundleError(f"{EXPLANATION} explains outputs only together with {EXPLANATION_GRAPH}")
    outputs = {output.name: output for output in manifest.schema.outputs}
    named = [each.output for each in explanation.outputs]
    named += [each.output for each in explanation.unexplained]
    if len(set(named)) != len(named) or not set(named) <= outputs.keys():
        raise BundleError(f"{EXPLANATION} names an output twice, or one that the schema does not have")
    for output in explanation.outputs:
        _check_explained(output, outputs[output.output], len(manifest.schema.features))
    return explanation


def _check_explained(
    output: manifest_pb2.ExplainedOutput, declared: schema_pb2.OutputSchema, features: int
) -> None:
    """Check how an output is explained against the schema's output and the number of features."""
    if not output.constants or len(output.labels) not in (0, len(output.constants)):
        raise BundleError(f"{EXPLANATION} has no margins for {output.output!r}, or not one for each label")
    if len(output.constants) > declared.width or not set(output.labels) <= set(declared.class_labels):
        raise BundleError(f"{EXPLANATION} has more margins than {output.output!r}, or other classes")
    if not output.trees and not output.linear:
        raise BundleError(f"{EXPLANATION} explains {output.output!r} by nothing")
    # It is in every typed prediction.
    if len(output.link.encode()) > MAX_NAME_BYTES:
        raise BundleError(f"{EXPLANATION} has a link of more than {MAX_NAME_BYTES} bytes")
    for term in output.trees:
        if term.first_margin >= len(output.constants) or any(each > features for each in term.features):
            raise BundleError(f"{EXPLANATION} names a margin or a feature that there is not")
    if any(each >= features for term in output.linear for each in term.features):
        raise BundleError(f"{EXPLANATION} names a feature that there is not")


def _read_manifest(path: Path) -> bytes:
    if not path.is_dir() or path.is_symlink():
        raise BundleError("it is not a folder")
    return _read(path / MANIFEST, MAX_MANIFEST_BYTES)


def _manifest(content: bytes) -> manifest_pb2.Manifest:
    try:
        manifest = _parse(content, manifest_pb2.Manifest(), MANIFEST)
    except BundleError:
        # A newer format may have unknown fields. Its number makes the better error message.
        _check_format(_parse(content, manifest_pb2.Manifest(), MANIFEST, ignore_unknown_fields=True))
        raise
    _check(manifest)
    return manifest


def _check_format(manifest: manifest_pb2.Manifest) -> None:
    if not 1 <= manifest.format_version <= FORMAT_VERSION:
        raise BundleError(
            f"bundle format {manifest.format_version} is not one that this release reads"
            f" (1 to {FORMAT_VERSION})"
        )


def _needed_format(manifest: manifest_pb2.Manifest) -> int:
    """The oldest format that can express the manifest."""
    schema = manifest.schema
    if manifest.parity.exact:
        return 4
    if any(each.field_name for each in schema.features) or any(each.field_name for each in schema.outputs):
        return 3
    return 2 if manifest.coding.bags else 1


def _check(manifest: manifest_pb2.Manifest) -> None:
    _check_format(manifest)
    if manifest.format_version < (needed := _needed_format(manifest)):
        raise BundleError(f"bundle format {manifest.format_version} has no {_ADDITIONS[needed]}")
    try:
        check_model_name(manifest.model)
        Version(manifest.version)
    except InvalidNameError as error:
        raise BundleError(str(error)) from None
    if not manifest.schema.features or not manifest.schema.outputs:
        raise BundleError("the schema has no features or no outputs")
    for what, names in (
        ("feature", [feature.name for feature in manifest.schema.features]),
        ("output", [output.name for output in manifest.schema.outputs]),
        ("file", [file.name for file in manifest.files]),
    ):
        if len(set(names)) != len(names) or not all(names):
            raise BundleError(f"two {what}s of the manifest have the same name, or one has no name")
        if any(len(name.encode()) > MAX_NAME_BYTES for name in names):
            raise BundleError(f"a {what}'s name has more than {MAX_NAME_BYTES} bytes")
    if len(manifest.description) > MAX_DESCRIPTION_CHARACTERS:
        raise BundleError(f"the description has more than {MAX_DESCRIPTION_CHARACTERS} characters")
    if not {output.kind for output in manifest.schema.outputs} <= _OUTPUT_KINDS:
        raise BundleError("an output of the schema is of no kind that this release knows")
    if manifest.schema.fingerprint != fingerprint(manifest.schema):
        raise BundleError("the schema's fingerprint is not that of the schema")
    if len(manifest.files) > MAX_FILES:
        raise BundleError(f"{len(manifest.files)} files are more than the {MAX_FILES} of the format")
    for file in manifest.files:
        if file.name == MANIFEST or Path(file.name).name != file.name or file.name.startswith("."):
            raise BundleError(f"{file.name!r} is not a valid name for a file of a bundle")


def _read(path: Path, max_bytes: int) -> bytes:
    """Read a regular file that has a single link."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise BundleError(f"{path.name} is missing") from None
    except OSError as error:
        raise BundleError(f"{path.name} cannot be opened: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise BundleError(f"{path.name} is not a regular file with a single link")
        if status.st_size > max_bytes:
            raise BundleError(f"{path.name} has {status.st_size} bytes, more than {max_bytes}")
        # Not more: read() allocates as many bytes as it is asked for.
        return file.read(status.st_size)


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _parse(content: bytes, message: _M, name: str, *, ignore_unknown_fields: bool = False) -> _M:
    try:
        return json_format.Parse(content, message, ignore_unknown_fields=ignore_unknown_fields)
    except (json_format.ParseError, ValueError, TypeError, SystemError, RecursionError) as error:
        # For some invalid texts and numbers, protobuf raises errors of other types.
        raise BundleError(f"{name} does not fit the format: {str(error)[:200]}") from None
