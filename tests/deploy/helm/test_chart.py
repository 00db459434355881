"""The chart with several values: what helm and the schemas of Kubernetes say, and what pods may do."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy import queries
from tests.deploy.chart import CHART, SCHEMA, VALUES, helm, render, settings_schema
from tests.deploy.kubernetes import validate
from tests.deploy.tools import KUBERNETES, ROOT

pytestmark = pytest.mark.usefixtures("tools")

FILES = [None, *sorted(VALUES.glob("*.yaml"))]
NAMES = ["defaults" if each is None else each.name.removesuffix("-values.yaml") for each in FILES]
with_each_file = pytest.mark.parametrize("values", FILES, ids=NAMES)
OLDEST_WITH_IMAGES = "1.33"


def _pods(objects: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The specifications of all pods."""
    for each in objects:
        if each["kind"] == "Pod":
            yield each["spec"]
        elif "template" in each["spec"] if "spec" in each else False:
            yield each["spec"]["template"]["spec"]


def _given(values: Path | None) -> tuple[str, ...]:
    return () if values is None else ("--values", str(values))


def _one(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = (each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name))
    return found


def _labels(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


@with_each_file
def test_helm_finds_no_fault(values: Path | None) -> None:
    done = helm("lint", CHART, "--strict", *_given(values))
    assert done.returncode == 0, done.stdout + done.stderr


@with_each_file
@pytest.mark.parametrize("release", KUBERNETES)
def test_every_object_fits_the_schemas_of_kubernetes(values: Path | None, release: str) -> None:
    if values is not None and values.name.startswith("image") and release < OLDEST_WITH_IMAGES:
        # Refused by the chart, below.
        return
    done = helm("template", "demo", CHART, "--kube-version", release, *_given(values))
    assert done.returncode == 0, done.stderr
    checked = validate(release, text=done.stdout)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "Skipped: 0" in checked.stdout


def test_a_misspelt_field_does_not_fit() -> None:
    text = helm("template", "demo", CHART).stdout.replace("readOnlyRootFilesystem", "readOnlyRootFileSystem")
    checked = validate(KUBERNETES[-1], text=text)
    assert checked.returncode == 1
    assert "readOnlyRootFileSystem" in checked.stdout


@with_each_file
def test_pods_keep_to_the_restricted_profile(values: Path | None) -> None:
    pods = list(_pods(render(values)))
    assert len(pods) >= 2
    for pod in pods:
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in [*pod["containers"], *pod.get("initContainers", ())]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
        mounted = {
            mount["name"]
            for container in [*pod["containers"], *pod.get("initContainers", ())]
            for mount in container.get("volumeMounts", ())
        }
        claims = {"records"} if values is not None and values.name.startswith("records") else set()
        assert mounted - claims == {volume["name"] for volume in pod.get("volumes", ())}


@with_each_file
def test_selectors_find_the_pods_that_they_mean(values: Path | None) -> None:
    objects = render(values)
    workloads = [each for each in objects if each["kind"] in ("Deployment", "StatefulSet")]
    labels = {each["metadata"]["name"]: each["spec"]["template"]["metadata"]["labels"] for each in workloads}
    for each in objects:
        name = each["metadata"]["name"]
        spec = each.get("spec", {})
        owner = "demo-scorewire-gateway" if "gateway" in name else "demo-scorewire-server"
        if each["kind"] == "Service":
            selector = spec["selector"]
        elif each["kind"] in ("PodDisruptionBudget", "Deployment", "StatefulSet"):
            selector = spec["selector"]["matchLabels"]
        elif each["kind"] == "NetworkPolicy":
            selector = spec["podSelector"]["matchLabels"]
        elif each["kind"] == "HorizontalPodAutoscaler":
            assert spec["scaleTargetRef"]["name"] == owner
            continue
        else:
            continue
        assert [found for found in labels if _labels(selector, labels[found])] == [owner], name


def test_a_service_monitor_finds_one_service_with_its_port() -> None:
    objects = render(VALUES / "gateway-values.yaml")
    services = [each for each in objects if each["kind"] == "Service"]
    for component in ("server", "gateway"):
        monitor = _one(objects, "ServiceMonitor", f"demo-scorewire-{component}")["spec"]
        (endpoint,) = monitor["endpoints"]
        found = [
            service["metadata"]["name"]
            for service in services
            if _labels(monitor["selector"]["matchLabels"], service["metadata"]["labels"])
            and endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
        ]
        assert len(found) == 1


def test_the_alerts_are_those_of_prometheus() -> None:
    objects = render(VALUES / "image-models-values.yaml")
    rules = _one(objects, "PrometheusRule", "demo-scorewire")["spec"]["groups"]
    files = sorted((ROOT / "deploy/prometheus/rules").glob("*.yml"))
    wanted = [group for file in files for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]]
    assert rules == wanted
    assert rules


def test_the_adapter_has_the_metrics_that_the_autoscaler_asks_for() -> None:
    objects = render(VALUES / "image-models-values.yaml")
    metrics = _one(objects, "HorizontalPodAutoscaler", "demo-scorewire-server")["spec"]["metrics"]
    asked = {each["pods"]["metric"]["name"] for each in metrics if each["type"] == "Pods"}
    adapter = yaml.safe_load((ROOT / "deploy/helm/prometheus-adapter.yaml").read_text(encoding="utf-8"))
    rules = {each["name"]["as"]: each for each in adapter["rules"]["custom"]}
    assert asked == rules.keys()
    for rule in rules.values():
        query = rule["metricsQuery"].replace("<<.GroupBy>>", "instance")
        query = query.replace("<<.Series>>", rule["seriesQuery"].partition("{")[0])
        queries.check(query.replace("<<.LabelMatchers>>", 'job="scorewire"'))


@pytest.mark.parametrize(
    ("arguments", "kind", "least"),
    [
        ((), "Deployment", 5 + 20 + 5),
        (("--set-json", "server.drainSeconds=7.5,server.graceSeconds=100"), "Deployment", 7.5 + 100 + 5),
        (("--set", "records.enabled=true"), "StatefulSet", 5 + 20 + 5 + 10),
        (("--set", "server.settings.traces=http://collector:4317"), "Deployment", 5 + 20 + 5 + 5),
    ],
)
def test_a_pod_has_the_time_that_the_server_needs_to_end(
    arguments: tuple[str, ...], kind: str, least: float
) -> None:
    server = _one(render(None, *arguments), kind, "demo-scorewire-server")
    given = server["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert least < given < least + 10


def test_what_a_server_may_reach() -> None:
    def ports(*arguments: str) -> list[int]:
        objects = render(None, *arguments)
        egress = _one(objects, "NetworkPolicy", "demo-scorewire-server")["spec"]["egress"]
        return sorted({port["port"] for rule in egress for port in rule["ports"]})

    database = "records.enabled=true,records.postgresql.url=postgresql://shipper@{}/records"
    assert ports() == []
    assert ports("--set", database.format("db.example")) == [53, 5432]
    assert ports("--set", database.format("db.example:6432")) == [53, 6432]
    assert ports("--set", "server.settings.traces=http://collector.example:4319") == [53, 4319]
    copied = "models.source=initContainer,models.initContainer.image=rclone/rclone:1"
    assert ports("--set", copied) == [53, 443]


def test_a_gateway_with_jobs_ends_before_the_next_one_starts() -> None:
    gateway = _one(render(VALUES / "jobs-values.yaml"), "Deployment", "demo-scorewire-gateway")["spec"]
    assert gateway["replicas"] == 1
    assert gateway["strategy"] == {"type": "Recreate"}


def _described(schema: Any, path: str) -> Iterator[str]:
    """The paths of the properties without a description."""
    if isinstance(schema, dict):
        for name, each in schema.get("properties", {}).items():
            if isinstance(each, dict) and "description" not in each and "allOf" not in path:
                yield f"{path}.{name}"
        for key, each in schema.items():
            yield from _described(each, f"{path}.{key}")
    elif isinstance(schema, list):
        for index, each in enumerate(schema):
            yield from _described(each, f"{path}.{index}")


def _leaves(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(values, dict) and values:
        for name, each in values.items():
            yield from _leaves(each, (*path, name))
    else:
        yield path


def test_every_value_is_described() -> None:
    assert list(_described(json.loads(SCHEMA.read_text(encoding="utf-8")), "")) == []


def test_every_value_is_used() -> None:
    templates = "".join(path.read_text(encoding="utf-8") for path in (CHART / "templates").rglob("*.*"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    unused = [path for path in _leaves(values) if f".{path[-1]}" not in templates]
    # Kubernetes' own fields, which pass through as a whole.
    assert [path for path in unused if "resources" not in path] == []


def test_every_value_has_a_default() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))

    def undefined(part: dict[str, Any], given: Any, path: str) -> Iterator[str]:
        if "$ref" in part:
            part = schema["$defs"][part["$ref"].rpartition("/")[2]]
        for name, each in part.get("properties", {}).items():
            if isinstance(given, dict) and name not in given and given:
                yield f"{path}.{name}"
            elif isinstance(given, dict) and given:
                yield from undefined(each, given[name], f"{path}.{name}")

    # Helm's own, and the limit that every deployment chooses.
    assert set(undefined(schema, values, "")) == {".global"}


def test_the_settings_in_the_schema_are_those_of_the_programs() -> None:
    definitions = json.loads(SCHEMA.read_text(encoding="utf-8"))["$defs"]
    assert definitions == definitions | settings_schema(), "make docs writes them"


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("replicas=3", "additional properties 'replicas' not allowed"),
        ("server.replica=3", "additional properties 'replica' not allowed"),
        ("server.replicas=many", "at '/server/replicas': got string, want integer"),
        ("server.host=10.0.0.1", "value must be one of '0.0.0.0', '[::]'"),
        ("server.settings.max-row=5", "additional properties 'max-row' not allowed"),
        ("server.settings.max-rows=0", "at '/server/settings/max-rows': minimum: got 0, want 1"),
        ("server.settings.listen=0.0.0.0:1", "additional properties 'listen' not allowed"),
        ("server.settings.engine=fast", "value must be one of 'auto', 'native', 'reference'"),
        ("models.source=image", "at '/models/image/reference': minLength"),
        ("models.source=initContainer", "at '/models/initContainer/image': minLength"),
        (
            "models.persistentVolumeClaim.claimName=",
            "at '/models/persistentVolumeClaim/claimName': minLength",
        ),
        ("models.persistentVolumeClaim.subPath=../x", "at '/models/persistentVolumeClaim/subPath'"),
        ("records.postgresql.url=postgresql://a:secret@db/x", "at '/records/postgresql/url'"),
        ("metrics.port=80", "minimum: got 80, want 1,024"),
        ("server.resources.requests.cpu=two", "at '/server/resources/requests/cpu'"),
        ("server.podDisruptionBudget.maxUnavailable=0", "at '/server/podDisruptionBudget/maxUnavailable'"),
        (
            "server.autoscaling.enabled=true,server.autoscaling.minReplicas=20",
            "server.autoscaling.minReplicas is greater than maxReplicas",
        ),
        (
            "server.autoscaling.enabled=true,server.autoscaling.cpuUtilization=0",
            "server.autoscaling has no target: set cpuUtilization, inFlight or callsPerSecond",
        ),
        ("server.control=on", "name the access file in access.secret"),
        ("gateway.enabled=true,gateway.settings.jobs=/jobs", "a folder that one gateway uses"),
        (
            "gateway.enabled=true,gateway.settings.jobs=/j,gateway.replicas=1,gateway.autoscaling.enabled=true",
            "a folder that one gateway uses",
        ),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(setting: str, told: str) -> None:
    done = helm("template", "demo", CHART, "--set", setting)
    assert done.returncode == 1
    assert told in done.stderr


def test_the_access_file_comes_from_a_secret_and_is_followed() -> None:
    values = "access.secret.name=callers,access.secret.key=file,server.control=auto"
    pod = _one(render(None, "--set", values), "Deployment", "demo-scorewire-server")["spec"]["template"][
        "spec"
    ]
    (container,) = pod["containers"]
    assert "--access=/etc/scorewire/access/file" in container["args"]
    assert "--control=auto" in container["args"]
    # A folder, since a mount of a single file does not follow the Secret.
    mount = {"name": "access", "mountPath": "/etc/scorewire/access", "readOnly": True}
    assert mount in container["volumeMounts"]
    (volume,) = (each for each in pod["volumes"] if each["name"] == "access")
    # All of it: the file may name others, such as the keys of an issuer.
    assert volume["secret"] == {"secretName": "callers", "defaultMode": 0o440}


def test_prometheus_has_a_key_and_the_server_reaches_issuers() -> None:
    objects = render(VALUES / "access-values.yaml")
    (endpoint,) = _one(objects, "ServiceMonitor", "demo-scorewire-server")["spec"]["endpoints"]
    assert endpoint["authorization"] == {"credentials": {"name": "scores-scrape", "key": "key"}}
    (of_gateway,) = _one(objects, "ServiceMonitor", "demo-scorewire-gateway")["spec"]["endpoints"]
    assert "authorization" not in of_gateway
    egress = _one(objects, "NetworkPolicy", "demo-scorewire-server")["spec"]["egress"]
    assert {"ports": [{"port": 443, "protocol": "TCP"}]} in egress


def test_a_setting_takes_the_place_of_the_charts_own() -> None:
    def told(*arguments: str) -> list[str]:
        pod = _one(render(None, *arguments), "Deployment", "demo-scorewire-server")["spec"]["template"][
            "spec"
        ]
        flags: list[str] = pod["containers"][0]["args"]
        assert len({each.partition("=")[0] for each in flags}) == len(flags)
        return flags

    assert {"--watch=poll", "--max-connection-age-seconds=60", "--log-format=json"} <= set(told())
    settings = {"watch": "auto", "max-connection-age-seconds": 0.5, "log-format": "console"}
    with_own = set(told("--set-json", f"server.settings={json.dumps(settings)}"))
    assert {"--watch=auto", "--max-connection-age-seconds=0.5", "--log-format=console"} <= with_own
    assert "--max-message-bytes=16777216" in told("--set", "server.settings.max-message-bytes=16777216")
    policy = 'server.settings.version-policy="latest:2;churn=specific:1.0.0,1.1.0"'
    assert "--version-policy=latest:2;churn=specific:1.0.0,1.1.0" in told("--set-json", policy)


def test_long_names_stay_valid() -> None:
    done = helm("template", "a" * 53, CHART, "--set", "records.enabled=true,gateway.enabled=true")
    objects = [each for each in yaml.safe_load_all(done.stdout) if each is not None]
    assert objects, done.stderr
    # A StatefulSet's pods have a label of its name, a dash and ten characters.
    assert all(len(each["metadata"]["name"]) <= 52 for each in objects if each["kind"] == "StatefulSet")
    assert all(len(each["metadata"]["name"]) <= 63 for each in objects if each["kind"] == "Service")


def test_a_packed_chart_has_the_rules(tmp_path: Path) -> None:
    packed = helm("package", CHART, "--destination", tmp_path)
    assert packed.returncode == 0, packed.stderr
    (archive,) = tmp_path.glob("*.tgz")
    with tarfile.open(archive) as files:
        names = set(files.getnames())
    wanted = {f"scorewire/rules/{each.name}" for each in (ROOT / "deploy/prometheus/rules").glob("*.yml")}
    assert wanted <= names
    assert not any("/ci/" in name for name in names)


def test_image_volumes_need_a_kubernetes_that_has_them() -> None:
    values = VALUES / "image-models-values.yaml"
    done = helm("template", "demo", CHART, "--values", values, "--kube-version", KUBERNETES[0])
    assert done.returncode == 1
    assert "use persistentVolumeClaim or initContainer" in done.stderr


def test_the_oldest_kubernetes_is_the_one_that_is_checked() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["kubeVersion"] == f">={KUBERNETES[0].rpartition('.')[0]}.0-0"


def test_notes_warn_of_what_is_open() -> None:
    def notes(*arguments: str) -> str:
        done = helm("install", "demo", CHART, "--dry-run=client", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.partition("NOTES:")[2]

    assert "rollout status deployment/demo-scorewire-server" in notes()
    assert "calls are not encrypted" in notes()
    assert "calls are not encrypted" not in notes("--set", "tls.secretName=x")
    assert "statefulset/demo-scorewire-server" in notes("--set", "records.enabled=true")
    no_policy = "networkPolicy.enabled=false"
    assert "asks nobody who calls" in notes("--set", no_policy)
    assert "asks nobody who calls" not in notes("--set", f"{no_policy},access.secret.name=callers")
    assert "--api-key-file" not in notes()
    assert "--api-key-file shop.key" in notes("--set", "access.secret.name=callers")
    assert "only pods of this namespace" not in notes()
    open_gateway = "gateway.enabled=true,gateway.service.type=LoadBalancer"
    assert "Name callers from elsewhere in gateway.clients" in notes("--set", open_gateway)
    assert "in networkPolicy.clients" in notes("--set", "server.service.type=LoadBalancer")
    assert "in networkPolicy.monitoring" in notes("--set", "metrics.serviceMonitor.enabled=true")
