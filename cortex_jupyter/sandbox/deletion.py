"""Deletion, as the API server and the garbage collector do it together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cortex_jupyter.sandbox.objects import copy

if TYPE_CHECKING:
    from cortex_jupyter.sandbox.objects import Store

Object = dict[str, Any]
#: Kinds that have owners, ordered so that owners come first.
_OWNED = ("replicasets", "jobs", "pods")


def delete(store: Store, obj: Object, grace: float | None = None, *, orphan: bool = False) -> Object | None:
    """Delete an object.

    A pod that runs on the node is only marked; the kubelet stops it and then removes it. Any other object is removed
    at once, together with the objects that it owns (`propagationPolicy: Background`).

    Parameters
    ----------
    store : Store
        The cluster.
    obj : dict
        The object to delete.
    grace : float, optional
        Seconds that a pod has to stop (default: its `terminationGracePeriodSeconds`).
    orphan : bool
        Keep the objects that it owns, and remove their owner references.

    Returns
    -------
    dict or None
        The marked object, or None if the object was removed.
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
                orphaned = copy(owned)
                orphaned["metadata"]["ownerReferences"] = [r for r in references if r.get("uid") != uid]
                store.update(orphaned)
            else:
                delete(store, owned)
    if obj["kind"] == "Namespace":
        for plural in ("cronjobs", "deployments", "daemonsets", "statefulsets", *_OWNED, "events"):
            for member in store.select(plural, obj["metadata"]["name"]):
                delete(store, member, 0)
    return None
