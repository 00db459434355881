"""The folder of bundles: which versions there are.

MODELS/<model>/<version>/ is a version. Folders whose names begin with a dot are
bundles in the making; files beside the folders are for people. Both are skipped.
Outside this module the names of folders are printable text, whatever they are on
the disk.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

from scorewire_contract.bundle import Bundle, BundleError, read_bundle
from scorewire_contract.schema import InvalidNameError, Version
from scorewire_server.errors import StartError
from scorewire_server.printable import printable


class Key(NamedTuple):
    """A version of a model."""

    model: str
    version: str

    def rank(self) -> tuple[bool, Version, str]:
        """Models by name, and of each the highest version first, when reversed."""
        try:
            return True, Version(self.version), self.model
        except InvalidNameError:
            return False, Version("0.0.0"), self.model


@dataclass(frozen=True, slots=True)
class BundleFolder:
    """A folder that should be a version of a model, named as the folders are, in printable text."""

    path: Path
    model: str
    version: str


def scan(models: Path) -> list[BundleFolder]:
    """All folders of versions, ordered by path.

    Raises:
        StartError: the folder of bundles is not there or cannot be read.
    """
    try:
        return [
            BundleFolder(path=version, model=_shown(model.name), version=_shown(version.name))
            for model in _folders(models)
            for version in _folders(model)
        ]
    except OSError as error:
        raise StartError(
            f"--models {models} cannot be read: {error.strerror} ({error.filename}); name a folder of bundles"
        ) from None


# Of each file: name, inode, size, times of change in nanoseconds, of which the last one cannot be
# set back; the folder's own come first.
Identity: TypeAlias = "tuple[tuple[str, int, int, int, int], ...]"


def identify(path: Path) -> Identity:
    """What changes when anything in a folder does; empty where it cannot be read."""
    try:
        with os.scandir(path) as entries:
            files = sorted((entry.name, entry.stat(follow_symlinks=False)) for entry in entries)
        told = [("", path.stat()), *files]
    except OSError:
        return ()
    return tuple(
        (name, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns) for name, status in told
    )


def read_folder(folder: BundleFolder, digest: str = "") -> Bundle:
    """Read the bundle of a folder.

    Args:
        folder: a folder.
        digest: the bundle's, where only the one that was read before will do.

    Raises:
        BundleError: it is no bundle, or that of another model or version.
    """
    if folder.path.parent.is_symlink():
        raise BundleError(f"the folder of model {folder.model} is a link")
    bundle = read_bundle(folder.path, digest)
    if bundle.model != folder.model or bundle.version.text != folder.version:
        raise BundleError(
            f"the folders say {folder.model} {folder.version},"
            f" the manifest says {bundle.model} {bundle.version}"
        )
    return bundle


def _shown(name: str) -> str:
    """A folder's name as printable text; two names are never shown alike, and a version's as it is."""
    # Bytes that are no UTF-8 are surrogates here, which no message can carry.
    return printable(name.replace("\\", "\\\\"))


def _folders(path: Path) -> list[Path]:
    """The folders in a folder, links to folders among them, so that a reader can refuse these by name."""
    with os.scandir(path) as entries:
        return sorted(
            path / entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")
        )
