"""The kustomize files and the Helm chart say the same as `record --manifests`, and Kubernetes takes them.

`make test` installs Helm's own engine and the schemas of Kubernetes into a folder of their own.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import valkey
import yaml
from support.ports import free_port

import cortex_jupyter
from cortex_jupyter.recorder.__main__ import main
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(cortex_jupyter.__file__).parents[1]
MADE = runpy.run_path(str(ROOT / "deploy" / "generate.py"))
FILES = MADE["files"]()
CHART = ROOT / MADE["CHART"]
KUSTOMIZE = ROOT / "deploy" / "kustomize"
FOLDER = Path(sys.prefix) / "deploy"
EVERYTHING = {name: {"enabled": True} for name in ("hub", "valkey", "serviceMonitor", "prometheusRule")}
Objects = list[dict[str, Any]]

#: Values that differ from the defaults in all that a template can do with them.
CHANGED: dict[str, Any] = {
    "image": {"name": "registry:5000/logs:1", "pullPolicy": "Always", "pullSecrets": [{"name": "registry"}]},
    "secret": "keys",
    "cluster": "prod-1",
    "namespaces": ["ml", "vision"],
    "archive": "s3://logs/runs",
    "networkPolicy": {"enabled": False},
    "mask": "1",
    "retention": {"maxBytes": "50GB", "maxAge": "7d", "maxTaskBytes": "2GB"},
    "collector": {
        "replicas": 0,
        "selector": 'team in (a, "b")',
        "streams": 2500000,
        "streamsPerNode": 7,
        "nodesProxy": True,
        "port": 9999,
        "egressPorts": [6380, 9000],
        "env": {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel:4317", "CORTEX_LOG_LEVEL": "debug"},
        "serviceAccountAnnotations": {"role": "arn:aws:iam::1:role/logs"},
        "resources": {"limits": {"memory": "4Gi"}},
        "nodeSelector": {"pool": "logs"},
        "tolerations": [{"key": "dedicated", "value": "logs", "effect": "NoSchedule"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [],
        "priorityClassName": "high",
        "disruptionBudget": False,
    },
    "hub": {
        "enabled": True,
        "apiUrl": "http://hub.jupyterhub:8081/jupyter/hub/api",
        "baseUrl": "/jupyter/",
        "name": "tasklogs",
        "audit": "stderr",
        "args": ["--CortexJupyter.access_prefix=oidc:"],
        "env": {"CORTEX_LOG_LEVEL": "debug"},
        "serviceAccountAnnotations": {"role": "arn:aws:iam::1:role/reads-logs"},
    },
    "valkey": {
        "enabled": True,
        "storageClassName": "fast",
        "maxmemory": "8gb",
        "clients": [{"namespaceSelector": {"matchLabels": {"team": "ml"}}}],
    },
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
}


def merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return values with changes, by Helm's rule: objects are merged, unless the default is a whole value."""
    result = copy.deepcopy(values)
    for name, change in changes.items():
        both = isinstance(change, dict) and isinstance(result.get(name), dict)
        result[name] = merged(result[name], change) if both else change
    return result


def from_python(values: dict[str, Any]) -> Objects:
    """Return the objects of the chart as the Python side fills them in."""
    context = MADE["Context"](merged(MADE["defaults"](MADE["ALL_SETTINGS"]), values), "logs")
    return [o for objects in MADE["TEMPLATES"].values() for o in MADE["evaluate"](objects, context)]


def kustomized(folder: Path) -> Objects:
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def sort_key(item: dict[str, Any]) -> tuple[str, str, str]:
    return item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"]


def pods(objects: Objects) -> Objects:
    return [o["spec"]["template"]["spec"] for o in objects if o["kind"] in ("Deployment", "StatefulSet")]


@pytest.fixture(scope="module")
def helm() -> Iterator[Any]:
    """Yield Helm's own engine as a module."""
    if not (FOLDER / "helm_python").is_dir():
        pytest.skip("Helm's engine is missing: make .venv/deploy")
    sys.path.append(str(FOLDER))
    import helm_python  # noqa: PLC0415 - in a folder of its own

    yield helm_python
    sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def chart(helm: Any) -> Iterator[Any]:
    with helm.Chart.load(str(CHART)) as loaded:
        yield loaded


def rendered(chart: Any, values: dict[str, Any]) -> Objects:
    files = chart.render(values, name="logs", namespace="logs")
    texts = [text for name, text in files.items() if name.endswith(".yaml")]
    return [o for text in texts for o in yaml.safe_load_all(text) if o]


@pytest.fixture(scope="module")
def validate() -> Iterator[Callable[[Objects], None]]:
    """Yield what checks objects against the schemas of the oldest and the newest Kubernetes that there are schemas of."""
    if not FOLDER.is_dir():
        pytest.skip("the schemas of Kubernetes are missing: make .venv/deploy")
    sys.path.append(str(FOLDER))
    import kubernetes_validate  # noqa: PLC0415 - in a folder of its own

    def check(objects: Objects) -> None:
        for found in objects:
            if not found["apiVersion"].startswith(("monitoring.coreos.com", "policy/v1beta1")):
                for version in ("1.25", "1.37"):
                    kubernetes_validate.validate(found, version, strict=True)

    yield check
    sys.path.remove(str(FOLDER))


@pytest.mark.parametrize("path", sorted(FILES))
def test_the_generated_files_are_up_to_date(path: str) -> None:
    assert (ROOT / path).read_text() == FILES[path], "the file is out of date: run `make deploy`"


def test_the_chart_has_no_template_of_which_nothing_is_known() -> None:
    made = {Path(path).name for path in FILES if "/templates/" in path}
    assert {file.name for file in (CHART / "templates").iterdir()} == made | {"NOTES.txt"}


def test_the_base_is_what_record_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--manifests"]) == 0
    printed = list(yaml.safe_load_all(capsys.readouterr().out))
    assert sorted(kustomized(KUSTOMIZE / "base"), key=sort_key) == sorted(printed, key=sort_key)


@pytest.mark.parametrize(
    "values",
    [{}, EVERYTHING, CHANGED, {"namespaces": ["ml"], "hub": {"enabled": True}}, {"collector": {"nodesProxy": True}}],
    ids=["defaults", "everything", "changed", "one namespace", "nodes"],
)
def test_helm_makes_the_same_objects_which_kubernetes_takes(
    chart: Any, validate: Callable[[Objects], None], values: dict[str, Any]
) -> None:
    objects = rendered(chart, values)
    assert sorted(objects, key=sort_key) == sorted(from_python(values), key=sort_key)
    validate(objects)


def test_the_chart_has_no_fault_and_refuses_wrong_values(helm: Any, chart: Any) -> None:
    for values in ({}, EVERYTHING, CHANGED):
        report = helm.lint(str(CHART), values, strict=True)
        assert not report["errors"] and {m["error"] for m in report["messages"]} <= {"icon is recommended"}, report
    for wrong in (
        {"replicas": 3},
        {"collector": {"replica": 3}},
        {"collector": {"replicas": "3"}},
        {"mask": "yes"},
        {"collector": {"env": {"CORTEX_LOG_LEVEL": 1}}},
        {"hub": {"audit": "/var/log/audit"}},
        {"retention": {"maxAge": "30x"}},
        {"retention": {"maxBytes": "50 gigs"}},
        {"archive": "ftp://host/logs"},
        {"archive": "/mnt/logs"},
    ):
        with pytest.raises(helm.HelmError):
            chart.render(wrong, name="logs", namespace="logs")


def test_the_notes_name_the_secret_and_what_stays(chart: Any) -> None:
    notes = chart.render(EVERYTHING | {"namespaces": ["ml"]}, name="logs", namespace="logs")
    text = notes["cortex-jupyter/templates/NOTES.txt"]
    assert (
        "the namespaces ml." in text and "from-literal=token=TOKEN" in text and "data-cortex-jupyter-valkey-0" in text
    )
    assert "valkey://recorder@cortex-jupyter-valkey" in text and "http://cortex-jupyter-hub.logs:10101" in text
    plain = chart.render({}, name="logs", namespace="logs")["cortex-jupyter/templates/NOTES.txt"]
    assert "all namespaces" in plain and "hub" not in plain and "claim" not in plain


@pytest.mark.parametrize("overlay", sorted(path.name for path in (KUSTOMIZE / "overlays").iterdir()))
def test_kubernetes_takes_each_overlay(overlay: str, validate: Callable[[Objects], None]) -> None:
    objects = kustomized(KUSTOMIZE / "overlays" / overlay)
    validate(objects)
    assert {o["metadata"].get("namespace") for o in objects} <= {"cortex-jupyter", None}


@pytest.mark.parametrize("names", [("ml",), ("ml", "vision")], ids=["one", "two"])
def test_an_overlay_for_a_few_namespaces_is_made_as_the_page_says(names: tuple[str, ...], tmp_path: Path) -> None:
    copy, one_for_all = re.findall(r"```bash\n((?:cp|cd) .*?)```", (ROOT / MADE["PAGE"]).read_text(), re.DOTALL)
    steps = (copy + one_for_all).replace(" -n ml -n vision ", "".join(f" -n {name}" for name in names) + " ")
    steps = re.sub(r"^kubectl (?:apply -k|-n) .*\n", "", steps, flags=re.MULTILINE)
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    environment = {name: text for name, text in os.environ.items() if not name.startswith("CORTEX_")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    subprocess.run(["bash", "-euc", steps], cwd=tmp_path, env=environment, check=True)

    objects = kustomized(tmp_path / "deploy" / "kustomize" / "overlays" / "mine")
    by_kind: dict[str, Objects] = {}
    for found in objects:
        by_kind.setdefault(found["kind"], []).append(found)
    assert not by_kind.keys() & {"ClusterRole", "ClusterRoleBinding"} and "StatefulSet" in by_kind
    for kind in ("Role", "RoleBinding"):
        assert sorted(o["metadata"]["namespace"] for o in by_kind.pop(kind)) == [*names]
    assert {o["metadata"]["namespace"] for others in by_kind.values() for o in others} == {"cortex-jupyter"}
    subjects = [o["subjects"] for o in objects if o["kind"] == "RoleBinding"]
    assert subjects == [
        [{"kind": "ServiceAccount", "name": "cortex-jupyter", "namespace": "cortex-jupyter"}] for _ in names
    ]
    (collector,) = (o for o in by_kind["Deployment"] if o["metadata"]["name"] == "cortex-jupyter")
    command = collector["spec"]["template"]["spec"]["containers"][0]["command"]
    assert command[-2 * len(names) :] == [word for name in names for word in ("--namespace", name)]


def test_the_overlay_of_everything_places_all_pods_and_is_scraped_once() -> None:
    objects = kustomized(KUSTOMIZE / "overlays" / "complete")
    assert len(pods(objects)) == 3
    for pod in pods(objects):
        assert pod["tolerations"] and pod["priorityClassName"] and pod["imagePullSecrets"]
    by_name = {sort_key(o)[::2]: o for o in objects}
    template = by_name["Deployment", "cortex-jupyter"]["spec"]["template"]
    assert len(template["spec"]["topologySpreadConstraints"]) == 2
    assert "annotations" not in template["metadata"]
    # The ServiceMonitor selects the Service, and the Service the pods.
    monitor, service = by_name["ServiceMonitor", "cortex-jupyter"], by_name["Service", "cortex-jupyter-metrics"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert [e["port"] for e in monitor["spec"]["endpoints"]] == [p["name"] for p in service["spec"]["ports"]]
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    alerts = yaml.safe_load((ROOT / "docs" / "how-to" / "monitoring" / "alerts.yaml").read_text())
    assert by_name["PrometheusRule", "cortex-jupyter"]["spec"] == alerts


def test_braces_in_an_alert_are_for_prometheus_and_not_for_helm(helm: Any, tmp_path: Path) -> None:
    alert = {"summary": "{{ $labels.reason }} of {{ $value }}", "several": "a\n{{ $labels.reason }}\n"}
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text((CHART / "Chart.yaml").read_text())
    rule = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "alert"}, "data": alert}
    (tmp_path / "templates" / "alert.yaml").write_text(MADE["helm_template"]([rule]))
    with helm.Chart.load(str(tmp_path)) as chart:
        (found,) = rendered(chart, {})
    assert found["data"] == alert


def test_before_kubernetes_1_21_the_budget_is_another_version(tmp_path: Path) -> None:
    base, component = (os.path.relpath(KUSTOMIZE / name, tmp_path) for name in ("base", "components/kubernetes-1.20"))
    text = {"namespace": "logs", "resources": [base], "components": [component]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(text))
    (budget,) = (o for o in kustomized(tmp_path) if o["kind"] == "PodDisruptionBudget")
    assert budget["apiVersion"] == "policy/v1beta1" and budget["metadata"]["namespace"] == "logs"


def test_all_pods_follow_the_restricted_standard_and_hold_no_secret() -> None:
    """See https://kubernetes.io/docs/concepts/security/pod-security-standards/."""
    objects = from_python(EVERYTHING)
    assert len(pods(objects)) == 3
    for pod in pods(objects):
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not any("hostPath" in volume for volume in pod["volumes"])
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            secrets = [v["name"] for v in container["env"] if "TOKEN" in v["name"] or "PASSWORD" in v["name"]]
            assert secrets and all("valueFrom" in v for v in container["env"] if v["name"] in secrets)
            assert container["resources"]["limits"]["memory"]
    # Only what asks the API server has a token for it.
    mounted = {pod["containers"][0]["name"]: pod["automountServiceAccountToken"] for pod in pods(objects)}
    assert mounted == {"collector": True, "hub": True, "valkey": False}


def test_the_valkey_server_lets_in_only_the_users_of_the_secret_and_keeps_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run the container's own command, with its folders elsewhere and another port."""
    (pod,) = (p for p in pods(from_python(EVERYTHING)) if p["containers"][0]["name"] == "valkey")
    (container,) = pod["containers"]
    port = free_port()
    for folder in ("data", "users"):
        (tmp_path / folder).mkdir()
    paths = {
        "/run/valkey": str(tmp_path / "users"),
        "/data": f"{tmp_path}/data --port {port}",
        "cli ": f"cli -p {port} ",
    }

    def here(command: list[str]) -> list[str]:
        for path, local in paths.items():
            command = [part.replace(path, local) for part in command]
        return command

    settings = {v["name"]: v["value"] for v in container["env"] if "value" in v}
    env = os.environ | settings | {"RECORDER_PASSWORD": "hush", "ADMIN_PASSWORD": "hush hush"}
    monkeypatch.setenv("CORTEX_STORE_PASSWORD", "hush")
    monkeypatch.setenv("CORTEX_STORE", f"valkey://recorder@127.0.0.1:{port}")
    ready = here(container["readinessProbe"]["exec"]["command"])
    for start in range(2):
        process = subprocess.Popen(here(container["command"]), env=env, stdout=subprocess.DEVNULL)
        try:
            while subprocess.run(ready, env=env, capture_output=True, check=False).returncode:
                assert process.poll() is None
            assert subprocess.run(
                ready, env=env | {"RECORDER_PASSWORD": "no"}, capture_output=True, check=False
            ).returncode
            with contextlib.closing(open_store(os.environ["CORTEX_STORE"])) as store:
                if not start:
                    store.set_setting("kept", "1")
                assert store.setting("kept") == "1"
            with valkey.Valkey(port=port) as nobody, pytest.raises(valkey.exceptions.AuthenticationError):
                nobody.ping()
            with valkey.Valkey(port=port, username="recorder", password="hush") as recorder:
                with pytest.raises(valkey.exceptions.NoPermissionError):
                    recorder.flushall()
                with pytest.raises(valkey.exceptions.NoPermissionError):
                    recorder.set("other", "1")
            with valkey.Valkey(port=port, username="admin", password="hush hush", decode_responses=True) as admin:
                assert admin.config_get("maxmemory*")["maxmemory-policy"] == "noeviction"
                assert admin.config_get("maxmemory")["maxmemory"] == str(2 << 30)
                assert admin.config_get("appendonly")["appendonly"] == "yes"
                admin.bgsave()
                users = admin.acl_users()
            assert set(users) == {"default", "recorder", "admin"}, "a user without a password was made"
        finally:
            process.kill()
            process.wait(60)
    assert "hush" not in (tmp_path / "users" / "users.acl").read_text()
    assert (tmp_path / "users" / "users.acl").stat().st_mode & 0o777 == 0o600


def test_the_page_names_each_value_once() -> None:
    page = (ROOT / MADE["PAGE"]).read_text()
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert values == MADE["defaults"](MADE["ALL_SETTINGS"])
    for setting in MADE["ALL_SETTINGS"]:
        assert page.count(f"| `{setting.path}` |") == 1
        assert setting.path.split(".")[0] in schema["properties"]
