"""Deletion as the API server and the garbage collector do it together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cortex_jupyter.sandbox.objects import copy

if TYPE_CHECKING:
    from cortex_jupyter.sandbox.objects import Store

Object = dict[str, Any]
#: What can be owned, the owners first.
_OWNED = ("replicasets", "jobs", "pods")


def delete(store: Store, obj: Object, grace: float | None = None, *, orphan: bool = False) -> Object | None:
    """Delete an object.

    A pod that is bound to the node is only marked: the kubelet stops it and removes it then. Everything
    else goes at once, and what it owns with it (`propagationPolicy: Background`).

    Parameters
    ----------
    store : Store
        The cluster.
    obj : dict
        What to delete.
    grace : float, optional
        Seconds for a pod to stop; its own `terminationGracePeriodSeconds` unless given.
    orphan : bool
        Leave what it owns, without its owner reference.

    Returns
    -------
    dict or None
        The object as marked, or None where it is gone.
    """
    if obj["kind"] == "Pod":
        seconds = obj["spec"].get("terminationGracePeriodSeconds", 30) if grace is None else grace
        phase = (obj.get("status") or {}).get("phase")
        if seconds > 0 and obj["spec"].get("nodeName") and phase not in ("Succeeded", "Failed"):
            if "deletionTimestamp" in obj["metadata"]:
                return obj
            marked = copy(obj)
            at = datetime.now(UTC) + timedelta(seconds=seconds)
            marked["metadata"] |= {
                "deletionTimestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "deletionGracePeriodSeconds": seconds,
            }
            return store.update(marked)
    store.remove(obj)
    uid = obj["metadata"]["uid"]
    for plural in _OWNED:
        for owned in store.dependents(plural, uid):
            if orphan:
                references = owned["metadata"]["ownerReferences"]
                left = copy(owned)
                left["metadata"]["ownerReferences"] = [r for r in references if r.get("uid") != uid]
                store.update(left)
            else:
                delete(store, owned)
    if obj["kind"] == "Namespace":
        for plural in ("cronjobs", "deployments", "daemonsets", "statefulsets", *_OWNED, "events"):
            for inside in store.select(plural, obj["metadata"]["name"]):
                delete(store, inside, 0)
    return None
