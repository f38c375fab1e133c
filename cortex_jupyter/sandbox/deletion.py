"""Deletion, as the API server, the garbage collector and the namespace controller do it together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cortex_jupyter.sandbox.objects import copy, now
from cortex_jupyter.sandbox.resources import DEFINITIONS

if TYPE_CHECKING:
    from cortex_jupyter.cluster import KubeObject
    from cortex_jupyter.sandbox.objects import Store


#: The finalizer of a definition, which keeps it until its custom objects are deleted (`CustomResourceCleanupFinalizer`
#: in `staging/src/k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/types.go`).
_CLEANUP = "customresourcecleanup.apiextensions.k8s.io"


def delete(store: Store, obj: KubeObject, grace: float | None = None, *, orphan: bool = False) -> KubeObject | None:
    """Delete an object.

    A pod that runs on the node is only marked; the kubelet stops it and then removes it. An object with finalizers is
    only marked too, and removed with its last finalizer. Any other object is removed at once, together with the objects
    that it owns (`propagationPolicy: Background`).

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
    group_resource = store.resources.of(obj).group_resource
    if group_resource == "pods":
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
    elif group_resource == DEFINITIONS or obj["metadata"].get("finalizers"):
        if "deletionTimestamp" in obj["metadata"]:
            return obj
        marked = copy(obj)
        marked["metadata"] |= {"deletionTimestamp": now(), "deletionGracePeriodSeconds": 0}
        if group_resource == DEFINITIONS:
            _mark_definition(marked)
        return store.update(marked)
    remove(store, obj, orphan=orphan)
    return None


def _mark_definition(marked: KubeObject) -> None:
    """Add what the deletion of a definition adds before its objects are deleted.

    See `Delete` in `staging/src/k8s.io/apiextensions-apiserver/pkg/registry/customresourcedefinition/etcd.go`.
    """
    marked["metadata"]["finalizers"] = sorted({*(marked["metadata"].get("finalizers") or ()), _CLEANUP})
    del marked["metadata"]["deletionGracePeriodSeconds"]
    condition = {
        "type": "Terminating",
        "status": "True",
        "lastTransitionTime": now(),
        "reason": "InstanceDeletionPending",
        "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
    }
    marked["status"]["conditions"] = [*(marked["status"].get("conditions") or ()), condition]


def finalize(store: Store, obj: KubeObject) -> None:
    """Remove an object that is marked as deleted and has lost its last finalizer.

    See `deleteWithoutFinalizers` in `staging/src/k8s.io/apiserver/pkg/registry/generic/registry/store.go`.
    """
    meta = obj["metadata"]
    if "deletionTimestamp" in meta and not meta.get("finalizers") and store.resources.of(obj).group_resource != "pods":
        remove(store, obj)


def remove(store: Store, obj: KubeObject, *, orphan: bool = False) -> None:
    """Remove an object now, with what it owns and, for a namespace, what it contains.

    The garbage collector keeps an object that has another owner, and removes only the reference to the one that is gone
    (`attemptToDeleteItem` in `pkg/controller/garbagecollector/garbagecollector.go`).
    """
    resource, meta = store.resources.of(obj), obj["metadata"]
    store.remove(obj)
    for key in store.dependents(meta["uid"]):
        owned = store.get(*key)
        if owned is None:  # the deletion of another dependent removed it
            continue
        remaining_owners = [r for r in owned["metadata"]["ownerReferences"] if r.get("uid") != meta["uid"]]
        if orphan or any(store.has_owner(r, key[1]) for r in remaining_owners):
            updated = copy(owned)
            updated["metadata"]["ownerReferences"] = remaining_owners
            store.update(updated)
        else:
            delete(store, owned)
    if resource.group_resource == "namespaces":
        contents = {r.group_resource for r in store.resources if r.namespaced}
        for group_resource in sorted(contents, key=lambda name: (name == "events", name == "pods", name)):
            for member in store.select(group_resource, meta["name"]):
                delete(store, member, 0)
