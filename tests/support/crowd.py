"""A crowded namespace: 1 000 pods as large as real ones, 300 Jobs, 2 000 events, on the sandbox or on a real cluster.

Nearly all pods select a node that does not exist, so they cost a cluster only their JSON. Five pods and one Job run and
write lines.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import urllib.parse
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from support.kube import python_container, python_job, python_pod

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.kube import Kube

Object = dict[str, Any]

PODS, JOBS, EVENTS = 1000, 300, 2000
#: The Jobs, and the pods without a Job: half of the Jobs and the running Job have one pod each.
TASKS = JOBS + PODS - JOBS // 2 - 1
#: Number of pods with the label `app=many`, and how many of them run.
MANY, RUNNING = 200, 5
#: Number of lines that each running pod writes at once; then it sleeps until it is deleted.
LINES = 20
#: Number of parallel requests; more do not speed up an API server with one core.
_CONNECTIONS = 8
_NOWHERE = {"cortex/no": "such-node"}
_PROGRAM = f"""
import os, time
name = os.environ.get('HOSTNAME', '')
for i in range({LINES}):
    print('line %02d of' % i, name)
while True:
    time.sleep(1)
"""


@dataclass
class Crowd:
    """The crowded namespace.

    Attributes
    ----------
    kube : Kube
        A client of the cluster; other programs use its `kube.kubeconfig`.
    namespace : str
        The namespace.
    job : str
        A Job that runs and writes 20 lines.
    running : list of str
        The pods with the label `app=many` that run; each writes 20 lines.
    selector : str
        A label selector of 200 pods.
    """

    kube: Kube
    namespace: str
    job: str = "busy"
    running: list[str] = field(default_factory=list)
    selector: str = "app=many"


def fat_pod(name: str, namespace: str, app: str) -> Object:
    """Return an unschedulable pod as large as typical ones that Helm and a service mesh deploy.

    With the API server's defaults and `managedFields`, its JSON has 12 to 18 kB.
    """
    env: list[Object] = [
        {"name": f"{app.upper().replace('-', '_')}_SETTING_{i:02}", "value": f"value-{i}-" + "x" * (i * 3)}
        for i in range(30)
    ]
    env += [
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": f"{app}-token", "key": "token", "optional": True}}},
    ]
    volumes: list[Object] = [
        {"name": f"config-{i}", "configMap": {"name": f"{app}-config-{i}", "optional": True, "defaultMode": 0o644}}
        for i in range(6)
    ]
    mounts = [{"name": f"config-{i}", "mountPath": f"/etc/{app}/config-{i}", "readOnly": True} for i in range(6)]
    resources = {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "4Gi"}}
    probe = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10, "failureThreshold": 3}
    main = python_container("main", "pass", env=env, resources=resources, livenessProbe=probe)
    main["volumeMounts"] += mounts
    proxy = python_container("proxy", "pass", env=env[:10], ports=[{"containerPort": 15090, "name": "metrics"}])
    pod = python_pod(name, "pass", namespace=namespace, nodeSelector=_NOWHERE)
    pod["spec"] |= {
        "containers": [main, proxy],
        "initContainers": [python_container("prepare", "pass", env=env[:5])],
        "volumes": pod["spec"]["volumes"] + volumes,
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    }
    pod["metadata"]["labels"] = _labels(app)
    pod["metadata"]["annotations"] = _annotations(app)
    return pod


def _labels(app: str) -> dict[str, str]:
    return {
        "app": app,
        "app.kubernetes.io/name": app,
        "app.kubernetes.io/instance": f"{app}-prod",
        "app.kubernetes.io/managed-by": "Helm",
        "helm.sh/chart": f"{app}-1.2.3",
    }


def _annotations(app: str) -> dict[str, str]:
    applied = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "main", "args": ["x" * 60] * 20}]}}
    return {
        "kubectl.kubernetes.io/last-applied-configuration": json.dumps(applied),
        "checksum/config": uuid.uuid5(uuid.NAMESPACE_URL, app).hex * 2,
        "prometheus.io/scrape": "true",
        "prometheus.io/port": "8080",
        "sidecar.istio.io/status": json.dumps({"initContainers": ["istio-init"], "containers": ["istio-proxy"]}),
    }


def _fat_job(name: str, namespace: str, *, suspend: bool) -> Object:
    """Return a Job that is suspended, or else has one unschedulable pod."""
    job = python_job(name, "pass", namespace=namespace)
    pod = fat_pod(name, namespace, f"job-{name[-1]}")
    template = job["spec"]["template"]
    template["spec"] = pod["spec"] | {"restartPolicy": "Never"}
    template["metadata"]["annotations"] = pod["metadata"]["annotations"]
    if suspend:
        # An API server of 1.20 drops `suspend`.
        job["spec"] |= {"suspend": True, "parallelism": 0}
    return job


def _event(index: int, pod: Object) -> Object:
    at = f"2026-01-01T{index // 3600 % 24:02}:{index // 60 % 60:02}:{index % 60:02}Z"
    meta = pod["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{meta['name']}.{index:016x}", "namespace": meta["namespace"]},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "namespace": meta["namespace"]},
        "reason": "FailedMount",
        "message": f'MountVolume.SetUp failed for volume "config-{index % 6}": configmap "{meta["name"]}" not found',
        "source": {"component": "kubelet", "host": f"node-{index % 40}"},
        "type": "Warning",
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": index % 9 + 1,
    }


def _objects(namespace: str) -> list[Object]:
    """Return all objects to create; the running pods come first, so that they run by the time the rest exists."""
    running = [python_pod(f"many-{i:03}", _PROGRAM, namespace=namespace) for i in range(RUNNING)]
    for pod in running:
        pod["metadata"] |= {"labels": _labels("many"), "annotations": _annotations("many")}
    many = [fat_pod(f"many-{i:03}", namespace, "many") for i in range(RUNNING, MANY)]
    half = JOBS // 2
    jobs = [_fat_job(f"job-{i:03}", namespace, suspend=i < half) for i in range(1, JOBS)]
    rest = [fat_pod(f"app-{i:03}", namespace, f"app-{i % 40}") for i in range(PODS - MANY - half - 1)]
    events = [_event(i, (many + rest)[i % 700]) for i in range(EVENTS)]
    return [*running, python_job("busy", _PROGRAM, namespace=namespace), *jobs, *many, *rest, *events]


class _Poster(threading.Thread):
    """Creates objects over one connection, three times as fast as with httpx."""

    def __init__(self, kube: Kube, objects: Iterator[Object], lock: threading.Lock) -> None:
        super().__init__(daemon=True)
        self._kube, self._objects, self._lock = kube, objects, lock
        self.error: str = ""

    def run(self) -> None:
        url = urllib.parse.urlsplit(self._kube.server)
        headers = {**self._kube.client.headers, "Content-Type": "application/json", "Accept-Encoding": "identity"}
        context = self._kube.tls if url.scheme == "https" else None
        assert url.hostname is not None
        connection = (
            http.client.HTTPSConnection(url.hostname, url.port, context=context)
            if context
            else http.client.HTTPConnection(url.hostname, url.port)
        )
        with contextlib.closing(connection):
            while not self.error:
                with self._lock:
                    obj = next(self._objects, None)
                if obj is None:
                    return
                path = url.path + self._kube.path(f"{obj['kind'].lower()}s", "", obj["metadata"]["namespace"])
                connection.request("POST", path, json.dumps(obj), headers)
                answer = connection.getresponse()
                body = answer.read()
                if answer.status >= http.client.BAD_REQUEST:
                    self.error = f"POST {path}: {answer.status} {body[:500]!r}"


def _create(kube: Kube, objects: list[Object]) -> None:
    remaining, lock = iter(objects), threading.Lock()
    posters = [_Poster(kube, remaining, lock) for _ in range(_CONNECTIONS)]
    for poster in posters:
        poster.start()
    for poster in posters:
        poster.join()
    for poster in posters:
        assert not poster.error, poster.error


@contextlib.contextmanager
def crowded(kube: Kube, *, real: bool) -> Iterator[Crowd]:
    """Create a crowded namespace, and delete it after the block.

    Parameters
    ----------
    kube : Kube
        Client of the cluster.
    real : bool
        Whether the cluster is real: then pods cannot be created before the namespace has its service account.
    """
    crowd = Crowd(kube, f"crowd-{uuid.uuid4().hex[:6]}", running=[f"many-{i:03}" for i in range(RUNNING)])
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": crowd.namespace}})
    try:
        if real:
            account = f"/api/v1/namespaces/{crowd.namespace}/serviceaccounts/default"
            kube.wait_for(lambda: kube.request("GET", account).json().get("secrets"), "the service account")
        _create(kube, _objects(crowd.namespace))
        kube.wait_for(lambda: _settled(crowd), f"{PODS} pods of which {RUNNING + 1} run", 180)
        yield crowd
    finally:
        kube.delete("namespaces", crowd.namespace)


def _settled(crowd: Crowd) -> bool:
    """Whether all pods exist and the running ones have started."""
    list_meta = crowd.kube.list("pods", crowd.namespace, limit=1)["metadata"]
    running = crowd.kube.list("pods", crowd.namespace, fieldSelector="status.phase=Running")["items"]
    return 1 + list_meta.get("remainingItemCount", 0) >= PODS and len(running) > RUNNING
