"""The stack is hardened, pinned and complete, and Docker Compose's own library loads it."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
from yamllint import linter
from yamllint.config import YamlLintConfig

from scorewire_contract.service.stopping import MARGIN_SECONDS
from scorewire_server.records import shipper
from scorewire_server.settings import Settings
from scorewire_server.tracing import traces
from tests.deploy.compose import FILE, FOLDER, ROOT, SERVICES, mounts, read_compose
from tests.deploy.programs import COLLECTOR, COMPOSE_CONFIG, PROMTOOL, needs, run
from tests.e2e.image import IMAGES, instructions

# It ends as soon as it has done its work.
ONE_SHOT = "records-schema"
# Its image has no program that could ask it.
WITHOUT_HEALTH_CHECK = "collector"
YAML = [path for path in sorted((ROOT / "deploy").rglob("*.y*ml")) if "helm" not in path.parts]


@needs(COMPOSE_CONFIG)
@pytest.mark.parametrize("profile", ["", "traces"])
def test_compose_loads_it(profile: str) -> None:
    loaded = json.loads(run(COMPOSE_CONFIG, FILE, *filter(None, [profile])))
    assert set(loaded["services"]) == set(SERVICES) - ({WITHOUT_HEALTH_CHECK} if not profile else set())
    for name, service in loaded["services"].items():
        own = SERVICES[name]
        assert service.get("command") == own.get("command"), name
        # A variable without a value is passed on if it is set.
        loaded_environment = {key: value or "" for key, value in service.get("environment", {}).items()}
        assert loaded_environment == own.get("environment", {}), name
        assert service["read_only"] is True


@needs(COMPOSE_CONFIG)
def test_compose_adds_an_access_file(tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text(f"include: [{{path: [{FILE}, {FOLDER / 'access.yaml'}], project_directory: {FOLDER}}}]")
    services = json.loads(run(COMPOSE_CONFIG, file))["services"]
    server = services["server"]
    mounted = {each["target"]: each for each in server["volumes"]}
    assert set(mounted) == {*mounts(SERVICES["server"]), "/access"}
    assert mounted["/access"]["read_only"] is True
    given = {f"SCOREWIRE_{name.upper()}" for name in Settings.__dataclass_fields__}
    assert server["environment"]["SCOREWIRE_ACCESS"] == "/access/access.toml"
    assert {name for name in server["environment"] if name.startswith("SCOREWIRE_")} <= given
    (secret,) = services["prometheus"]["secrets"]
    prometheus = (ROOT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8")
    assert f"    # authorization: {{credentials_file: {secret['target']}}}" in prometheus


@needs(COLLECTOR)
def test_the_collector_takes_its_configuration() -> None:
    run(COLLECTOR, "validate", "--config", ROOT / "deploy/otel/collector.yaml")


@needs(PROMTOOL)
def test_prometheus_takes_its_configuration() -> None:
    run(PROMTOOL, "check", "config", ROOT / "deploy/prometheus/prometheus.yml")


@pytest.mark.parametrize("path", YAML, ids=[path.relative_to(ROOT).as_posix() for path in YAML])
def test_yaml_is_tidy(path: Path) -> None:
    config = YamlLintConfig(file=str(ROOT / "deploy/.yamllint"))
    assert [str(problem) for problem in linter.run(path.read_text(encoding="utf-8"), config)] == []


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_can_do_little(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] == "true"
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc"} & set(service)
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_does_not_run_as_root(name: str) -> None:
    service = SERVICES[name]
    if "build" in service:
        assert service["build"]["target"] in IMAGES
        assert "user" not in service
    else:
        assert int(service["user"].partition(":")[0]) > 0


def test_no_two_builds_write_the_same_name() -> None:
    # Compose builds all images at the same time; where containerd keeps them, the second of a name fails.
    names = [service["image"] for service in SERVICES.values() if "build" in service]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", [name for name in SERVICES if "build" not in SERVICES[name]])
def test_the_image_of_others_is_pinned_to_a_release(name: str) -> None:
    image = SERVICES[name]["image"]
    assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+(\.\d+)?[a-z0-9.-]*(@sha256:[0-9a-f]{64})?", image)


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_only(name: str) -> None:
    service = SERVICES[name]
    for port in service.get("ports", ()):
        assert port.startswith("127.0.0.1:")
    networks = read_compose()["networks"]
    outside = [each for each in service["networks"] if networks[each].get("internal") != "true"]
    assert bool(outside) == bool(service.get("ports"))


@pytest.mark.parametrize("name", [name for name in SERVICES if name not in (ONE_SHOT, WITHOUT_HEALTH_CHECK)])
def test_a_service_is_health_checked(name: str) -> None:
    service = SERVICES[name]
    if "build" in service:
        assert any(each == "HEALTHCHECK" for each, _ in instructions(service["build"]["target"]))
    else:
        assert service["healthcheck"]["test"][0] == "CMD"


def test_the_server_has_time_to_stop() -> None:
    own = Settings()
    needed = own.drain_seconds + own.grace_seconds + MARGIN_SECONDS
    needed += shipper.LAST_PASS_SECONDS + traces.LAST_PASS_SECONDS
    assert float(SERVICES["server"]["stop_grace_period"].removesuffix("s")) >= needed


def test_a_service_waits_for_what_it_needs() -> None:
    for name, service in SERVICES.items():
        for other, dependency in service.get("depends_on", {}).items():
            expected = "service_completed_successfully" if other == ONE_SHOT else "service_healthy"
            assert dependency == {"condition": expected}, name
            # They reach each other, or wait for a service that both know.
            assert other == ONE_SHOT or set(service["networks"]) & set(SERVICES[other]["networks"])


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_mounts_is_there(name: str) -> None:
    service, whole = SERVICES[name], read_compose()
    for target, source in mounts(service).items():
        if source.startswith("."):
            assert target == "/models" or (FOLDER / source).exists()
        else:
            assert source in whole["volumes"]
    assert set(service.get("secrets", ())) <= set(whole["secrets"])


def test_uploads_wait_on_a_disk_and_not_in_memory() -> None:
    gateway = SERVICES["gateway"]
    folder = gateway["environment"]["TMPDIR"]
    assert mounts(gateway)[folder] in read_compose()["volumes"]
    # A new volume gets its owner from the image.
    (made,) = (each for word, each in instructions("gateway") if word == "RUN" and "install --dir" in each)
    assert folder in made.split()


def test_secrets_are_in_files_only() -> None:
    for service in SERVICES.values():
        for variable, value in service.get("environment", {}).items():
            assert value.startswith("/run/secrets/") or not re.search("PASSWORD|TOKEN|SECRET_KEY", variable)
        for word in service.get("command", ()):
            assert not re.search(r"://\w+:[^@]+@", word)


def test_each_secret_is_made_once_and_only_for_its_owner(tmp_path: Path) -> None:
    script = tmp_path / "secrets.sh"
    script.write_bytes((FOLDER / "secrets.sh").read_bytes())
    subprocess.run(["sh", script], check=True, capture_output=True)
    folder = tmp_path / "secrets"
    made = {path.name: path.read_text(encoding="ascii") for path in folder.iterdir()}
    files = {f"secrets/{name}" for name in made}
    assert files == {secret["file"] for secret in read_compose()["secrets"].values()}
    assert all(re.fullmatch("[a-zA-Z0-9]{32}", value) for value in made.values())
    assert len(set(made.values())) == len(made)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    again = subprocess.run(["sh", script], check=True, capture_output=True, text=True)
    assert again.stdout == ""
    assert {path.name: path.read_text(encoding="ascii") for path in folder.iterdir()} == made
    assert os.access(FOLDER / "secrets.sh", os.X_OK)


def test_secrets_are_never_committed() -> None:
    assert "/deploy/compose/secrets/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
