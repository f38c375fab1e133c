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
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"


def delete(store: Store, obj: KubeObject, grace: float | None = None, *, orphan: bool = False) -> KubeObject | None:
    """Delete an object.

    A pod that runs on the node is only marked; the kubelet stops it and then removes it. Another pod is removed at once,
    whatever its finalizers. Any other object with finalizers is only marked, and removed with the last of them. So is a
    definition: it gets the finalizer `CLEANUP`, which goes with the last custom object, or at once if there is none.
    An object without finalizers is removed at once. The objects that it owns are removed with it
    (`propagationPolicy: Background`).

    Parameters
    ----------
    store : Store
        The cluster.
    obj : dict
        The object to delete.
    grace : float, optional
        Seconds that a pod has to stop (default: its `terminationGracePeriodSeconds`).
    orphan : bool
        Keep the objects that it owns: remove their owner references before anything else, as the garbage collector does.

    Returns
    -------
    dict or None
        The marked object, or None if the object was removed.
    """
    group_resource = store.resources.of(obj).group_resource
    seconds: float = 0
    if group_resource == "pods":
        seconds = obj["spec"].get("terminationGracePeriodSeconds", 30) if grace is None else grace
        phase = (obj.get("status") or {}).get("phase")
        waits = seconds > 0 and obj["spec"].get("nodeName") and phase not in ("Succeeded", "Failed")
    else:
        waits = group_resource == DEFINITIONS or obj["metadata"].get("finalizers")
    if waits and is_marked(obj):
        return obj
    if orphan:
        for key in store.dependents(obj["metadata"]["uid"]):
            if owned := store.get(*key):
                _remove_reference(store, owned, obj)
    if not waits:
        remove(store, obj)
        return None
    marked = copy(obj)
    at = datetime.now(UTC) + timedelta(seconds=seconds)
    marked["metadata"]["deletionTimestamp"] = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    if group_resource == DEFINITIONS:
        _mark_definition(marked)
    else:
        marked["metadata"]["deletionGracePeriodSeconds"] = seconds
    return store.update(marked)


def is_marked(obj: KubeObject) -> bool:
    """Whether an object is marked as deleted, and waits for its finalizers or for the kubelet."""
    return "deletionTimestamp" in obj["metadata"]


def _remove_reference(store: Store, owned: KubeObject, owner: KubeObject) -> None:
    """Remove the reference to an owner from an object that it owns."""
    updated = copy(owned)
    references = owned["metadata"]["ownerReferences"]
    updated["metadata"]["ownerReferences"] = [r for r in references if r.get("uid") != owner["metadata"]["uid"]]
    store.update(updated)


def _mark_definition(marked: KubeObject) -> None:
    """Add what the deletion of a definition adds before its objects are deleted.

    See `Delete` in `staging/src/k8s.io/apiextensions-apiserver/pkg/registry/customresourcedefinition/etcd.go`.
    """
    finalizers = marked["metadata"].get("finalizers") or []
    marked["metadata"]["finalizers"] = finalizers if CLEANUP in finalizers else [*finalizers, CLEANUP]
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
    if is_marked(obj) and not meta.get("finalizers") and store.resources.of(obj).group_resource != "pods":
        remove(store, obj)


def remove(store: Store, obj: KubeObject) -> None:
    """Remove an object now, together with the objects that it owns. A namespace is removed with its contents.

    The garbage collector keeps an object that has another owner, and removes only the reference to the one that is gone
    (`attemptToDeleteItem` in `pkg/controller/garbagecollector/garbagecollector.go`).
    """
    resource, meta = store.resources.of(obj), obj["metadata"]
    store.remove(obj)
    for key in store.dependents(meta["uid"]):
        owned = store.get(*key)
        if owned is None:  # the deletion of another dependent removed it
            continue
        # The removed object no longer counts as an owner.
        if any(store.has_owner(reference, key[1]) for reference in owned["metadata"]["ownerReferences"]):
            _remove_reference(store, owned, obj)
        else:
            delete(store, owned)
    if resource.group_resource == "namespaces":
        contents = {r.group_resource for r in store.resources if r.namespaced}
        for group_resource in sorted(contents, key=lambda name: (name == "events", name == "pods", name)):
            for member in store.select(group_resource, meta["name"]):
                delete(store, member, 0)
