"""The typed schema of a new bundle, compatible with that of the version before it."""

from __future__ import annotations

import contextlib
from pathlib import Path

from scorewire_contract.bundle import BundleError, read_manifest
from scorewire_contract.schema import InvalidNameError, Version
from scorewire_contract.typed import typed_schema
from scorewire_proto.bundle.v1 import manifest_pb2
from scorewire_proto.v1 import schema_pb2
from scorewire_training.export.errors import ExportError
from scorewire_training.export.typed_fields import IncompatibleSchemaError, assign_fields


def assign_compatible_fields(manifest: manifest_pb2.Manifest, output_dir: Path) -> None:
    """Assign field numbers to features and outputs that clients of the predecessor can still use.

    The predecessor is the highest lower version with the same major number in the
    folder of all models.

    Raises:
        ExportError: clients of the predecessor would break, or its manifest cannot be read.
    """
    version = Version(manifest.version)
    family = _family(output_dir / manifest.model, version)
    before = max((each for each in family if each < version), default=None)
    try:
        predecessor = None if before is None else read_manifest(family[before]).schema
        others = [_schema(path) for each, path in family.items() if each != before]
        assign_fields(
            manifest.schema,
            predecessor,
            before="" if before is None else before.text,
            others=[schema for schema in others if schema is not None],
        )
    except BundleError as error:
        raise ExportError(f"{before}, the version before this one, cannot be read: {error}") from None
    except IncompatibleSchemaError as error:
        raise ExportError(str(error)) from None
    except ValueError as error:
        raise ExportError(f"the versions of major {version.major} cannot be continued: {error}") from None


def render_typed_schema(manifest: manifest_pb2.Manifest) -> bytes:
    """The schema.proto of a manifest."""
    typed = typed_schema(manifest.model, manifest.version, manifest.schema, manifest.description)
    return typed.render().encode("utf-8")


def _family(folder: Path, version: Version) -> dict[Version, Path]:
    """The other versions with the same major number."""
    found = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        with contextlib.suppress(InvalidNameError):
            other = Version(path.name)
            if other.major == version.major and other != version:
                found[other] = path
    return found


def _schema(bundle: Path) -> schema_pb2.Schema | None:
    """The schema of a bundle; None where the bundle cannot be read and so cannot serve."""
    try:
        return read_manifest(bundle).schema
    except BundleError:
        return None
