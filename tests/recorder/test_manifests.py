"""The output of `cortex-jupyter record --manifests` is complete, contains no secret, and runs on a real cluster."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from archive.s3 import gate, seaweed
from support.host_pods import on_this_machine
from support.kube import python_job
from support.ports import free_port
from support.valkey import Server

from cortex_jupyter.model import Batch
from cortex_jupyter.recorder.__main__ import main
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.kube import Kube


def printed(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["--manifests", *options]) == 0
    return capsys.readouterr().out


def one(text: str, kind: str) -> dict[str, Any]:
    (found,) = (o for o in yaml.safe_load_all(text) if o["kind"] == kind)
    return found


def test_rights_are_limited_to_the_recorded_namespaces(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "-n", "ml", "-n", "vision", "--into", "logs", "-l", "team in (a, b)")
    objects = list(yaml.safe_load_all(text))
    assert {o["metadata"]["namespace"] for o in objects if o["kind"] == "Role"} == {"ml", "vision"}
    assert {o["subjects"][0]["namespace"] for o in objects if o["kind"] == "RoleBinding"} == {"logs"}
    assert not any(o["kind"] == "ClusterRole" for o in objects) and "nodes/proxy" not in text
    (container,) = one(text, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz" != container["readinessProbe"]["httpGet"]["path"]
    assert {"name": "CORTEX_LOG_FORMAT", "value": "json"} in container["env"]
    assert container["command"][-6:] == ["--namespace", "ml", "--namespace", "vision", "--selector", "team in (a, b)"]

    both = printed(capsys, "-n", "ml", "--nodes-proxy")
    assert one(both, "ClusterRole")["rules"] == [{"apiGroups": [""], "resources": ["nodes/proxy"], "verbs": ["get"]}]
    verbs = {verb for role in ("Role", "ClusterRole") for rule in one(both, role)["rules"] for verb in rule["verbs"]}
    assert verbs == {"get", "list", "watch"}, "the rights include more than reading"


def test_no_secret_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--store", "valkeys://ann:hush@valkey:6380", "--secret", "keys")
    assert "hush" not in text and "valkey:6380" not in text
    (container,) = one(text, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["env"][0] == {
        "name": "CORTEX_STORE",
        "valueFrom": {"secretKeyRef": {"name": "keys", "key": "store"}},
    }
    assert 6380 in {port["port"] for port in one(text, "NetworkPolicy")["spec"]["egress"][0]["ports"]}


def test_what_was_given_is_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits, masking and retention that were given must not be lost on the way into the cluster."""
    given = {
        "CORTEX_MASK": "1",
        "CORTEX_STORE_MAX_BYTES": "50GB",
        "CORTEX_STORE_MAX_AGE": "7d",
        "CORTEX_STORE_MAX_TASK_BYTES": "2GB",
        "CORTEX_LOG_LEVEL": "debug",
    }
    plain = printed(capsys)
    assert not any(name in plain for name in given) and "--streams" not in plain
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    text = printed(capsys, "--streams", "50", "--streams-per-node", "7", "--port", "9999", "-n", "ml")
    (container,) = one(text, "Deployment")["spec"]["template"]["spec"]["containers"]
    command = " ".join(container["command"])
    assert command == (
        "cortex-jupyter record --all --host * --port 9999 --namespace ml --streams 50 --streams-per-node 7"
    )
    env = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert given.items() <= env.items()
    assert container["ports"] == [{"name": "metrics", "containerPort": 9999, "protocol": "TCP"}]
    assert one(text, "NetworkPolicy")["spec"]["ingress"][0]["ports"] == [{"protocol": "TCP", "port": 9999}]
    annotations = one(text, "Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == "9999"
    monkeypatch.setenv("CORTEX_STORE_MAX_AGE", "a week")
    assert main(["--manifests"]) == 1, "a wrong setting is found in the cluster only"
    assert "'a week' is not an age" in capsys.readouterr().err


def test_the_policy_allows_the_port_of_the_store_in_use(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(out(printed(capsys))) == {53, 443, 6443, 6379}
    assert "allows port 6379 to the store" in printed(capsys)
    monkeypatch.setenv("CORTEX_STORE", "valkey://:hush@valkey.logs:6390/2")
    text = printed(capsys)
    assert set(out(text)) == {53, 443, 6443, 6390} and "hush" not in text and "to the store" not in text
    assert set(out(printed(capsys, "--store", "valkeys://other:7000"))) == {53, 443, 6443, 7000}
    monkeypatch.setenv("CORTEX_STORE", "valkey://valkey.logs")
    assert set(out(printed(capsys))) == {53, 443, 6443, 6379}


def test_the_output_says_how_the_store_identifies_the_cluster(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CORTEX_CLUSTER", raising=False)
    text = printed(capsys)
    assert (
        "# If readers outside the cluster use the store, or another cluster has the same two, print this with CORTEX_CLUSTER=NAME"
        in text
    )
    assert "may not `get namespaces`" in text
    monkeypatch.setenv("CORTEX_CLUSTER", "prod-1")
    text = printed(capsys)
    assert "CORTEX_CLUSTER=NAME" not in text
    (container,) = one(text, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert {"name": "CORTEX_CLUSTER", "value": "prod-1"} in container["env"]


def out(text: str) -> list[int]:
    return [port["port"] for port in one(text, "NetworkPolicy")["spec"]["egress"][0]["ports"]]


@pytest.mark.parametrize(
    ("environment", "port"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel.observability:4317"}, 4317),
        (
            {
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a:4318/v1/traces",
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://b:1",
            },
            4318,
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://traces.example", "OTEL_EXPORTER_OTLP_HEADERS": "key=hush"}, 443),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://ann:hush@otel:4318"}, 4318),
    ],
)
def test_the_policy_allows_the_configured_trace_endpoint(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], port: int
) -> None:
    without = printed(capsys)
    assert set(out(without)) == {53, 443, 6443, 6379} and "OTEL_EXPORTER_OTLP_ENDPOINT=" in without.partition("---")[0]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    text = printed(capsys)
    assert set(out(text)) == {*out(without), port} and "allows no OpenTelemetry traces" not in text
    (container,) = one(text, "Deployment")["spec"]["template"]["spec"]["containers"]
    told = {v["name"]: v["value"] for v in container["env"] if v["name"].startswith("OTEL_")}
    assert "hush" not in text and told == {k: v for k, v in environment.items() if "hush" not in v}


@pytest.mark.parametrize(
    ("environment", "port"),
    [
        ({"AWS_ENDPOINT_URL": "http://minio.storage:9000", "AWS_SECRET_ACCESS_KEY": "hush"}, 9000),
        ({"AZURE_STORAGE_ENDPOINT": "https://azurite:10000/hush"}, 10000),
        ({"GOOGLE_BASE_URL": "http://gcs"}, 80),
        ({"CORTEX_ARCHIVE": "http://ann:hush@s3:8333/logs"}, 8333),
        ({"CORTEX_ARCHIVE": "s3://hush/logs"}, 443),
    ],
)
def test_the_policy_allows_the_configured_archive_and_uses_its_secret(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], port: int
) -> None:
    without = printed(capsys, "--secret", "keys", "--into", "logs")
    assert set(out(without)) == {53, 443, 6443, 6379}
    head = without.partition("---")[0]
    assert "-n logs create secret generic keys-archive --from-literal=AWS_ACCESS_KEY_ID=" in head
    assert "allows port 443 to buckets. For another port set AWS_ENDPOINT_URL" in head
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    text = printed(capsys, "--secret", "keys")
    assert set(out(text)) == {*out(without), port} and "hush" not in text
    assert ("allows port 443 to buckets" in text) == (port == 443)
    (container,) = one(text, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["envFrom"] == [{"secretRef": {"name": "keys-archive", "optional": True}}]


@pytest.mark.cluster
def test_a_real_cluster_runs_it(
    kube: Kube,
    unique: Callable[[str], str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    space, port = unique("collector"), {9464: free_port()}

    def kubectl(*arguments: str, text: str = "") -> str:
        command = ["kubectl", "--kubeconfig", str(kube.kubeconfig), *arguments]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def may_read_node(log: str) -> bool:
        """Read a log file on the node as the collector's ServiceAccount; return whether that is allowed."""
        who = {"Impersonate-User": f"system:serviceaccount:{space}:cortex-jupyter"}
        answer = kube.client.get(f"{kube.server}/api/v1/nodes/{node}/proxy/logs/pods/{log}", headers=who)
        assert answer.status_code in (200, 403), answer.text
        return answer.status_code == 200 and "line 099" in answer.text

    options = ("-n", space, "--policy-beta", "--replicas", "1")
    kubectl("create", "namespace", space)
    (tmp_path / "s3").mkdir()
    with (
        seaweed(tmp_path / "s3") as s3,
        gate(s3) as bucket,
        Server(tmp_path / "valkey", requirepass="hush") as server,
    ):
        monkeypatch.setenv("CORTEX_STORE_PASSWORD", "hush")
        store = open_store(server.url)
        try:
            for more_options in ((), ("--nodes-proxy",)):
                kubectl("apply", "--dry-run=server", "-f", "-", text=printed(capsys, *options, *more_options))
            kubectl("apply", "--dry-run=server", "-f", "-", text=printed(capsys, "--into", space, "--policy-beta"))
            settings = {"store": server.url, "password": "hush", "archive": "s3://logs/runs"}
            for name, values in (("cortex-jupyter", settings), ("cortex-jupyter-archive", bucket.env)):
                literals = [f"--from-literal={k}={v}" for k, v in values.items()]
                kubectl("-n", space, "create", "secret", "generic", name, *literals)
            kubectl("apply", "-f", "-", text=on_this_machine(printed(capsys, *options), port))
            job = unique("seen")
            kube.create(python_job(job, "for i in range(100): print(f'line {i:03}')", namespace=space))
            query = ("get", "deploy", "cortex-jupyter", "-o", "jsonpath={.status.readyReplicas}")
            kube.wait_for(lambda: kubectl("-n", space, *query), "the collector to be ready")
            recorded = lambda: [i for i in store.recordings(space) if i.done]  # noqa: E731
            (info,) = kube.wait_for(recorded, "the task without readers to be recorded")
            texts = [
                t for e in store.entries(info.id, 0, 1 << 30) if e.event == "log" for t in Batch.decode(e.data).texts
            ]
            assert info.ref.name == job and texts == [f"line {i:03}" for i in range(100)]
            logs = kubectl("-n", space, "logs", "deploy/cortex-jupyter")
            assert "cannot" not in logs and "no events" not in logs, logs
            assert len(store.recorders(info.cluster)) == 1
            # The archive is an S3 bucket, and its credentials are only in the Secret for the archive.
            kube.wait_for(lambda: store.setting(f"archived:{info.id}"), "the archive")
            assert any(path.endswith(f"/{job}/{info.id}.json") for _, path, _ in bucket.requests)
            # Log files on the node can be read only with one more right.
            (pod,) = kube.pods_of(job, space)
            node, uid = pod["spec"]["nodeName"], pod["metadata"]["uid"]
            log = f"{space}_{pod['metadata']['name']}_{uid}/main/0.log"
            assert not may_read_node(log)
            with_right = one(printed(capsys, *options, "--nodes-proxy"), "ClusterRole")["metadata"]["name"]
            kubectl("apply", "-f", "-", text=on_this_machine(printed(capsys, *options, "--nodes-proxy"), port))
            assert may_read_node(log)
            kubectl("delete", "clusterrole,clusterrolebinding", with_right)
            kubectl("-n", space, "scale", "deploy", "cortex-jupyter", "--replicas", "0")
            kube.wait_for(lambda: server.ask("KEYS", "cortex:recorder:*") == [], "the collector to take its leave")
        finally:
            store.close()
            kubectl("delete", "namespace", space, "--wait=false")
