"""The kustomize files and the Helm chart on a real cluster: applied, changed, removed."""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.host_pods import ROOT, on_this_machine
from support.hub import run_hub
from support.jupyter import Home
from support.kube import IMAGE, python_job
from support.ports import free_port
from support.valkey import Server

from cortex_jupyter.cli.command_line import run
from cortex_jupyter.cli.doctor import collectors
from cortex_jupyter.model import Batch
from cortex_jupyter.recorder.__main__ import main as record
from cortex_jupyter.store.open import open_store
from cortex_jupyter.store.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.kube import Kube

MADE = runpy.run_path(str(ROOT / "deploy" / "generate.py"))
KUSTOMIZE = ROOT / "deploy" / "kustomize"
FOLDER = Path(sys.prefix) / "deploy"
CLAIM = "persistentvolumeclaim/data-cortex-jupyter-valkey-0"
KINDS = (
    "serviceaccounts,roles,rolebindings,deployments,statefulsets,services,networkpolicies,poddisruptionbudgets,pods,"
    "persistentvolumeclaims,clusterroles,clusterrolebindings"
)

pytestmark = pytest.mark.cluster


class Space:
    """A namespace on the cluster, and `kubectl`."""

    def __init__(self, kube: Kube, name: str) -> None:
        self.kube, self.name = kube, name

    def kubectl(self, *arguments: str, text: str = "") -> str:
        command = ["kubectl", "--kubeconfig", str(self.kube.kubeconfig), "-n", self.name, *arguments]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def objects(self) -> set[str]:
        """Return the names of our objects, also of those that belong to the whole cluster."""
        listed = self.kubectl("get", KINDS, "-l", "app.kubernetes.io/name=cortex-jupyter", "-o", "name").split()
        names = {name.replace(".apps", "").replace(".rbac.authorization.k8s.io", "") for name in listed}
        return {n for n in names if "clusterrole" not in n or n.endswith((f"-{self.name}", f".{self.name}"))}

    def secrets(self, store: str) -> None:
        for name, user, more in (
            ("cortex-jupyter", "recorder", {"password": "hush", "reader-password": "read"}),
            ("cortex-jupyter-hub", "reader", {"password": "read", "token": "a-token-for-tests"}),
        ):
            literals = {"store": store.replace("USER", user)} | more
            options = [f"--from-literal={k}={v}" for k, v in literals.items()]
            self.kubectl("create", "secret", "generic", name, *options)


@pytest.fixture
def space(kube: Kube, unique: Callable[[str], str]) -> Iterator[Space]:
    found = Space(kube, unique("deploy"))
    found.kubectl("create", "namespace", found.name)
    yield found
    found.kubectl("delete", "clusterroles,clusterrolebindings", f"cortex-jupyter-{found.name}", "--ignore-not-found")
    found.kubectl(
        "delete", "clusterroles,clusterrolebindings", f"cortex-jupyter-hub.{found.name}", "--ignore-not-found"
    )
    found.kubectl("delete", "namespace", found.name, "--wait=false")


@pytest.fixture
def volume(space: Space) -> Iterator[None]:
    """Give the claim of the Valkey server a volume: the cluster has no storage class."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        spec = {
            "capacity": {"storage": "20Gi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": folder},
            "claimRef": {"namespace": space.name, "name": CLAIM.partition("/")[2]},
        }
        created = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": space.name}, "spec": spec}
        space.kubectl("apply", "-f", "-", text=yaml.safe_dump(created))
        yield
        space.kubectl("delete", "pv", space.name, "--wait=false")


def overlay(folder: Path, space: Space, environment: dict[str, str]) -> str:
    """Return the objects of an overlay with all of our pods, and more settings for the collector."""
    (folder / "overlay").mkdir(exist_ok=True)

    def named(name: str) -> str:
        return os.path.relpath(KUSTOMIZE / name, folder / "overlay")

    env = [{"name": "CORTEX_LOG_LEVEL", "value": "info"}]
    env += [{"name": name, "value": value} for name, value in environment.items()]
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "collector", "env": env}]}}}}
    collector = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "cortex-jupyter"}} | patch
    text = {
        "namespace": space.name,
        "resources": [named("base")],
        "components": [named(f"components/{name}") for name in ("valkey", "hub", "kubernetes-1.20")],
        "replicas": [{"name": "cortex-jupyter", "count": 1}],
        "patches": [{"target": {"kind": "Deployment", "name": "cortex-jupyter$"}, "patch": yaml.safe_dump(collector)}],
    }
    (folder / "overlay" / "kustomization.yaml").write_text(yaml.safe_dump(text))
    made = space.kubectl("kustomize", str(folder / "overlay"))
    # The name of what belongs to the whole cluster holds the namespace, which is another one in each test.
    return made.replace("-cortex-jupyter\n", f"-{space.name}\n").replace(".cortex-jupyter\n", f".{space.name}\n")


def test_kustomize_applied_changed_and_removed(
    space: Space, volume: None, tmp_path: Path, unique: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kube = space.kube
    ports = {port: free_port() for port in (9464, 10101, 8081, 6379)}
    hub_port, store_port = ports[10101], ports[6379]
    space.secrets(f"valkey://USER@127.0.0.1:{store_port}")
    space.kubectl("apply", "--dry-run=server", "-f", "-", text=overlay(tmp_path, space, {}))

    def apply(**environment: str) -> str:
        text = on_this_machine(overlay(tmp_path, space, environment).replace("//hub:", "//127.0.0.1:"), ports)
        space.kubectl("apply", "-f", "-", text=text)
        for name in ("statefulset/cortex-jupyter-valkey", "deployment/cortex-jupyter", "deployment/cortex-jupyter-hub"):
            space.kubectl("rollout", "status", name, "--timeout=110s")
        return text

    def recorded(job: str) -> list[str]:
        """Run a Job and return its lines from the store."""
        kube.create(python_job(job, "for i in range(100): print(f'line {i:03}')", namespace=space.name))
        with contextlib.closing(open_store(os.environ["CORTEX_STORE"])) as store:
            done = lambda: [i for i in store.recordings(space.name) if i.ref.name == job and i.done]  # noqa: E731
            (info,) = kube.wait_for(done, "the task without readers to be recorded")
            entries = [e for e in store.entries(info.id, 0, 1 << 30) if e.event == "log"]
            return [text for entry in entries for text in Batch.decode(entry.data).texts]

    def max_age() -> str:
        with contextlib.closing(open_store(os.environ["CORTEX_STORE"])) as store:
            return read_settings(store)["max-age"]

    monkeypatch.setenv("CORTEX_STORE", f"valkey://reader@127.0.0.1:{store_port}")
    monkeypatch.setenv("CORTEX_STORE_PASSWORD", "read")
    apply()
    lines, first = [f"line {i:03}" for i in range(100)], unique("first")
    assert recorded(first) == lines
    assert not max_age()

    # The Hub's side of the service, and a right of one of its users.
    services = [{"name": "logs", "url": f"http://127.0.0.1:{hub_port}", "api_token": "a-token-for-tests"}]
    roles = [{"name": "user", "scopes": ["self", "access:services!service=logs"]}]
    config = tmp_path / "jupyterhub_config.py"
    traits = {"services": services, "load_roles": roles, "load_groups": {"team": {"users": ["alice", "bob"]}}}
    config.write_text("".join(f"c.JupyterHub.{name} = {value!r}\n" for name, value in traits.items()))
    space.kubectl("create", "rolebinding", "alice", "--clusterrole=view", "--user=alice")
    (tmp_path / "home").mkdir()
    home = Home(tmp_path / "home", kube.kubeconfig)
    with run_hub(home, example=(config, hub_port), hub_port=ports[8081]) as hub:
        answer = hub.get(f"cortex/tasks/{space.name}/job/{first}/logs.txt", "alice")
        assert answer.status_code == 200, answer.text
        assert [line.rpartition("line ")[2] for line in answer.text.splitlines()] == [line[5:] for line in lines]
        tasks = hub.get(f"cortex/tasks?namespace={space.name}", "alice").json()["tasks"]
        assert [task["state"] for task in tasks if task["name"] == first] == ["succeeded"]
        assert hub.get(f"cortex/tasks/{space.name}/job/{first}/logs.txt", "bob").status_code in (403, 404)
    log = space.kubectl("logs", "deploy/cortex-jupyter-hub")
    assert "orbidden" not in log and "pods/log" not in log, log

    text = apply(CORTEX_STORE_MAX_AGE="7d")
    kube.wait_for(lambda: max_age() == "7d", "the new setting")
    assert recorded(unique("second")) == lines, "the changed collector does not record"

    space.kubectl("delete", "-f", "-", text=text)
    kube.wait_for(lambda: space.objects() == {CLAIM}, "all but the recordings to be gone")


def test_helm_installs_upgrades_and_removes_the_chart(space: Space) -> None:
    """Helm's own engine, with the chart as it is: the pods have no image here, their objects are what counts."""
    if not (FOLDER / "helm_python").is_dir():
        pytest.skip("Helm's engine is missing: make .venv/deploy")
    sys.path.append(str(FOLDER))
    import helm_python  # noqa: PLC0415 - in a folder of its own

    chart, on = str(ROOT / MADE["CHART"]), {"enabled": True}
    values: dict[str, Any] = {"image": {"name": IMAGE, "pullPolicy": "Never"}, "hub": on, "valkey": on}

    def deployment() -> Any:
        return yaml.safe_load(space.kubectl("get", "deployment", "cortex-jupyter", "-o", "yaml"))

    space.secrets("valkey://USER@cortex-jupyter-valkey")
    with helm_python.Config(kubeconfig_path=str(space.kube.kubeconfig), namespace=space.name) as config:
        assert config.install(chart, "logs", values)["status"] == "deployed"
        assert space.objects() >= {
            "deployment/cortex-jupyter",
            "deployment/cortex-jupyter-hub",
            "statefulset/cortex-jupyter-valkey",
            "poddisruptionbudget.policy/cortex-jupyter",
            f"clusterrole/cortex-jupyter-{space.name}",
            f"clusterrolebinding/cortex-jupyter-hub.{space.name}",
        }
        before = deployment()
        changed = values | {"collector": {"replicas": 3}, "retention": {"maxAge": "7d"}, "namespaces": [space.name]}
        assert config.upgrade(chart, "logs", changed)["revision"] == 2
        after = deployment()
        env = after["spec"]["template"]["spec"]["containers"][0]["env"]
        assert (before["spec"]["replicas"], after["spec"]["replicas"]) == (2, 3)
        assert {"name": "CORTEX_STORE_MAX_AGE", "value": "7d"} in env
        assert before["metadata"]["uid"] == after["metadata"]["uid"], "the upgrade replaced the Deployment"
        # With namespaces, Roles there take the place of the rights for all.
        assert "role/cortex-jupyter" in space.objects()
        assert f"clusterrole/cortex-jupyter-{space.name}" not in space.objects()
        config.rollback("logs")
        assert deployment()["spec"]["replicas"] == 2 and "role/cortex-jupyter" not in space.objects()
        config.uninstall("logs")
    # Their pods, which never ran, go later: this kubelet takes a minute for each.
    left = lambda: {name for name in space.objects() if not name.startswith("pod/")}  # noqa: E731
    space.kube.wait_for(lambda: left() == {CLAIM}, "all but the recordings to be gone")
    assert "cortex-jupyter-hub" in space.kubectl("get", "secrets", "-o", "name")


@pytest.mark.parametrize("everywhere", [False, True], ids=["a few namespaces", "all"])
def test_the_doctor_in_a_collectors_pod_finds_nothing_bad(
    space: Space,
    unique: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    everywhere: bool,
) -> None:
    """With the rights of the printed Roles; only its container is not there."""
    tasks = [unique("tasks") for _ in range(2)]
    options = [] if everywhere else [word for name in tasks for word in ("-n", name)]
    assert record(["--manifests", "--policy-beta", "--replicas=0", "--into", space.name, *options]) == 0
    manifests = capsys.readouterr().out
    for name in tasks:
        space.kubectl("create", "namespace", name)
    try:
        space.kubectl("apply", "-f", "-", "--namespace=", text=manifests)  # its Roles are in others
        path = f"/api/v1/namespaces/{space.name}/serviceaccounts/cortex-jupyter/token"
        token = space.kube.request("POST", path, json={"spec": {}}).raise_for_status().json()["status"]["token"]
        config: dict[str, Any] = yaml.safe_load(space.kube.kubeconfig.read_text())
        config["users"] = [{"name": "collector", "user": {"token": token}}]
        place = {"cluster": config["clusters"][0]["name"], "user": "collector", "namespace": space.name}
        config |= {"contexts": [{"name": "pod", "context": place}], "current-context": "pod"}
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
        (deployment,) = (o for o in yaml.safe_load_all(manifests) if o["kind"] == "Deployment")
        command = deployment["spec"]["template"]["spec"]["containers"][0]["command"]
        (tmp_path / "cmdline").write_text("\0".join(["python", f"/usr/local/bin/{command[0]}", *command[1:], ""]))
        monkeypatch.setattr(collectors, "_MAIN_PROCESS", tmp_path / "cmdline")
        monkeypatch.setenv("CORTEX_CLUSTER", space.name)
        with Server(tmp_path / "valkey") as server:
            monkeypatch.setenv("CORTEX_STORE", server.url)
            code = run(["doctor", "--json", "--timeout=60", "--kubeconfig", str(tmp_path / "kubeconfig")])
    finally:
        space.kubectl("delete", "namespace", *tasks, "--wait=false")
    findings = json.loads(capsys.readouterr().out)["findings"]
    about_cluster = [f for f in findings if f["part"] in ("cluster", "collectors")]
    assert code == 0, [f for f in findings if f["judged"] == "bad"]
    assert not [f for f in about_cluster if f["judged"] == "warn"]
    where = "in all namespaces" if everywhere else f"in the namespaces {', '.join(tasks)}"
    assert f"you may get pods/log {where}" in [f["text"] for f in about_cluster]
