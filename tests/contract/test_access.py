"""The SDK and the commands with a server that wants to know who calls."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from scorewire import (
    AsyncClient,
    Caller,
    Client,
    DeadlineExceededError,
    PermissionDeniedError,
    ResourceExhaustedError,
    Retries,
    TokenFile,
    UnauthenticatedError,
)
from scorewire_contract.cli import main
from scorewire_server.access.editing import remove_key
from tests.access_files import new_key
from tests.bundles import expected_value, write_sum_bundle
from tests.conformance.engines import ENGINES
from tests.contract.test_control import Facade
from tests.processes import ServerProcess, serving, wait_until

ROW = {"x0": 1.0, "x1": 2.0, "country": "de"}
VALUE = expected_value((1.0, 2.0), "de")


@dataclass(frozen=True)
class Guarded:
    """A server with an access file, and keys by principal."""

    server: ServerProcess
    access: Path
    keys: dict[str, str]

    @property
    def address(self) -> str:
        return self.server.address


@pytest.fixture(scope="module", params=ENGINES)
def guarded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("access")
    write_sum_bundle(folder / "models")
    access = folder / "access.toml"
    keys = {
        "shop": new_key(access, "shop", predict="sum"),
        "watcher": new_key(access, "watcher", observe="*"),
        "operator": new_key(access, "operator", control="*", observe="*"),
        "other": new_key(access, "other", predict="other-*"),
        "slow": new_key(access, "slow", predict="sum", limits={"calls_per_second": 20.0, "calls_burst": 1.0}),
    }
    with serving(folder, folder / "models", "--engine", request.param, "--access", access) as server:
        yield Guarded(server, access, keys)


@pytest.fixture(params=[Client, AsyncClient], ids=["sync", "aio"])
def connect(request: pytest.FixtureRequest, guarded: Guarded) -> Iterator[Any]:
    """Makes clients of one kind for a principal; "" for none."""
    made: list[Facade] = []

    def make(name: str = "", **settings: Any) -> Any:
        key = {"api_key": guarded.keys[name]} if name else {}
        made.append(Facade(request.param, guarded.address, **key, **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()
        each.runner.close()


def test_each_principal_may_do_what_its_rights_say(connect: Any) -> None:
    assert connect("shop").predict("sum", ROW).score == VALUE
    assert [each.name for each in connect("shop").models()] == ["sum"]
    assert connect("other").models() == []
    assert connect("watcher").statistics("sum")
    connect("operator").set_split("sum", {"1.0.0": 1})
    for name, method, arguments in [
        ("watcher", "predict", ("sum", ROW)),
        ("other", "predict", ("sum", ROW)),
        ("shop", "statistics", ("sum",)),
        ("watcher", "set_split", ("sum", {})),
        ("shop", "predict", ("nothing", ROW)),
        ("other", "model", ("sum",)),
    ]:
        with pytest.raises(PermissionDeniedError) as caught:
            getattr(connect(name), method)(*arguments)
        assert caught.value.reason == "PERMISSION_DENIED"


def test_the_server_tells_each_principal_who_it_is(connect: Any) -> None:
    caller = connect("operator").server().caller
    assert caller == Caller(principal="operator", observe=("*",), control=("*",))
    other = connect("other").server().caller
    assert (other.predict, other.observe, other.control) == (("other-*",), (), ())
    assert other.may("predict", "other-1")
    assert not other.may("predict", "sum")
    assert not other.may("control", "other-1")


def test_nobody_waits_for_a_model_without_a_right_to_it(connect: Any) -> None:
    connect("shop").wait_ready("sum")
    for call in (connect("other").wait_ready, connect("other").model):
        with pytest.raises(PermissionDeniedError, match=r"no right to the model 'sum': neither predict, ob"):
            call("sum", timeout=60)
    # A model that it may know is waited for, since it may come.
    with pytest.raises(DeadlineExceededError, match="has no model 'other-1'"):
        connect("other").wait_ready("other-1", timeout=0.3)


def test_without_a_key_that_the_server_knows_only_health_is_told(connect: Any, guarded: Guarded) -> None:
    wrong = guarded.keys["shop"][:-1] + "x"
    for client in (connect(), connect(api_key=wrong), connect(token=lambda: wrong)):
        assert client.health()
        client.wait_ready()
        for method, arguments in [("predict", ("sum", ROW)), ("models", ()), ("set_split", ("sum", {}))]:
            with pytest.raises(UnauthenticatedError) as caught:
                getattr(client, method)(*arguments)
            assert caught.value.reason == "UNAUTHENTICATED"


def test_a_schema_of_one_caller_tells_nothing_to_another(connect: Any, guarded: Guarded) -> None:
    client = connect()
    shown = {name: {"authorization": f"Bearer {key}"} for name, key in guarded.keys.items()}
    assert client.predict("sum", ROW, metadata=shown["shop"]).score == VALUE
    with pytest.raises(PermissionDeniedError):
        client.predict("sum", {"unknown": 1}, metadata=shown["other"])
    with pytest.raises(UnauthenticatedError):
        client.predict("sum", {"unknown": 1})


def test_calls_wait_for_the_limit_of_their_caller(connect: Any) -> None:
    client = connect("slow")
    assert [client.predict("sum", ROW).score for _ in range(5)] == [VALUE] * 5
    impatient = connect("slow", retries=Retries(limits=False))

    def hurry() -> None:
        for _ in range(50):
            impatient.predict("sum", ROW)

    with pytest.raises(ResourceExhaustedError) as caught:
        hurry()
    assert caught.value.reason == "CALLER_LIMIT"
    assert 0 < (caught.value.retry_after or 0) <= 0.05


def test_a_stream_waits_for_the_limit_of_its_caller(guarded: Guarded) -> None:
    with Client(guarded.address, api_key=guarded.keys["slow"]) as client:
        answers = list(client.predict_stream("sum", [[ROW]] * 12))
        assert [answer.scores.tolist() for answer in answers] == [[VALUE]] * 12


def test_a_stream_goes_on_with_the_new_key_of_its_file(guarded: Guarded, tmp_path: Path) -> None:
    file = tmp_path / "key"
    first = new_key(guarded.access, "shop")
    second = new_key(guarded.access, "shop")
    file.write_text(first)

    def works(key: str) -> bool:
        with Client(guarded.address, api_key=key) as client:
            try:
                client.models()
            except UnauthenticatedError:
                return False
        return True

    wait_until(lambda: works(first) and works(second), "the server knows both keys")
    rotated = threading.Event()

    def batches() -> Iterator[Any]:
        yield [ROW]
        file.write_text(second)
        remove_key(guarded.access, first.split("_")[1])
        wait_until(lambda: not works(first), "the first key is gone")
        rotated.set()
        for _ in range(3):
            yield [ROW]

    with Client(guarded.address, token=TokenFile(file)) as client:
        answers = list(client.predict_stream("sum", batches(), look_ahead=1))
    assert rotated.is_set()
    assert [answer.scores.tolist() for answer in answers] == [[VALUE]] * 4


def test_commands_take_the_key_from_a_file_or_the_environment(guarded: Guarded, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(guarded.keys["operator"])

    def run(*arguments: str, key: str | None = None) -> tuple[int, str]:
        options = ["--address", guarded.address]
        done = CliRunner().invoke(main, [*arguments, *options], env={"SCOREWIRE_API_KEY": key})
        return done.exit_code, done.output

    code, output = run("models", "list", key=guarded.keys["shop"])
    assert (code, output.splitlines()[-1]) == (0, "you are shop, with the rights: predict sum")
    code, output = run("models", "list", key=guarded.keys["other"])
    assert (code, "no models to which you have a right" in output) == (0, True)
    assert run("models", "split", "sum", "1.0.0=1", "--api-key-file", str(file))[0] == 0
    code, output = run("models", "split", "sum", "1.0.0=1", key=guarded.keys["shop"])
    assert (code, "control to change" in output) == (1, True)
    code, output = run("models", "list")
    assert (code, "SCOREWIRE_API_KEY" in output) == (1, True)
