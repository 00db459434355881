"""The rendered commands of the chart as real processes: they start, answer their probes, and end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from scorewire import TLS, Client, UnauthenticatedError
from tests.access_files import Issuer, Key, write_access
from tests.bundles import expected_value, write_sum_bundle
from tests.certificates import Certificates, make_certificates
from tests.deploy.chart import VALUES, render
from tests.deploy.commands import moved
from tests.processes import COMMAND, run_command, service, serving, wait_until

pytestmark = pytest.mark.usefixtures("tools")

ROW = {"x0": 1.0, "x1": 2.5, "country": "de"}


def _server(*arguments: str, values: Path | None = None) -> dict[str, Any]:
    """The pod of the server."""
    return _pod("server", *arguments, values=values)


def _pod(component: str, *arguments: str, values: Path | None = None) -> dict[str, Any]:
    (found,) = (
        each["spec"]["template"]["spec"]
        for each in render(values, *arguments)
        if each["metadata"]["name"] == f"demo-scorewire-{component}" and "template" in each["spec"]
    )
    return found  # type: ignore[no-any-return]


def _probe(container: dict[str, Any], name: str, address: str, folder: Path) -> str:
    """What the image's health check says, asked as a probe of the container asks."""
    probe = container[name]
    if "grpc" in probe:
        asked = ["--service", probe["grpc"].get("service", "")]
    else:
        command = probe["exec"]["command"]
        assert command[:3] == ["python", "-m", "scorewire_server.healthcheck"]
        asked = moved(command[4:], folder)
    module = (sys.executable, "-m", "scorewire_server.healthcheck", "--timeout-seconds", "60")
    return run_command(address, *asked, command=module).stdout.strip()


def _folders(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    write_sum_bundle(root / "models")
    (root / "var/lib/scorewire/volume").mkdir(parents=True)
    return root


def _tls(root: Path, tmp_path: Path) -> Certificates:
    """The Secret of TLS, for the name scores.example."""
    tls = root / "etc/scorewire/tls"
    tls.mkdir(parents=True)
    made = make_certificates(tmp_path)
    for name, file in (("ca.crt", made.authority), ("tls.crt", made.server), ("tls.key", made.server_key)):
        (tls / name).write_bytes(file.read_bytes())
    return made


def test_the_server_answers_its_probes_and_ends_in_order(tmp_path: Path) -> None:
    root = _folders(tmp_path)
    pod = _server("--set", "server.drainSeconds=1,server.settings.max-rows=5000")
    (container,) = pod["containers"]
    with serving(tmp_path, root / "models", *moved(container["args"], root)) as server:
        for name in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert _probe(container, name, server.address, root) == "SERVING"
        with Client(server.address) as client:
            assert client.predict("sum", ROW).score == expected_value((1.0, 2.5), "de")
            assert client.model("sum").max_rows == 5000
        assert server.stop() == 0


def test_a_server_without_models_is_alive_and_not_ready(tmp_path: Path) -> None:
    root = _folders(tmp_path)
    (root / "empty").mkdir()
    (container,) = _server()["containers"]
    arguments = [*moved(container["args"], root), f"--models={root / 'empty'}", "--drain-seconds=0"]
    with serving(tmp_path, root / "empty", *arguments) as server:
        assert _probe(container, "livenessProbe", server.address, root) == "SERVING"
        assert _probe(container, "readinessProbe", server.address, root) == "NOT_SERVING"


def test_the_server_with_records_and_tls(tmp_path: Path) -> None:
    root = _folders(tmp_path)
    _tls(root, tmp_path)
    policy = root / "etc/scorewire/records"
    policy.mkdir(parents=True)
    (policy / "hash.key").write_bytes(bytes(range(32)))
    values = VALUES / "records-values.yaml"
    (written,) = (each["data"]["policy.toml"] for each in render(values) if "data" in each)
    (policy / "policy.toml").write_text(written.replace("churn", "sum"), encoding="utf-8")
    pod = _server(
        "--set", "server.drainSeconds=0,tls.serverName=scores.example",
        # There is no database here, so the records stay in files.
        "--set", "records.postgresql.url=,records.postgresql.passwordSecret.name=",
        values=values,
    )  # fmt: skip
    (container,) = pod["containers"]
    with serving(tmp_path, root / "models", *moved(container["args"], root)) as server:
        for name in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert _probe(container, name, server.address, root) == "SERVING"
    kept = root / "var/lib/scorewire/volume/records"
    assert kept.stat().st_mode & 0o777 == 0o700


def test_the_server_with_an_access_file_knows_keys_and_service_accounts(tmp_path: Path) -> None:
    root = _folders(tmp_path)
    made = _tls(root, tmp_path)
    cluster, key = Issuer.make("https://kubernetes.default.svc.cluster.local"), Key.make()
    account = "system:serviceaccount:shop:checkout"
    rules = {"issuer": cluster.name, "subject": account}
    # The Secret has the keys of the issuer beside the access file.
    write_access(
        root / "etc/scorewire/access/access.toml",
        {
            "ops": {"observe": ["*"], "control": ["*"], "keys": [key.entry()]},
            "shop": {"predict": ["sum"], "tokens": [rules]},
        },
        issuers=[cluster.entry("cluster.json")],
    )
    (root / "etc/scorewire/access/cluster.json").write_text(cluster.jwks_text(), encoding="utf-8")
    arguments = ("--set", "server.drainSeconds=0,tls.serverName=scores.example")
    (container,) = _server(*arguments, values=VALUES / "access-values.yaml")["containers"]
    tls = TLS.from_files(root_certificates=made.authority, server_name="scores.example")
    with serving(tmp_path, root / "models", *moved(container["args"], root)) as server:
        for name in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert _probe(container, name, server.address, root) == "SERVING"
        token = cluster.token(account, aud=["scorewire"])
        with Client(server.address, tls=tls, token=lambda: token) as client:
            assert client.predict("sum", ROW).score == expected_value((1.0, 2.5), "de")
        with Client(server.address, tls=tls, api_key=key.text) as client:
            client.set_alias("sum", "best", "1.0.0")
        with Client(server.address, tls=tls) as client, pytest.raises(UnauthenticatedError):
            client.predict("sum", ROW)
        url = f"http://{server.metrics_address}/metrics"
        assert httpx.get(url).status_code == 401
        assert httpx.get(url, headers=dict(key.metadata)).status_code == 200


def test_every_pod_begins_with_the_routing(tmp_path: Path) -> None:
    root = _folders(tmp_path)
    write_sum_bundle(root / "models", version="2.0.0", offset=100.0)
    state = tmp_path / "state.json"
    with (
        serving(tmp_path / "first", root / "models", "--state-file", state) as server,
        Client(server.address) as client,
    ):
        client.set_split("sum", {"1.0.0": 1})
    arguments = ("--set-file", f"routing.state={state}")
    (config,) = (each["data"]["state.json"] for each in render(None, *arguments) if "data" in each)
    pod = _server(*arguments)
    (init,) = pod["initContainers"]
    source, target = init["command"][1:]
    (root / source.lstrip("/")).parent.mkdir(parents=True)
    (root / source.lstrip("/")).write_text(config, encoding="utf-8")
    copied = run_command(root / source.lstrip("/"), root / target.lstrip("/"), command=(init["command"][0],))
    assert copied.returncode == 0
    (container,) = pod["containers"]
    flags = (*moved(container["args"], root), "--drain-seconds=0")
    with serving(tmp_path / "second", root / "models", *flags) as server, Client(server.address) as client:
        assert client.predict("sum", ROW).version == "1.0.0"


def test_the_gateway_is_ready_while_its_server_serves(tmp_path: Path) -> None:
    root = _folders(tmp_path)
    (container,) = _pod("gateway", "--set", "gateway.enabled=true,gateway.drainSeconds=0")["containers"]
    (address,) = (each for each in container["args"] if each.startswith("--server="))
    assert address == "--server=dns:///demo-scorewire-server-headless.models.svc:8500"
    probe = container["readinessProbe"]["httpGet"]
    headers = {each["name"]: each["value"] for each in probe["httpHeaders"]}
    with serving(tmp_path / "server", root / "models") as server:
        flags = [*moved(container["args"], root), f"--server={server.address}", "--hosts=scores.example"]
        with service(tmp_path / "gateway", COMMAND, "gateway", flags=flags) as gateway:
            url = f"http://{gateway.address}{probe['path']}"

            def says(status: str) -> bool:
                # On a busy machine, the server may take longer than a probe waits.
                told: dict[str, str] = httpx.get(url, headers=headers, timeout=60).json()
                return told == {"status": status}

            wait_until(lambda: says("SERVING"), "the gateway to be ready")
            server.stop()
            wait_until(lambda: says("NOT_SERVING"), "the gateway not to be ready")
