"""Checks objects of Kubernetes against its schemas, and those of custom resources."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.deploy.schemas import location
from tests.deploy.tools import custom_schemas, program, schemas_of


def validate(release: str, *files: Path, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run kubeconform with the strict schemas of a release, on files or on a text."""
    command = [program("kubeconform"), "-strict", "-summary"]
    for folder in (schemas_of(release), custom_schemas()):
        command += ["-schema-location", location(folder)]
    command += files or ["-"]
    return subprocess.run(
        [*map(str, command)], input=text, capture_output=True, text=True, check=False, timeout=120
    )
