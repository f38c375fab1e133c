"""Deployments, ReplicaSets, StatefulSets and DaemonSets, reduced to which pods they keep running.

Rollouts are at once: the new ReplicaSet goes up while the old one goes down, without surge or budget.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import orjson

from cortex_jupyter.sandbox import events
from cortex_jupyter.sandbox.deletion import delete
from cortex_jupyter.sandbox.objects import copy, owner_reference, random_end
from cortex_jupyter.sandbox.resources import BY_PLURAL

if TYPE_CHECKING:
    from cortex_jupyter.sandbox.config import Config
    from cortex_jupyter.sandbox.objects import Store

Object = dict[str, Any]


def _hash(template: Object) -> str:
    return hashlib.sha256(orjson.dumps(template, option=orjson.OPT_SORT_KEYS)).hexdigest()[:10]


def _alive(store: Store, owner: Object) -> list[Object]:
    pods = store.owned("pods", owner["metadata"]["uid"])
    return [
        p for p in pods if "deletionTimestamp" not in p["metadata"] and p["status"]["phase"] in ("Pending", "Running")
    ]


def _ready(pods: list[Object]) -> int:
    return sum(
        any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"].get("conditions") or []) for p in pods
    )


def _create_pod(store: Store, owner: Object, name: str, **labels: str) -> None:
    template = copy(owner["spec"]["template"])
    meta = template.get("metadata") or {}
    made = {
        "name": name,
        "namespace": owner["metadata"]["namespace"],
        "labels": (meta.get("labels") or {}) | labels,
        "ownerReferences": [owner_reference(owner)],
    }
    if meta.get("annotations"):
        made["annotations"] = meta["annotations"]
    store.create(BY_PLURAL["pods"], {"metadata": made, "spec": template["spec"]})
    component = f"{owner['kind'].lower()}-controller"
    events.record(store, owner, "SuccessfulCreate", f"Created pod: {name}", component=component)


def _write_status(store: Store, owner: Object, **status: Any) -> None:
    new = copy(owner)
    new["status"] = (
        (owner.get("status") or {}) | {"observedGeneration": owner["metadata"].get("generation", 1)} | status
    )
    store.update(new)


def replica_set(store: Store, _config: Config, owner: Object) -> None:
    """Keep `replicas` pods; one that has ended is replaced."""
    wanted = owner["spec"].get("replicas", 1)
    pods = _alive(store, owner)
    for _ in range(wanted - len(pods)):
        _create_pod(store, owner, f"{owner['metadata']['name']}-{random_end()}")
    for pod in pods[wanted:]:
        delete(store, pod)
    pods = _alive(store, owner)
    _write_status(store, owner, replicas=len(pods), readyReplicas=_ready(pods), availableReplicas=_ready(pods))


def deployment(store: Store, _config: Config, owner: Object) -> None:
    """Keep one ReplicaSet of the present template at size, older ones at none."""
    meta, spec = owner["metadata"], owner["spec"]
    revision = _hash(spec["template"])
    sets = store.owned("replicasets", meta["uid"])
    current = next((s for s in sets if s["metadata"]["labels"].get("pod-template-hash") == revision), None)
    if current is None:
        template = copy(spec["template"])
        inner = template.get("metadata") or {}
        labels = (inner.get("labels") or {}) | {"pod-template-hash": revision}
        template["metadata"] = inner | {"labels": labels}
        selector = {
            "matchLabels": ((spec.get("selector") or {}).get("matchLabels") or {}) | {"pod-template-hash": revision}
        }
        made = {
            "name": f"{meta['name']}-{revision}",
            "namespace": meta["namespace"],
            "labels": labels,
            "ownerReferences": [owner_reference(owner)],
        }
        body = {
            "metadata": made,
            "spec": {"replicas": spec["replicas"], "selector": selector, "template": template},
            "status": {},
        }
        current = store.create(BY_PLURAL["replicasets"], body)
    for each in [*sets, current]:
        wanted = spec["replicas"] if each["metadata"]["uid"] == current["metadata"]["uid"] else 0
        newest = store.get("replicasets", meta["namespace"], each["metadata"]["name"])
        if newest is not None and newest["spec"]["replicas"] != wanted:
            scaled = copy(newest)
            scaled["spec"]["replicas"] = wanted
            store.update(scaled)
    counts = current.get("status") or {}
    ready, wanted = counts.get("readyReplicas", 0), spec["replicas"]
    available: Object = {
        "type": "Available",
        "status": str(ready >= wanted),
        "reason": "MinimumReplicasAvailable" if ready >= wanted else "MinimumReplicasUnavailable",
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


def stateful_set(store: Store, _config: Config, owner: Object) -> None:
    """Keep NAME-0 to NAME-n, each begun when the one before is ready; another template replaces them from the end."""
    meta, wanted = owner["metadata"], owner["spec"].get("replicas", 1)
    revision = f"{meta['name']}-{_hash(owner['spec']['template'])}"
    pods = {p["metadata"]["name"]: p for p in store.owned("pods", meta["uid"])}
    names = [f"{meta['name']}-{index}" for index in range(wanted)]
    for name in names:
        pod = pods.get(name)
        if pod is None:
            labels = {"statefulset.kubernetes.io/pod-name": name, "controller-revision-hash": revision}
            _create_pod(store, owner, name, **labels)
            break
        if pod["status"]["phase"] in ("Succeeded", "Failed"):
            delete(store, pod)
            break
        if not _ready([pod]) and owner["spec"].get("podManagementPolicy") != "Parallel":
            break
    stale = [
        n
        for n in reversed(names)
        if n in pods and pods[n]["metadata"]["labels"].get("controller-revision-hash") != revision
    ]
    for name in [n for n in pods if n not in names] + stale[:1]:
        delete(store, pods[name])
    ready = _ready(list(pods.values()))
    _write_status(
        store,
        owner,
        replicas=len(pods),
        readyReplicas=ready,
        currentReplicas=len(pods),
        updateRevision=revision,
        currentRevision=revision,
    )


def daemon_set(store: Store, _config: Config, owner: Object) -> None:
    """Keep one pod on each node of the present template."""
    meta, revision = owner["metadata"], _hash(owner["spec"]["template"])
    pods = _alive(store, owner)
    current = [p for p in pods if p["metadata"]["labels"].get("controller-revision-hash") == revision]
    for pod in [p for p in pods if p not in current]:
        delete(store, pod)
    nodes = len(store.select("nodes"))
    for _ in range(nodes - len(current)):
        labels = {"controller-revision-hash": revision, "pod-template-generation": "1"}
        _create_pod(store, owner, f"{meta['name']}-{random_end()}", **labels)
    ready = _ready(current)
    _write_status(
        store,
        owner,
        desiredNumberScheduled=nodes,
        currentNumberScheduled=len(current),
        numberReady=ready,
        numberAvailable=ready,
    )
