"""`record --manifests` prints exactly the rights that a collector uses."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import yaml
from support.kube import pod_spec, python_container, python_job, python_pod
from support.relay import Relay

from cortex_jupyter.cluster import kinds, kueue
from cortex_jupyter.model import TaskRef
from cortex_jupyter.recorder.__main__ import main
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest
    from support.kube import Kube

LINES = "import time\nfor i in range(10_000):\n    print(f'line {i}', flush=True)\n    time.sleep(0.1)"
_APPS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")
_ASKED = re.compile(rb"(GET|POST|PUT|PATCH|DELETE) (/\S+) HTTP/1\.1\r\n")
_PATH = re.compile(r"/(?:api|apis/([^/]+))/v\w+(?:/namespaces/[^/]+)?/([^/?]+)(?:/([^/?]+))?(?:/([^?]+))?(?:\?(.*))?$")

#: Every authenticated user may ask which kinds there are (the ClusterRole `system:discovery`).
_DISCOVERY = re.compile(r"/apis?(/[^/?]+(/v[^/?]+)?)?$")
#: Group, resource, verb.
Right = tuple[str, str, str]


def right(method: str, path: str) -> Right:
    """Return the RBAC right that a request needs, see https://kubernetes.io/docs/reference/access-authn-authz/authorization/."""
    assert method == "GET", f"the collector must only read, but sent {method} {path}"
    match = _PATH.search(path)
    assert match, path
    group, resource, name, sub, query = match.groups(default="")
    verb = "get" if name else "watch" if "watch=" in query else "list"
    return group, f"{resource}/{sub}" if sub and resource != "nodes" else "nodes/proxy" if sub else resource, verb


def given(rules: list[dict[str, Any]]) -> set[Right]:
    return {(g, r, v) for rule in rules for g in rule["apiGroups"] for r in rule["resources"] for v in rule["verbs"]}


@contextlib.contextmanager
def collecting(kubeconfig: Path, store: str, label: str, log: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "cortex_jupyter.recorder", "--all", "-n", "default", "-l", label]
    command += ["--store", store, "--kubeconfig", str(kubeconfig)]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        yield
    finally:
        process.kill()
        process.wait(120)


def test_exactly_the_printed_rights_are_used(
    sandbox: Any,
    kube: Kube,
    unique: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    label = unique("rights")
    asked: list[bytes] = []
    made: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setenv("CORTEX_CLUSTER", label)
    port = int(re.findall(r":(\d+)", kube.server)[0])
    labels = {"recorded": label}
    try:
        with Relay(port) as relay, contextlib.closing(open_store(f"sqlite://{tmp_path}/r.sqlite")) as store:
            relay.on_request = asked.append
            relayed = tmp_path / "kubeconfig"
            relayed.write_text(sandbox.kubeconfig.read_text().replace(f":{port}", f":{relay.port}"))
            with collecting(relayed, store.url, f"recorded={label}", tmp_path / "log"):
                made += [(f"{kind.lower()}s", _apps(kube, kind, f"{label}-{kind.lower()}")) for kind in _APPS]
                for one in (python_job(f"{label}-job", LINES), python_pod(f"{label}-pod", LINES)):
                    one["metadata"]["labels"] = labels
                    if one["kind"] == "Job":  # a selector applies to pods
                        one["spec"]["template"]["metadata"]["labels"] |= labels
                    made.append((f"{one['kind'].lower()}s", kube.create(one)))
                for plural, obj in made[:4]:  # a collector records these kinds only while they have a reader
                    ref = TaskRef("default", plural.removesuffix("s"), obj["metadata"]["name"])
                    store.want(store.open(label, ref, obj["metadata"]["uid"]), 600)
                read = lambda: [i for i in store.recordings() if store.complete(i.id).records]  # noqa: E731
                kube.wait_for(lambda: len(read()) == len(made), "lines of each of them")
    finally:
        for plural, obj in made:
            kube.delete(plural, obj["metadata"]["name"])
    requests = [(method.decode(), path.decode()) for method, path in _ASKED.findall(b"".join(asked))]
    used = {right(method, path) for method, path in requests if not _DISCOVERY.search(path)}
    assert main(["--manifests", "-n", "default", "--nodes-proxy"]) == 0
    objects = list(yaml.safe_load_all(capsys.readouterr().out))
    (role,) = (o for o in objects if o["kind"] == "Role")
    assert used - given(role["rules"]) <= {("", "nodes/proxy", "get")}, (
        "the collector sent requests that its Role does not allow"
    )
    absent = kinds.groups() | set(kueue.GROUPS)  # this cluster does not serve them
    unused = {(group, *rest) for group, *rest in given(role["rules"]) - used if group not in absent}
    assert unused == set(), "the Role allows requests that the collector never sends"


def _apps(kube: Kube, kind: str, name: str) -> dict[str, Any]:
    """Create a workload with one pod."""
    matched = {"matchLabels": {"app": name}}
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": pod_spec([python_container("main", LINES)], restart="Always"),
    }
    spec = {"selector": matched, "template": template} | ({"serviceName": name} if kind == "StatefulSet" else {})
    return kube.create({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
