"""Builds the programs that check or run `deploy`, and writes schemas: `python -m tests.deploy.tools`.

All of it goes to build/tools. `go install` builds the programs at fixed versions, and the Go modules of
Kubernetes, KServe and the operator of Prometheus have the schemas. What is there already stays.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.deploy.schemas import of_custom_resources, of_kubernetes, write

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "build/tools"
SCHEMAS = TOOLS / "schemas"

PROGRAMS = {
    "helm": "helm.sh/helm/v4/cmd/helm@v4.3.2",
    "kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0",
}
# Programs of our own, each a folder here with a Go module.
OWN = ("collector", "compose_config")
# The oldest release that the chart supports, and a new one. Chart.yaml has the oldest, too.
KUBERNETES = ("1.30.14", "1.36.3")
# Modules with definitions of custom resources, and the folder of these.
CUSTOM_RESOURCES = {
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": "example/prometheus-operator-crd",
    "github.com/kserve/kserve@v0.17.0": "config/crd/full",
}


def program(name: str) -> Path:
    """The path of a program, whether it is built or not."""
    return TOOLS / "bin" / name


def schemas_of(release: str) -> Path:
    """The folder of the schemas of a release of Kubernetes."""
    return SCHEMAS / f"kubernetes-{release}"


def custom_schemas() -> Path:
    """The folder of the schemas of custom resources."""
    return SCHEMAS / "custom"


def missing() -> list[str]:
    """What `make tools` has to make yet of helm, kubeconform and their schemas."""
    absent = [name for name in PROGRAMS if not program(name).exists()]
    folders = [*map(schemas_of, KUBERNETES), custom_schemas()]
    return absent + [folder.name for folder in folders if not folder.exists()]


def main() -> int:
    """Make what is missing; without Go, say so."""
    if shutil.which("go") is None:
        print("No go here, so the tools are not built, and the tests that need them are skipped.")
        return 0
    for name, package in PROGRAMS.items():
        if not program(name).exists():
            environment = {**os.environ, "GOBIN": str(program(name).parent), "GOFLAGS": "-buildvcs=false"}
            subprocess.run(["go", "install", package], env=environment, check=True)
    for name in OWN:
        if not program(name).exists():
            folder = str(Path(__file__).with_name(name))
            subprocess.run(["go", "build", "-C", folder, "-o", str(program(name)), "."], check=True)
    for release in KUBERNETES:
        if not schemas_of(release).exists():
            write(schemas_of(release), of_kubernetes(_module(f"k8s.io/kubernetes@v{release}")))
    if not custom_schemas().exists():
        folders = [_module(module) / folder for module, folder in CUSTOM_RESOURCES.items()]
        write(custom_schemas(), [each for folder in folders for each in of_custom_resources(folder)])
    print(f"{', '.join((*PROGRAMS, *OWN))} and the schemas are in {TOOLS.relative_to(ROOT)}")
    return 0


def _module(module: str) -> Path:
    """The folder of a Go module, which is downloaded unless it is there."""
    command = ["go", "mod", "download", "-json", module]
    told = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parent)
    return Path(json.loads(told.stdout)["Dir"])


if __name__ == "__main__":
    sys.exit(main())
