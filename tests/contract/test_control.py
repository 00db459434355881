"""Changes by operators, through the SDK and the command, take effect on the server."""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from scorewire import (
    AsyncClient,
    Client,
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    RouteStatistics,
    Routing,
    Shadow,
    VersionState,
)
from scorewire._cli import console
from scorewire._cli.models import models
from scorewire_proto.inference import inference_pb2 as pb
from tests.bundles import expected_value, write_sum_bundle
from tests.processes import ServerProcess, serving, wait_until

ROW = {"x0": 1.0, "x1": 2.0, "country": "de"}
OFFSETS = {"1.0.0": 0.0, "1.1.0": 100.0, "2.0.0-rc.1": 1000.0}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("control")
    for version, offset in OFFSETS.items():
        write_sum_bundle(folder / "models", version=version, offset=offset)
    with serving(folder, folder / "models", "--version-policy", "all", "--watch", "off") as running:
        yield running


class Facade:
    """Both clients behind one interface, with blocking calls."""

    def __init__(self, kind: type[Client | AsyncClient], address: str, **settings: Any) -> None:
        self.runner = asyncio.Runner()
        self.client = kind(address, **settings)

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            answer = getattr(self.client, name)(*args, **kwargs)
            return self.runner.run(answer) if isinstance(self.client, AsyncClient) else answer

        return call


@pytest.fixture(params=[Client, AsyncClient])
def client(request: pytest.FixtureRequest, server: ServerProcess) -> Iterator[Any]:
    face = Facade(request.param, server.address)
    yield face
    face.set_shadow("sum", None)
    face.set_split("sum", {})
    for alias in face.models()[0].routing.aliases:
        face.delete_alias("sum", alias)
    face.close()
    face.runner.close()


@pytest.fixture
def run(server: ServerProcess, client: Any) -> Any:
    """Runs `scorewire models` in this process."""

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(models, [*arguments, "--address", server.address])

    return call


def score(client: Any, **named: str) -> tuple[str, float]:
    prediction = client.predict("sum", ROW, **named)
    return prediction.version, prediction.score


def on_the_default_route(client: Any) -> dict[tuple[str, bool], RouteStatistics]:
    return {(each.version, each.shadow): each for each in client.statistics("sum") if not each.route}


def expected(version: str) -> tuple[str, float]:
    return version, expected_value([1.0, 2.0], "de", OFFSETS[version])


def test_a_split_sends_each_key_to_one_version_until_it_is_cleared(client: Any) -> None:
    assert score(client) == expected("1.1.0")
    status = client.set_split("sum", {"1.0.0": 1, "1.1.0": 1})
    assert status.routing == Routing(split={"1.0.0": 1, "1.1.0": 1})
    answered = {key: score(client, routing_key=key) for key in map(str, range(40))}
    assert {version for version, _ in answered.values()} == {"1.0.0", "1.1.0"}
    for key, answer in answered.items():
        assert answer == expected(answer[0])
        assert score(client, routing_key=key) == answer
    assert client.set_split("sum", {}).routing == Routing()


def test_an_alias_names_a_version_until_it_is_deleted(client: Any) -> None:
    status = client.set_alias("sum", "stable", "1.0.0")
    assert status.routing.aliases == {"stable": "1.0.0"}
    assert score(client, version="stable") == expected("1.0.0")
    assert client.delete_alias("sum", "stable").routing.aliases == {}
    with pytest.raises(NotFoundError):
        score(client, version="stable")


def test_a_rollback_takes_the_last_change_back(client: Any) -> None:
    client.set_split("sum", {"1.0.0": 1})
    client.set_split("sum", {"1.1.0": 3})
    before = client.set_alias("sum", "canary", "1.1.0").rollbacks
    status = client.roll_back("sum")
    assert (dict(status.routing.aliases), status.rollbacks) == ({}, before - 1)
    status = client.roll_back("sum")
    assert (status.default_version, status.pinned_version) == ("1.0.0", "1.0.0")
    assert client.set_split("sum", {}).pinned_version == ""
    assert client.set_split("sum", {"1.0.0": 1, "1.1.0": 1}).pinned_version == ""


def test_the_command_says_that_a_rollback_pins_the_default(run: Any, client: Any) -> None:
    client.set_split("sum", {"1.0.0": 1})
    client.set_split("sum", {"1.1.0": 3})
    told = run("rollback", "sum").stdout.splitlines()
    assert told[0].startswith("sum: 1.0.0 100.0%; ")
    assert told[1] == (
        "calls that name no version stay with 1.0.0: newer releases do not answer them until you run:"
        " scorewire models split sum --clear"
    )
    assert run("split", "sum", "--clear").stdout == "sum: the highest release answers, 1.1.0\n"


def test_a_version_is_unloaded_and_loaded_again(client: Any) -> None:
    client.unload_version("sum", "1.0.0")
    with pytest.raises(FailedPreconditionError) as refused:
        client.set_alias("sum", "stable", "1.0.0")
    assert refused.value.reason == "VERSION_NOT_SERVING"
    status = client.load_version("sum", "1.0.0")
    states = {each.version: each.state for each in status.versions}
    assert states["1.0.0"] is VersionState.SERVING
    assert score(client, version="1.0.0") == expected("1.0.0")


def test_a_version_is_waited_for_until_it_serves(client: Any) -> None:
    client.wait_ready()
    client.wait_ready("sum", "1.0.0")
    client.unload_version("sum", "1.0.0")
    client.wait_ready("sum")
    with pytest.raises(DeadlineExceededError, match="sum 1.0.0 is UNLOADED"):
        client.wait_ready("sum", "1.0.0", timeout=1)
    client.load_version("sum", "1.0.0")
    client.wait_ready("sum", "1.0.0")


def test_a_version_that_routing_names_is_not_unloaded(client: Any) -> None:
    client.set_shadow("sum", "2.0.0-rc.1", 0.5)
    with pytest.raises(FailedPreconditionError) as refused:
        client.unload_version("sum", "2.0.0-rc.1")
    assert refused.value.reason == "VERSION_IN_USE"


def test_copies_show_in_the_statistics_and_nowhere_else(client: Any, server: ServerProcess) -> None:
    assert client.set_shadow("sum", "2.0.0-rc.1").routing.shadow == Shadow(version="2.0.0-rc.1", share=1.0)
    before = on_the_default_route(client)
    for _ in range(5):
        assert score(client) == expected("1.1.0")
    told: dict[tuple[str, bool], RouteStatistics] = {}

    def copied() -> bool:
        with Client(server.address) as reader:
            told.update(on_the_default_route(reader))
        key = ("2.0.0-rc.1", True)
        if key not in told:
            return False
        since = told[key].since(before[key]) if key in before else told[key]
        return since.calls + since.dropped == 5

    wait_until(copied, "copies of all calls")
    answered = told["1.1.0", False]
    if ("1.1.0", False) in before:
        answered = answered.since(before["1.1.0", False])
    assert (answered.calls, answered.rows, answered.failed) == (5, 5, 0)
    assert answered.latency_seconds.count == answered.scores.count == 5


def test_the_server_says_what_it_is(client: Any, server: ServerProcess) -> None:
    told = client.server()
    assert told.engine in {"native", "reference"}
    assert told.control
    assert told.caller is None
    versions = client.models()[0].versions
    assert all(each.runs_on in {"kernel", "onnxruntime"} and each.runs_on_details for each in versions)
    assert told.started_at.timestamp() <= next(
        each.serving_since.timestamp() for each in client.models()[0].versions
    )
    assert server.running


def test_the_open_inference_protocol_is_spoken_with_its_own_messages(client: Any) -> None:
    request = pb.ModelInferRequest(model_name="sum", model_version="1.1.0", id="7")
    for name, value in ROW.items():
        tensor = request.inputs.add(name=name, datatype="BYTES" if value == "de" else "FP64", shape=[1, 1])
        if value == "de":
            tensor.contents.bytes_contents.append(b"de")
        else:
            tensor.contents.fp64_contents.append(value)
    response = client.open_inference(request)
    assert (response.model_version, response.id) == ("1.1.0", "7")
    assert struct.unpack("<d", response.raw_output_contents[0]) == (expected("1.1.0")[1],)
    assert client.open_inference(pb.ServerReadyRequest()) == pb.ServerReadyResponse(ready=True)
    with pytest.raises(NotFoundError):
        client.open_inference(pb.ModelMetadataRequest(name="none"))
    with pytest.raises(TypeError, match="no method of the Open Inference Protocol takes RepositoryModelLoad"):
        client.open_inference(pb.RepositoryModelLoadRequest(model_name="sum"))


def test_what_cannot_be_sent_is_refused_here(client: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="SetSplit.*from 0 to 1,000,000"):
        client.set_split("sum", {"1.0.0": -1})
    with pytest.raises(InvalidArgumentError, match="LoadVersion"):
        client.load_version("sum", 1.0)


def test_a_server_for_others_takes_no_changes_unless_it_is_told_to(tmp_path: Path) -> None:
    write_sum_bundle(tmp_path / "models", version="1.0.0")
    with (
        serving(tmp_path, tmp_path / "models", "--control", "off") as server,
        Client(server.address) as client,
    ):
        with pytest.raises(PermissionDeniedError) as refused:
            client.set_split("sum", {"1.0.0": 1})
        assert refused.value.reason == "CONTROL_OFF"
        assert not client.server().control
        assert client.statistics() == []


def test_the_command_lists_and_shows(run: Any) -> None:
    listed = run("list")
    assert listed.exit_code == 0, listed.output
    assert "highest release" in listed.output
    shown = run("show", "sum")
    assert "1.1.0 (default)" in shown.output
    assert "country" in shown.output
    (told,) = json.loads(run("list", "--json").stdout)
    assert told["default_version"] == "1.1.0"
    assert json.loads(run("show", "sum", "--json").stdout)["schema"]["features"][0]["name"] == "x0"


def test_the_command_changes_what_answers(run: Any, client: Any) -> None:
    assert run("split", "sum", "1.0.0=90", "1.1.0=10").stdout == "sum: 1.0.0 90.0%, 1.1.0 10.0%\n"
    assert run("alias", "sum", "stable", "1.0.0").stdout == "sum stable is 1.0.0\n"
    assert run("shadow", "sum", "2.0.0-rc.1", "--share", "0.25").exit_code == 0
    routing = client.models()[0].routing
    assert routing == Routing(
        split={"1.0.0": 90, "1.1.0": 10},
        aliases={"stable": "1.0.0"},
        shadow=Shadow(version="2.0.0-rc.1", share=0.25),
    )
    left = client.models()[0].rollbacks
    told = "sum: 1.0.0 90.0%, 1.1.0 10.0%, stable is 1.0.0"
    assert run("rollback", "sum").stdout == f"{told}; {left - 1} more steps back can be taken\n"
    assert run("shadow", "sum", "--off").exit_code == 0
    assert run("alias", "sum", "stable", "--delete").exit_code == 0
    assert run("split", "sum", "--clear").stdout == "sum: the highest release answers, 1.1.0\n"
    assert run("unload", "sum", "1.0.0").exit_code == 0
    assert run("load", "sum", "1.0.0").stdout == "sum 1.0.0 serves\n"


def test_the_command_tells_and_compares_what_was_answered(run: Any, client: Any) -> None:
    client.set_split("sum", {"1.0.0": 1, "1.1.0": 1})
    for key in range(60):
        score(client, routing_key=str(key))
    assert "default" in run("stats", "sum").stdout
    assert client.record_ledger() is None
    assert "records" not in run("stats").stdout
    told = json.loads(run("stats", "--json").stdout)
    assert sum(each["calls"] for each in told if not each["route"]) >= 60
    compared = run("compare", "sum")
    assert compared.exit_code == 0, compared.output
    assert "failed calls" in compared.stdout
    nothing = run("compare", "sum", "--seconds", "0.01")
    assert nothing.exit_code == 1
    assert "answered no call that named no version" in nothing.stderr


def test_the_command_watches_until_it_is_interrupted(
    run: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = iter(range(3))

    def sleep(_: float) -> None:
        if next(pauses, None) is None:
            raise KeyboardInterrupt
        score(client, version="1.1.0")

    monkeypatch.setattr(time, "sleep", sleep)
    watched = run("stats", "sum", "--watch")
    assert watched.exit_code == 0, watched.output
    assert watched.stdout.count("calls/s") == 3


def test_a_comparison_over_a_change_of_the_routing_is_refused(
    run: Any, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.set_split("sum", {"1.0.0": 1, "1.1.0": 1})
    monkeypatch.setattr(console, "wait", lambda _: client.set_split("sum", {"1.0.0": 2, "1.1.0": 1}))
    compared = run("compare", "sum", "--seconds", "1")
    assert compared.exit_code == 1
    assert "the routing was changed while calls were counted" in compared.stderr


def test_the_command_tells_a_server_that_refuses_from_one_that_does_not_answer(tmp_path: Path) -> None:
    path = write_sum_bundle(tmp_path / "models", version="1.0.0-rc.1")
    with serving(tmp_path, path.parents[1]) as server:
        result = CliRunner().invoke(models, ["compare", "sum", "--address", server.address])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: UNAVAILABLE: no release of model 'sum' serves")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("split", "sum"), "give weights like"),
        (("split", "sum", "1.0.0"), "is not VERSION=WEIGHT"),
        (("split", "sum", "1.0.0=1", "1.0.0=2"), "each version once"),
        (("split", "sum", "1.0.0=1", "--clear"), "or --clear"),
        (("alias", "sum", "stable"), "or --delete"),
        (("shadow", "sum", "1.0.0", "--off"), "or --off"),
        (("shadow", "sum", "1.0.0", "--share", "0"), "share"),
        (("stats", "--watch", "--json"), "--json prints once"),
        (("load", "sum", "9.9.9"), "has no version '9.9.9'"),
        (("show", "none"), "there is no model 'none'"),
        (("compare", "sum", "1.0.0"), "give two different versions"),
        (("rollback", "none"), "there is no model 'none'"),
    ],
)
def test_the_command_says_what_is_wrong(run: Any, arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code in {1, 2}
    assert message in result.stderr


def test_the_command_without_a_server_says_so() -> None:
    result = CliRunner().invoke(models, ["list", "--address", "127.0.0.1:1"])
    assert result.exit_code == 1
    assert "no answer from a server at 127.0.0.1:1" in result.stderr
