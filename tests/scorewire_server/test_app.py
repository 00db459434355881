from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2
from structlog.testing import capture_logs

from scorewire_contract.service.start import StartError
from scorewire_proto.v1 import models_pb2, prediction_pb2
from scorewire_server import app as app_module
from scorewire_server.app import STATE_FILE, App
from scorewire_server.catalog import watch
from scorewire_server.catalog.repository import BundleFolder
from scorewire_server.catalog.state import StateFile
from scorewire_server.engine.snapshot import VersionRecord
from scorewire_server.loading.loader import load
from scorewire_server.settings import Settings
from tests import bundles
from tests.access_files import write_access
from tests.certificates import make_certificates
from tests.conformance.engines import ENGINES
from tests.conformance.wire import PREDICT, sum_request, values

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVING = health_pb2.HealthCheckResponse.SERVING


def _settings(models: Path, **others: Any) -> Settings:
    return Settings(
        models=models,
        listen="127.0.0.1:0",
        **{"drain_seconds": 0.0, "grace_seconds": 5.0, "trial_seconds": 0.0, **others},
    )


async def _call(channel: aio.Channel, path: str, data: bytes = b"") -> bytes:
    method: Any = channel.unary_unary(path)
    answer: bytes = await method(data, timeout=60)
    return answer


async def _health(channel: aio.Channel, service: str = "") -> int:
    request = health_pb2.HealthCheckRequest(service=service).SerializeToString()
    answer = await _call(channel, "/grpc.health.v1.Health/Check", request)
    return int(health_pb2.HealthCheckResponse.FromString(answer).status)


async def _states(channel: aio.Channel) -> dict[str, str]:
    answer = await _call(channel, "/scorewire.v1.ModelService/ListModels")
    return {
        f"{model.name} {version.version}": models_pb2.VersionState.Name(version.state)
        for model in models_pb2.ListModelsResponse.FromString(answer).models
        for version in model.versions
    }


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def test_bundles_are_loaded_one_by_one_while_the_server_answers(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("1.0.0", "1.1.0"):
        bundles.write_sum_bundle(models, version=version)
    order: list[str] = []
    steps, entered = threading.Semaphore(0), threading.Semaphore(0)

    def stepwise(folder: BundleFolder, *how: Any, **by_name: Any) -> VersionRecord:
        order.append(folder.version)
        entered.release()
        assert steps.acquire(timeout=60)
        return load(folder, *how, **by_name)

    monkeypatch.setattr(app_module, "load", stepwise)
    app = App(_settings(models))
    async with aio.insecure_channel(await app.start()) as channel:
        # From the first call on, and not only once the first load has begun.
        assert await _states(channel) == dict.fromkeys(["sum 1.1.0", "sum 1.0.0"], "VERSION_STATE_LOADING")
        await asyncio.to_thread(entered.acquire)
        assert await _health(channel) == NOT_SERVING
        # A call waits for its model, and not for the models after it.
        waiting = asyncio.ensure_future(_call(channel, PREDICT, sum_request().SerializeToString()))
        assert await _health(channel) == NOT_SERVING
        assert not waiting.done()
        steps.release()
        answer = prediction_pb2.PredictResponse.FromString(await waiting)
        assert answer.version == "1.1.0"
        await asyncio.to_thread(entered.acquire)
        # The default route never has a version that a higher one is about to replace.
        assert order == ["1.1.0", "1.0.0"]
        assert (await _states(channel))["sum 1.1.0"] == "VERSION_STATE_SERVING"
        assert await _health(channel, "sum") == SERVING
        assert await _health(channel) == NOT_SERVING
        steps.release()
        await app.loaded()
        assert await _health(channel) == SERVING
    await app.drain()


async def test_the_port_file_has_the_addresses_once_all_is_loaded(models: Path, tmp_path: Path) -> None:
    bundles.write_sum_bundle(models)
    ready = tmp_path / "port"
    # No process has this id, so the file is left from a killed process.
    (tmp_path / ".port.4194305").write_text("half")
    app = App(_settings(models, port_file=ready, metrics_port=0))
    address = await app.start()
    await app.loaded()
    first, second = ready.read_text().splitlines()
    assert first == address
    assert second.startswith("127.0.0.1:")
    assert _names(tmp_path) == {"models", "port"}  # nothing half-written beside it
    await app.drain()


async def test_a_port_file_that_cannot_be_written_is_an_error(models: Path, tmp_path: Path) -> None:
    app = App(_settings(models, port_file=tmp_path / "nowhere" / "port"))
    await app.start()
    with pytest.raises(StartError, match="--port-file"):
        await app.loaded()
    await app.drain()


async def test_without_a_bundle_the_server_starts_and_says_that_it_does_not_serve(
    models: Path,
) -> None:
    app = App(_settings(models))
    with capture_logs() as logged:
        async with aio.insecure_channel(await app.start()) as channel:
            await app.loaded()
            assert await _health(channel) == NOT_SERVING
            assert await _states(channel) == {}
        await app.drain()
    assert "not serving: no bundle under --models may serve" in {line["event"] for line in logged}


async def test_a_corrupt_bundle_is_refused_and_the_others_serve(models: Path) -> None:
    bundles.write_sum_bundle(models)
    (bundles.write_classifier_bundle(models) / "model.onnx").unlink()
    app = App(_settings(models))
    with capture_logs() as logged:
        async with aio.insecure_channel(await app.start()) as channel:
            await app.loaded()
            assert await _states(channel) == {
                "classes 1.0.0": "VERSION_STATE_REFUSED",
                "sum 1.0.0": "VERSION_STATE_SERVING",
            }
            assert await _health(channel, "classes") == NOT_SERVING
            assert await _health(channel) == SERVING
        await app.drain()
    (refusal,) = [line for line in logged if line["event"] == "version refused"]
    assert (refusal["model"], refusal["reason"]) == ("classes", "model.onnx is missing")
    assert refusal["log_level"] == "error"


async def test_calls_are_answered_between_the_turn_of_health_and_the_stop(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundles.write_sum_bundle(models)
    pause, over, sleep = 123.0, asyncio.Event(), asyncio.sleep

    async def sleep_until_told(seconds: float) -> None:
        await (over.wait() if seconds == pause else sleep(seconds))

    monkeypatch.setattr(app_module.asyncio, "sleep", sleep_until_told)
    app = App(_settings(models, drain_seconds=pause))
    async with aio.insecure_channel(await app.start()) as channel:
        await app.loaded()
        watch: Any = channel.unary_stream("/grpc.health.v1.Health/Watch")
        call = watch(health_pb2.HealthCheckRequest().SerializeToString(), timeout=60)
        assert health_pb2.HealthCheckResponse.FromString(await call.read()).status == SERVING
        draining = asyncio.create_task(app.drain())
        assert health_pb2.HealthCheckResponse.FromString(await call.read()).status == NOT_SERVING
        answer = await _call(channel, PREDICT, sum_request().SerializeToString())
        assert values(prediction_pb2.PredictResponse.FromString(answer)) == [4.0]
        over.set()
        # The server ends the watch, which never ends by itself.
        assert await call.read() is aio.EOF
        await draining
        with pytest.raises(aio.AioRpcError) as caught:
            await _call(channel, PREDICT, sum_request().SerializeToString())
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_change_whose_caller_goes_away_is_made_to_its_end(
    models: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundles.write_sum_bundle(models)
    entered, written, write = threading.Semaphore(0), threading.Event(), StateFile.write

    def held(file: StateFile, states: Any) -> None:
        entered.release()
        assert written.wait(60)
        write(file, states)

    monkeypatch.setattr(StateFile, "write", held)
    app = App(_settings(models, engine=engine))
    async with aio.insecure_channel(await app.start()) as channel:
        await app.loaded()
        method: Any = channel.unary_unary("/scorewire.v1.ModelService/SetAlias")
        request = models_pb2.SetAliasRequest(model="sum", alias="stable", version="1.0.0")
        call = method(request.SerializeToString(), timeout=60)
        await asyncio.to_thread(entered.acquire)
        call.cancel()
        # Sent on the same connection, so its answer shows that the cancellation has arrived.
        await _states(channel)
        written.set()
        request = models_pb2.SetAliasRequest(model="sum", alias="other", version="1.0.0")
        await _call(channel, "/scorewire.v1.ModelService/SetAlias", request.SerializeToString())
        told = await _call(channel, "/scorewire.v1.ModelService/ListModels")
        (model,) = models_pb2.ListModelsResponse.FromString(told).models
        assert dict(model.routing.aliases) == {"stable": "1.0.0", "other": "1.0.0"}
        kept = json.loads((models / STATE_FILE).read_bytes())["models"]["sum"]
        assert kept["routing"]["aliases"] == dict(model.routing.aliases)
    await app.drain()


async def test_what_comes_during_the_first_load_is_noticed(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without events the next look would come much later.
    monkeypatch.setattr(watch, "_RESCAN_SECONDS", 600.0)
    bundles.write_sum_bundle(models)
    gate, entered = threading.Event(), threading.Semaphore(0)

    def slow(folder: BundleFolder, *how: Any, **by_name: Any) -> VersionRecord:
        entered.release()
        assert gate.wait(60)
        return load(folder, *how, **by_name)

    monkeypatch.setattr(app_module, "load", slow)
    app = App(_settings(models))
    async with aio.insecure_channel(await app.start()) as channel:
        await asyncio.to_thread(entered.acquire)
        bundles.write_sum_bundle(models, version="1.1.0")
        gate.set()
        await app.loaded()
        async with asyncio.timeout(60):
            while (await _states(channel)).get("sum 1.1.0") != "VERSION_STATE_SERVING":  # noqa: ASYNC110 - a call
                await asyncio.sleep(0.02)
    await app.drain()


@pytest.mark.parametrize("engine", ENGINES)
async def test_an_engine_that_fails_to_stop_takes_no_records_and_no_state_with_it(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    bundles.write_sum_bundle(models)
    settings = _settings(models, engine=engine, records=tmp_path / "records", metrics_port=0)
    app = App(settings)
    async with aio.insecure_channel(await app.start()) as channel:
        await app.loaded()
        await _call(channel, PREDICT, sum_request().SerializeToString())
    stop = app._engine.stop

    async def fails_at_last(grace_seconds: float) -> None:
        await stop(grace_seconds)
        raise RuntimeError("a fault")

    monkeypatch.setattr(app._engine, "stop", fails_at_last)
    with capture_logs() as lines, pytest.raises(RuntimeError, match="a fault"):
        await app.drain()
    (ledger,) = [line for line in lines if line["event"] == "records of this start"]
    assert (ledger["offered"], ledger["stored"], ledger["pending"]) == (1, 1, 0)
    # The state file is free again.
    again = StateFile(models / STATE_FILE)
    again.open()
    again.close()


async def test_draining_while_bundles_are_loaded_ends_the_loading(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("1.0.0", "1.1.0"):
        bundles.write_sum_bundle(models, version=version)
    gate, entered = threading.Event(), threading.Semaphore(0)
    loads = []

    def slow(folder: BundleFolder, *how: Any, **by_name: Any) -> VersionRecord:
        loads.append(folder)
        entered.release()
        assert gate.wait(60)
        return load(folder, *how, **by_name)

    monkeypatch.setattr(app_module, "load", slow)
    app = App(_settings(models))
    await app.start()
    await asyncio.to_thread(entered.acquire)
    await app.drain()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await app.loaded()
    assert len(loads) == 1


EVERYBODY = "everybody who reaches the server may call; see --access"
IN_THE_CLEAR = "keys and tokens are sent in the clear; see --tls-cert"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (set(), {EVERYBODY}),
        ({"tls"}, {EVERYBODY}),
        ({"access"}, {IN_THE_CLEAR}),
        ({"access", "tls"}, set()),
        ({"loopback"}, set()),
        ({"loopback", "access"}, set()),
    ],
)
async def test_a_server_that_others_reach_warns_of_what_is_open(
    models: Path, monkeypatch: pytest.MonkeyPatch, given: set[str], expected: set[str]
) -> None:
    more: dict[str, Any] = {}
    if "access" in given:
        more["access"] = write_access(models.parent / "access.toml", {})
    if "tls" in given:
        made = make_certificates(models.parent)
        more |= {"tls_cert": made.server, "tls_key": made.server_key}
    monkeypatch.setattr(Settings, "on_loopback", "loopback" in given)
    with capture_logs() as logged:
        app = App(_settings(models, **more))
        await app.start()
        await app.drain()
    assert {line["event"] for line in logged if line["log_level"] == "warning"} & {
        EVERYBODY,
        IN_THE_CLEAR,
    } == expected


async def test_changes_end_and_are_recorded_before_the_server_closes_its_files(
    models: Path, tmp_path: Path
) -> None:
    bundles.write_sum_bundle(models)
    audit = tmp_path / "audit.jsonl"
    app = App(_settings(models, audit=audit))
    request = models_pb2.SetAliasRequest(model="sum", alias="stable", version="1.0.0").SerializeToString()
    async with aio.insecure_channel(await app.start()) as channel:
        await app.loaded()
        calls = [
            asyncio.ensure_future(_call(channel, "/scorewire.v1.ModelService/SetAlias", request))
            for _ in range(5)
        ]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        await app.drain()
        await asyncio.gather(*calls, return_exceptions=True)
    events = [json.loads(line)["event"] for line in audit.read_text(encoding="utf-8").splitlines()]
    assert events.count("begun") == events.count("ended") >= 1
