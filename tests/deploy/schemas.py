"""Writes strict JSON schemas of Kubernetes' objects, for kubeconform, from their own definitions.

A strict schema refuses fields that it does not have. Kubernetes itself drops such fields, so that a
misspelt one changes nothing, and nobody is told.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

Schema = dict[str, Any]
# Name of the file and contents.
Named = tuple[str, Schema]

_GROUP_VERSION_KIND = "x-kubernetes-group-version-kind"
_DEFINITION = "#/definitions/"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"


class _Loader(yaml.CSafeLoader):
    """Reads a plain `=` as a text, as YAML 1.2 does."""


_Loader.add_constructor("tag:yaml.org,2002:value", lambda _, node: node.value)


def location(folder: Path) -> str:
    """A folder of schemas as kubeconform's --schema-location."""
    return f"{folder}/{{{{.ResourceKind}}}}-{{{{.Group}}}}-{{{{.ResourceAPIVersion}}}}.json"


def of_kubernetes(module: Path) -> Iterator[Named]:
    """The schemas of all kinds of objects that a release of Kubernetes has.

    Args:
        module: the folder of the Go module k8s.io/kubernetes.
    """
    document = json.loads((module / "api/openapi-spec/swagger.json").read_text(encoding="utf-8"))
    definitions = {name: _strict(each) for name, each in document["definitions"].items()}
    definitions[_QUANTITY] = {"type": ["string", "number"]}
    for name, definition in document["definitions"].items():
        for kind in definition.get(_GROUP_VERSION_KIND, ()):
            needed = {each: definitions[each] for each in _reachable(definitions, name)}
            yield _file_name(**kind), {**definitions[name], "definitions": needed}


def of_custom_resources(folder: Path) -> Iterator[Named]:
    """The schemas of the definitions of custom resources in a folder of YAML files."""
    for path in sorted(folder.glob("*.yaml")):
        for document in yaml.load_all(path.read_text(encoding="utf-8"), _Loader):
            if document.get("kind") != "CustomResourceDefinition":
                continue
            spec = document["spec"]
            for version in spec["versions"]:
                schema = _strict(version["schema"]["openAPIV3Schema"])
                yield _file_name(spec["group"], version["name"], spec["names"]["kind"]), schema


def write(folder: Path, schemas: Iterable[Named]) -> None:
    """Write schemas as the files of a new folder, which appears when it is complete."""
    scratch = folder.with_name(f".{folder.name}")
    scratch.mkdir(parents=True, exist_ok=True)
    for name, schema in schemas:
        (scratch / name).write_text(json.dumps(schema), encoding="utf-8")
    scratch.rename(folder)


def _file_name(group: str, version: str, kind: str) -> str:
    # kubeconform has the whole group, and for the core group the version only.
    return f"{kind.lower()}-{group or version}-{version}.json"


def _strict(schema: Any) -> Any:
    """A schema without descriptions that refuses fields it does not have."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string") or schema.get("format") == "int-or-string":
        return {"type": ["string", "integer"]}
    strict = {
        key: {name: _strict(each) for name, each in value.items()} if key == "properties" else _strict(value)
        for key, value in schema.items()
        if key not in ("description", "default") and not key.startswith("x-kubernetes-")
    }
    open_to_others = schema.get("x-kubernetes-preserve-unknown-fields", False)
    if "properties" in strict and "additionalProperties" not in strict and not open_to_others:
        strict["additionalProperties"] = False
    return strict


def _reachable(definitions: dict[str, Schema], name: str) -> set[str]:
    """The names of the definitions that a definition refers to, directly or through others."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for each in _references(definitions[waiting.pop()]):
            if each not in found:
                found.add(each)
                waiting.append(each)
    return found


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for each in schema:
            yield from _references(each)
    elif isinstance(schema, dict):
        for key, value in schema.items():
            if key == "$ref" and isinstance(value, str):
                yield value.removeprefix(_DEFINITION)
            else:
                yield from _references(value)
