"""Controllers of Deployments, ReplicaSets, StatefulSets and DaemonSets, reduced to the pods that they keep running.

A rollout has no surge and no disruption budget: the new ReplicaSet scales up while the old one scales down.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import orjson

from cortex_jupyter.sandbox import events
from cortex_jupyter.sandbox.deletion import delete, is_marked
from cortex_jupyter.sandbox.objects import copy, owner_reference, random_suffix
from cortex_jupyter.sandbox.resources import BUILT_IN

if TYPE_CHECKING:
    from cortex_jupyter.cluster import KubeObject
    from cortex_jupyter.sandbox.config import Config
    from cortex_jupyter.sandbox.objects import Store


def _hash(template: KubeObject) -> str:
    return hashlib.sha256(orjson.dumps(template, option=orjson.OPT_SORT_KEYS)).hexdigest()[:10]


def _running_pods(store: Store, owner: KubeObject) -> list[KubeObject]:
    pods = store.owned("pods", owner["metadata"]["uid"])
    return [p for p in pods if not is_marked(p) and p["status"]["phase"] in ("Pending", "Running")]


def _count_ready(pods: list[KubeObject]) -> int:
    return sum(
        any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"].get("conditions") or []) for p in pods
    )


def _create_pod(store: Store, owner: KubeObject, name: str, **labels: str) -> None:
    template = copy(owner["spec"]["template"])
    meta = template.get("metadata") or {}
    pod_meta = {
        "name": name,
        "namespace": owner["metadata"]["namespace"],
        "labels": (meta.get("labels") or {}) | labels,
        "ownerReferences": [owner_reference(owner)],
    }
    if meta.get("annotations"):
        pod_meta["annotations"] = meta["annotations"]
    store.create(BUILT_IN["pods"], {"metadata": pod_meta, "spec": template["spec"]})
    component = f"{owner['kind'].lower()}-controller"
    events.record(store, owner, "SuccessfulCreate", f"Created pod: {name}", component=component)


def _write_status(store: Store, owner: KubeObject, **status: object) -> None:
    new = copy(owner)
    new["status"] = (
        (owner.get("status") or {}) | {"observedGeneration": owner["metadata"].get("generation", 1)} | status
    )
    store.update(new)


def replica_set(store: Store, _config: Config, owner: KubeObject) -> None:
    """Keep `replicas` pods, and replace each pod that has ended."""
    desired = owner["spec"].get("replicas", 1)
    pods = _running_pods(store, owner)
    for _ in range(desired - len(pods)):
        _create_pod(store, owner, f"{owner['metadata']['name']}-{random_suffix()}")
    for pod in pods[desired:]:
        delete(store, pod)
    pods = _running_pods(store, owner)
    _write_status(
        store, owner, replicas=len(pods), readyReplicas=_count_ready(pods), availableReplicas=_count_ready(pods)
    )


def deployment(store: Store, _config: Config, owner: KubeObject) -> None:
    """Keep the ReplicaSet of the current template at `replicas`, and older ones at 0."""
    meta, spec = owner["metadata"], owner["spec"]
    revision = _hash(spec["template"])
    sets = store.owned("replicasets.apps", meta["uid"])
    current = next((s for s in sets if s["metadata"]["labels"].get("pod-template-hash") == revision), None)
    if current is None:
        template = copy(spec["template"])
        template_meta = template.get("metadata") or {}
        labels = (template_meta.get("labels") or {}) | {"pod-template-hash": revision}
        template["metadata"] = template_meta | {"labels": labels}
        selector = {
            "matchLabels": ((spec.get("selector") or {}).get("matchLabels") or {}) | {"pod-template-hash": revision}
        }
        set_meta = {
            "name": f"{meta['name']}-{revision}",
            "namespace": meta["namespace"],
            "labels": labels,
            "ownerReferences": [owner_reference(owner)],
        }
        body = {
            "metadata": set_meta,
            "spec": {"replicas": spec["replicas"], "selector": selector, "template": template},
            "status": {},
        }
        current = store.create(BUILT_IN["replicasets.apps"], body)
    for each_set in [*sets, current]:
        replicas = spec["replicas"] if each_set["metadata"]["uid"] == current["metadata"]["uid"] else 0
        newest = store.get("replicasets.apps", meta["namespace"], each_set["metadata"]["name"])
        if newest is not None and newest["spec"]["replicas"] != replicas:
            scaled = copy(newest)
            scaled["spec"]["replicas"] = replicas
            store.update(scaled)
    counts = current.get("status") or {}
    ready, replicas = counts.get("readyReplicas", 0), spec["replicas"]
    available: KubeObject = {
        "type": "Available",
        "status": str(ready >= replicas),
        "reason": "MinimumReplicasAvailable" if ready >= replicas else "MinimumReplicasUnavailable",
    }
    _write_status(
        store,
        owner,
        replicas=counts.get("replicas", 0),
        updatedReplicas=counts.get("replicas", 0),
        readyReplicas=ready,
        availableReplicas=ready,
        conditions=[available],
    )


def stateful_set(store: Store, _config: Config, owner: KubeObject) -> None:
    """Keep NAME-0 to NAME-n; create each pod when the one before is ready, and replace outdated pods from the last on."""
    meta, replicas = owner["metadata"], owner["spec"].get("replicas", 1)
    revision = f"{meta['name']}-{_hash(owner['spec']['template'])}"
    pods = {p["metadata"]["name"]: p for p in store.owned("pods", meta["uid"])}
    names = [f"{meta['name']}-{index}" for index in range(replicas)]
    for name in names:
        pod = pods.get(name)
        if pod is None:
            labels = {"statefulset.kubernetes.io/pod-name": name, "controller-revision-hash": revision}
            _create_pod(store, owner, name, **labels)
            break
        if pod["status"]["phase"] in ("Succeeded", "Failed"):
            delete(store, pod)
            break
        if not _count_ready([pod]) and owner["spec"].get("podManagementPolicy") != "Parallel":
            break
    stale = [
        n
        for n in reversed(names)
        if n in pods and pods[n]["metadata"]["labels"].get("controller-revision-hash") != revision
    ]
    for name in [n for n in pods if n not in names] + stale[:1]:
        delete(store, pods[name])
    ready = _count_ready(list(pods.values()))
    _write_status(
        store,
        owner,
        replicas=len(pods),
        readyReplicas=ready,
        currentReplicas=len(pods),
        updateRevision=revision,
        currentRevision=revision,
    )


def daemon_set(store: Store, _config: Config, owner: KubeObject) -> None:
    """Keep one pod of the current template on each node."""
    meta, revision = owner["metadata"], _hash(owner["spec"]["template"])
    pods = _running_pods(store, owner)
    current = [p for p in pods if p["metadata"]["labels"].get("controller-revision-hash") == revision]
    for pod in [p for p in pods if p not in current]:
        delete(store, pod)
    node_count = len(store.select("nodes"))
    for _ in range(node_count - len(current)):
        labels = {"controller-revision-hash": revision, "pod-template-generation": "1"}
        _create_pod(store, owner, f"{meta['name']}-{random_suffix()}", **labels)
    ready = _count_ready(current)
    _write_status(
        store,
        owner,
        desiredNumberScheduled=node_count,
        currentNumberScheduled=len(current),
        numberReady=ready,
        numberAvailable=ready,
    )
