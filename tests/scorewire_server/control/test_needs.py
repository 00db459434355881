"""Each method of each service has an entry that says what it needs, and the entry fits its messages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scorewire_server.access.access_file import Open
from scorewire_server.control.descriptors import SERVICES, server_files
from scorewire_server.control.needs import CHANGES, MESSAGES, NEEDS, open_paths
from scorewire_server.engine.access import Right
from scorewire_server.engine.encodings.methods import METHODS
from tests.scorewire_server.control.registered import registered_methods

PROTO = Path(__file__).resolve().parents[3] / "proto"
# Fields of requests that name a model.
NAMES = {"model", "name", "model_name", "repository_name"}
HEALTH = {
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/List",
    "/grpc.health.v1.Health/Watch",
    "/inference.GRPCInferenceService/ServerLive",
    "/inference.GRPCInferenceService/ServerReady",
}
REFLECTION = {
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
}
STATISTICS = {
    "/scorewire.v1.ModelService/GetStatistics",
    "/inference.GRPCInferenceService/ModelStatistics",
}


def test_each_method_that_a_server_describes_has_an_entry_and_each_entry_a_method() -> None:
    described = {
        f"/{file.proto.package}.{service.name}/{method.name}"
        for file in server_files().values()
        for service in file.proto.service
        for method in service.method
    }
    assert NEEDS.keys() == described


def test_each_service_of_the_contract_has_entries() -> None:
    """Also a service that somebody forgot to describe."""
    declared = set()
    for path in PROTO.rglob("*.proto"):
        text = path.read_text(encoding="utf-8")
        package = re.search(r"^package ([\w.]+);", text, re.MULTILINE)
        for service, body in re.findall(r"^service (\w+) \{(.*?)^\}", text, re.MULTILINE | re.DOTALL):
            assert package is not None
            methods = re.findall(r"^  rpc (\w+)\(", body, re.MULTILINE)
            declared |= {f"/{package[1]}.{service}/{method}" for method in methods}
    assert len(declared) == 25
    own = {path for path in NEEDS if not path.startswith("/grpc.")}
    assert own == declared
    assert {path[1:].partition("/")[0] for path in NEEDS} == set(SERVICES)


def test_each_method_that_a_server_registers_has_an_entry(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered = {method.path for method in registered_methods(models, monkeypatch)}
    predictions = {method.path for method in METHODS}
    assert registered | predictions == NEEDS.keys()
    assert not registered & predictions
    assert {path for path, need in NEEDS.items() if need.right is Right.PREDICT} == predictions


def test_each_request_that_names_a_model_says_where() -> None:
    predictions = {method.path for method in METHODS}
    for path in MESSAGES.keys() - predictions:
        fields = MESSAGES[path].request.DESCRIPTOR.fields_by_name
        # Of the index, the field has another meaning, and the server ignores it.
        named = set() if path.endswith("/RepositoryIndex") else NAMES.intersection(fields.keys())
        assert set(NEEDS[path].model) == named, path
        assert all(fields[name].type == fields[name].TYPE_STRING for name in named)


def test_each_answer_about_several_models_says_where_they_are() -> None:
    several = {path: need.entries for path, need in NEEDS.items() if need.entries is not None}
    assert set(several) == STATISTICS | {
        "/scorewire.v1.ModelService/ListModels",
        "/inference.GRPCInferenceService/RepositoryIndex",
    }
    for path, entries in several.items():
        fields = MESSAGES[path].answer.DESCRIPTOR.fields_by_name
        assert fields[entries.field].is_repeated, path
        entry = fields[entries.field].message_type
        assert entry is not None
        name = entry.fields_by_name[entries.name]
        assert name.type == name.TYPE_STRING, path
        # Each field of the answer is either filtered or about no model but all of them.
        assert set(fields.keys()) == {entries.field} | ({entries.total} - {""}), path


def test_what_changes_something_is_known() -> None:
    methods = {path.rpartition("/")[2] for path in CHANGES}
    assert methods == {
        "LoadVersion",
        "UnloadVersion",
        "SetAlias",
        "DeleteAlias",
        "SetSplit",
        "SetShadow",
        "Rollback",
        "RepositoryModelLoad",
        "RepositoryModelUnload",
    }


@pytest.mark.parametrize("reflection", [False, True])
@pytest.mark.parametrize("statistics", [False, True])
def test_health_is_open_and_the_rest_as_the_access_file_says(reflection: bool, statistics: bool) -> None:
    paths = open_paths(Open(reflection=reflection, statistics=statistics, metrics=True))
    assert paths == HEALTH | (REFLECTION if reflection else set()) | (STATISTICS if statistics else set())
