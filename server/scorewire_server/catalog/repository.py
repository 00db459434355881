"""The repository: the folder of bundles, MODELS/<model>/<version>/.

Folders whose names begin with a dot are bundles that are being written; files
beside the folders are for people. Both are skipped. Names of folders can hold any
bytes; outside this module they are printable text.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

from scorewire_contract.bundle import MANIFEST, Bundle, BundleError, read_bundle
from scorewire_contract.schema import InvalidNameError, Version
from scorewire_contract.service.printable import printable
from scorewire_contract.service.start import StartError


class Key(NamedTuple):
    """A version of a model."""

    model: str
    version: str

    def rank(self) -> tuple[bool, Version, str]:
        """A sort key: reversed, it puts the highest versions first and names that are no versions last."""
        try:
            return True, Version(self.version), self.model
        except InvalidNameError:
            return False, Version("0.0.0"), self.model


@dataclass(frozen=True, slots=True)
class BundleFolder:
    """A folder that should hold a bundle; `model` and `version` are the names of the folders, printable."""

    path: Path
    model: str
    version: str


def scan(models: Path) -> list[BundleFolder]:
    """All folders of versions, sorted by path.

    Raises:
        StartError: `models` does not exist or cannot be read.
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


def refuse_misplaced(models: Path) -> None:
    """Refuse a folder without folders of versions that is a bundle, or the folder of one model.

    Raises:
        StartError: it is; the message names the folder that was meant.
    """
    here = models.resolve()
    if _is_bundle(here):
        found, meant = "is a bundle, one version of a model", here.parent.parent
    elif bundles := [path.name for path in _folders(here) if _is_bundle(path)]:
        shown = ", ".join(map(_shown, bundles[:3])) + (", ..." if len(bundles) > 3 else "")
        found, meant = f"is the folder of one model, with versions {shown}", here.parent
    else:
        return
    raise StartError(f"--models {models} {found}; name the folder of all models: --models {meant}")


# For the folder and then for each file: name, inode, size, time of modification and time of change, in
# nanoseconds. No program can set the time of change back.
Identity: TypeAlias = "tuple[tuple[str, int, int, int, int], ...]"


def identify(path: Path) -> Identity:
    """A value that differs whenever a file of the folder has changed; empty if the folder cannot be read."""
    try:
        with os.scandir(path) as entries:
            files = sorted((entry.name, entry.stat(follow_symlinks=False)) for entry in entries)
        statuses = [("", path.stat()), *files]
    except OSError:
        return ()
    return tuple(
        (name, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        for name, status in statuses
    )


def read_folder(folder: BundleFolder, digest: str = "") -> Bundle:
    """Read the bundle in a folder.

    Args:
        folder: a folder of the repository.
        digest: the digest that the bundle must have; "" takes any.

    Raises:
        BundleError: the folder holds no valid bundle, or the bundle is of another model or version
            than the folder's names say, or has another digest.
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


def _is_bundle(path: Path) -> bool:
    with suppress(OSError):
        return (path / MANIFEST).is_file()
    return False


def _shown(name: str) -> str:
    """A folder's name as printable text: different names stay different, valid versions stay as they are."""
    # Python turns bytes that are not UTF-8 into surrogates, which no protobuf message can carry.
    return printable(name.replace("\\", "\\\\"))


def _folders(path: Path) -> list[Path]:
    """The folders in a folder. Links to folders are included, so that a reader refuses them by name."""
    with os.scandir(path) as entries:
        return sorted(
            path / entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")
        )
