"""Tables for `kubectl get` with its usual columns (`pkg/printers/internalversion/printers.go`)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from cortex_jupyter.sandbox.resources import Resource

Object = dict[str, Any]


def _age(obj: Object, stamp: str | None = None) -> str:
    stamp = stamp or obj["metadata"]["creationTimestamp"]
    seconds = int((datetime.now(UTC) - datetime.fromisoformat(stamp)).total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 120)):
        if seconds >= size:
            return f"{seconds // (60 if unit == 'm' else size)}{unit}"
    return f"{max(0, seconds)}s"


def _reason(pod: Object) -> str:
    """Return the text of the STATUS column: the reason of the first container that keeps the pod from running."""
    status = pod["status"]
    if "deletionTimestamp" in pod["metadata"] and status.get("phase") not in ("Succeeded", "Failed"):
        return "Terminating"
    inits = status.get("initContainerStatuses") or []
    sidecars = {c["name"] for c in pod["spec"].get("initContainers") or [] if c.get("restartPolicy") == "Always"}
    for index, container in enumerate(inits):
        state = container["state"]
        if state.get("terminated", {}).get("exitCode") == 0 or (container["name"] in sidecars and container["started"]):
            continue
        details = state.get("terminated") or state.get("waiting") or {}
        reason = details.get("reason", "")
        return f"Init:{index}/{len(inits)}" if reason in ("", "PodInitializing") else f"Init:{reason}"
    mains = status.get("containerStatuses") or []
    states = [c["state"].get("waiting") or c["state"].get("terminated") or {} for c in mains]
    reason = next((str(state["reason"]) for state in states if state.get("reason")), "")
    if reason == "Completed" and any(c["ready"] and "running" in c["state"] for c in mains):
        is_ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or [])
        return "Running" if is_ready else "NotReady"
    return reason or str(status.get("reason") or status.get("phase", "Unknown"))


def _pod(pod: Object) -> list[Any]:
    reason, status = _reason(pod), pod["status"]
    inits, states = status.get("initContainerStatuses") or [], status.get("containerStatuses") or []
    sidecars = {c["name"] for c in pod["spec"].get("initContainers") or [] if c.get("restartPolicy") == "Always"}
    counted = [*(inits if reason.startswith("Init:") else [s for s in inits if s["name"] in sidecars])]
    counted += [] if reason.startswith("Init:") else states
    ready = sum(s["ready"] and "running" in s["state"] for s in counted if s in states or s["name"] in sidecars)
    total = len(pod["spec"]["containers"]) + len(sidecars)
    return [pod["metadata"]["name"], f"{ready}/{total}", reason, sum(s["restartCount"] for s in counted), _age(pod)]


def _job(job: Object) -> list[Any]:
    spec, status = job["spec"], job.get("status") or {}
    kinds = {c["type"] for c in status.get("conditions") or [] if c["status"] == "True"}
    state = next((k for k in ("Complete", "Failed", "Suspended") if k in kinds), "Running")
    done = f"{status.get('succeeded', 0)}/{spec.get('completions') or 1}"
    return [job["metadata"]["name"], state, done, _age(job)]


def _replicas(obj: Object) -> list[Any]:
    status = obj.get("status") or {}
    return [obj["metadata"]["name"], f"{status.get('readyReplicas', 0)}/{obj['spec'].get('replicas', 1)}", _age(obj)]


def _event(event: Object) -> list[Any]:
    involved = event["involvedObject"]
    return [
        _age(event, event.get("lastTimestamp")),
        event["type"],
        event["reason"],
        f"{involved['kind'].lower()}/{involved['name']}",
        event["message"],
    ]


_COLUMNS: dict[str, tuple[tuple[str, ...], Callable[[Object], list[Any]]]] = {
    "pods": (("Name", "Ready", "Status", "Restarts", "Age"), _pod),
    "jobs": (("Name", "Status", "Completions", "Age"), _job),
    "deployments": (("Name", "Ready", "Age"), _replicas),
    "replicasets": (("Name", "Ready", "Age"), _replicas),
    "statefulsets": (("Name", "Ready", "Age"), _replicas),
    "events": (("Last Seen", "Type", "Reason", "Object", "Message"), _event),
}
_DEFAULT = (("Name", "Age"), lambda obj: [obj["metadata"]["name"], _age(obj)])


def shape(request: web.Request, resource: Resource, obj: Object) -> Object:
    """Return an object or a list as it is, or as a Table if the `Accept` header requests one."""
    if "as=Table" not in request.headers.get("Accept", ""):
        return obj
    names, row = _COLUMNS.get(resource.plural, _DEFAULT)
    kind = {"kind": resource.kind, "apiVersion": resource.api_version}
    items = [kind | item for item in obj["items"]] if "items" in obj else [obj]
    columns = [
        {"name": n, "type": "string", "format": "name" if n == "Name" else "", "description": "", "priority": 0}
        for n in names
    ]
    # kubectl sorts and filters by the metadata alone, unless it requests the whole object.
    include_object = request.query.get("includeObject") == "Object"
    partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
    rows = [
        {"cells": row(item), "object": item if include_object else partial | {"metadata": item["metadata"]}}
        for item in items
    ]
    meta = obj["metadata"] if "items" in obj else {"resourceVersion": obj["metadata"]["resourceVersion"]}
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": meta,
        "columnDefinitions": columns,
        "rows": rows,
    }
