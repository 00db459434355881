"""What a job leaves: files to download, and its bundle, which can be published."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scorewire_contract import bundle as bundles
from scorewire_gateway.jobs.folder import JobFolder
from scorewire_gateway.jobs.job import Job

LOG = "log.txt"
_CLEANING, _METRICS, _FEATURES = "cleaning.json", "metrics.json", "features.parquet"
# Files of a bundle that people read.
_FOR_PEOPLE = ("report.html", "model_card.md", "training.toml")


def collect(folder: JobFolder, job: Job, told: Mapping[str, Any]) -> dict[str, Any]:
    """Put the results of a job's process where clients find them; returns the result for clients.

    Args:
        folder: the folder of all jobs.
        job: the job.
        told: the result as the training tool tells it.

    Raises:
        OSError: a file cannot be written.
        KeyError: the training tool told less than it should.
    """
    work, files = folder.work(job), folder.files(job)
    result = {name: value for name, value in told.items() if name != "event"}
    _write_json(files / _CLEANING, {"table": job.table, "steps": told["cleaning"]})
    if "bundle" not in told:
        (work / str(result.pop("file"))).replace(files / _FEATURES)
        return result
    _write_json(files / _METRICS, {"metrics": told["metrics"], "candidates": told["candidates"]})
    bundle = work / told["bundle"]
    for name in _FOR_PEOPLE:
        shutil.copyfile(bundle / name, files / name)
    for private in result.pop("private_files"):
        (work / private).replace(files / Path(private).name)
    archive = f"{told['model']}-{told['version']}.tar.gz"
    with tarfile.open(files / archive, "w:gz") as tar:
        tar.add(bundle, arcname=f"{told['model']}/{told['version']}", filter=_without_owner)
    (work / "models").replace(folder.models(job))
    result["bundle"] = archive
    # The archive has the folders of the model and the version, as a folder of models has them.
    unpack = [f"mkdir -p models && tar -xzf {archive} -C models", "scorewire serve --models models"]
    result["commands"] = [*unpack, *told["commands"]]
    return result


def publish(folder: JobFolder, job: Job, models: Path) -> None:
    """Copy the bundle of a job into a folder of models, as a whole or not at all.

    Raises:
        BundleError: the version exists there, or the bundle is damaged.
        OSError: a file cannot be read or written.
    """
    assert job.result is not None  # noqa: S101 - the caller has checked it
    path = folder.models(job) / job.result["model"] / job.result["version"]
    manifest = bundles.read_bundle(path).manifest
    files = {file.name: (path / file.name).read_bytes() for file in manifest.files}
    bundles.write_bundle(models, manifest, files)


def list_files(folder: JobFolder, job: Job) -> list[dict[str, Any]]:
    """The names and sizes of the files that can be downloaded."""
    try:
        return [
            {"name": path.name, "bytes": path.stat().st_size}
            for path in sorted(folder.files(job).iterdir())
            if path.is_file() and not path.name.startswith(".")
        ]
    except OSError:  # the job is being deleted
        return []


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(f"{json.dumps(value, ensure_ascii=False, indent=1)}\n", encoding="utf-8")


def _without_owner(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    # The files of a job are its owner's only; those of an unpacked bundle are for the server.
    entry.mode = 0o755 if entry.isdir() else 0o644
    return entry
