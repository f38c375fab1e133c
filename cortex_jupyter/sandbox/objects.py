"""The object store with its resource versions and watches: the counterpart of etcd and the watch cache.

The store returns its own objects, not copies. To change one, make a `copy`, change that, and pass it to `update`.
As in etcd, every change of any object takes the next resource version.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import defaultdict, deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson

from cortex_jupyter.sandbox import managedfields
from cortex_jupyter.sandbox.defaults import admit, set_pod_defaults
from cortex_jupyter.sandbox.resources import Resource, Resources
from cortex_jupyter.sandbox.status import already_exists, expired, not_found

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cortex_jupyter.cluster import KubeObject

Key = tuple[str, str, str]

#: Field manager of a change that names no other: the controllers.
CONTROLLERS = "kube-controller-manager"
#: Number of changes kept for watches that start at an older version (the watch cache keeps 100 to 102 400).
HISTORY = 10_000


def copy(obj: KubeObject) -> KubeObject:
    """Return a deep copy of an object; a round trip through JSON is faster than `copy.deepcopy`."""
    copied: KubeObject = orjson.loads(orjson.dumps(obj))
    return copied


def new_uid() -> str:
    """Return a new UID."""
    return str(uuid.uuid4())


def random_suffix() -> str:
    """Return five random characters for a generated name, from the alphabet of `util/rand`, which spells no words."""
    return "".join(random.choices("bcdfghjklmnpqrstvwxz2456789", k=5))  # noqa: S311 - no secret


def now() -> str:
    """Return the current time in the format of `metav1.Time`: UTC, whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Change:
    """One change of one object; `old` is None if it was created, `new` is None if it was deleted."""

    version: int
    group_resource: str
    old: KubeObject | None
    new: KubeObject | None

    @property
    def object(self) -> KubeObject:
        """The object after the change; for a deletion, its last state."""
        obj = self.new or self.old
        assert obj is not None
        return obj


class Store:
    """All objects of the cluster, by the `group_resource` of their kind, such as `jobs.batch`.

    Attributes
    ----------
    resources : Resources
        The kinds that objects may have.
    """

    def __init__(self) -> None:
        self.version = 100
        self.oldest = 0
        self.resources = Resources()
        self._objects: defaultdict[str, dict[tuple[str, str], KubeObject]] = defaultdict(dict)
        #: Keys of the objects that each owner's UID owns. Controllers look this up at each step, among thousands of objects.
        self._owned: dict[str, set[Key]] = {}
        #: Name of the event that counts repetitions, by the fields that make two events equal: see `events.record`.
        self.repeatable_events: dict[tuple[str, ...], str] = {}
        #: Messages of similar events, and the monotonic time of the newest, by their common fields: see `events.record`.
        self.similar_events: dict[tuple[str, ...], tuple[set[str], float]] = {}
        self._history: deque[Change] = deque(maxlen=HISTORY)
        self._watchers: set[asyncio.Queue[Change | None]] = set()
        self._listeners: list[Callable[[Change], None]] = []

    # ------------------------------------------------------------ reading

    def get(self, group_resource: str, namespace: str, name: str) -> KubeObject | None:
        """Return an object, or None if it does not exist."""
        return self._objects[group_resource].get((namespace, name))

    def require(self, resource: Resource, namespace: str, name: str) -> KubeObject:
        """Return an object; raise the 404 that a client sees if it does not exist."""
        obj = self.get(resource.group_resource, namespace, name)
        if obj is None:
            raise not_found(resource.plural, name, resource.group)
        return obj

    def select(self, group_resource: str, namespace: str = "") -> list[KubeObject]:
        """Return the objects of a kind in one namespace, or in all, ordered by key as in etcd."""
        objects = self._objects[group_resource]
        return [objects[key] for key in sorted(objects) if namespace in ("", key[0])]

    def select_at(self, version: int, group_resource: str, namespace: str = "") -> list[KubeObject]:
        """Return what `select` returned at an earlier version, by undoing the changes since then.

        Raises
        ------
        ApiError
            410 Expired if some of those changes are no longer held.
        """
        if version == self.version:
            return self.select(group_resource, namespace)
        objects = dict(self._objects[group_resource])
        for change in reversed(self.since(version)):
            if change.group_resource == group_resource:
                meta = change.object["metadata"]
                key = (meta.get("namespace", ""), meta["name"])
                if change.old is None:
                    del objects[key]
                else:
                    objects[key] = change.old
        return [objects[key] for key in sorted(objects) if namespace in ("", key[0])]

    def owned(self, group_resource: str, uid: str) -> list[KubeObject]:
        """Return the objects of a kind that the controller with this UID owns, ordered by key."""
        keys = sorted(key for key in self._owned.get(uid, ()) if key[0] == group_resource)
        objects = [self._objects[group_resource][key[1:]] for key in keys]
        return [obj for obj in objects if controller_of(obj).get("uid") == uid]

    def dependents(self, uid: str) -> list[Key]:
        """Return the keys of all objects that name this UID as an owner."""
        return sorted(self._owned.get(uid, ()))

    def has_owner(self, reference: KubeObject, namespace: str) -> bool:
        """Whether the owner that an object in this namespace refers to exists."""
        resource = self.resources.referenced(reference)
        if resource is None:
            return False
        owner = self.get(resource.group_resource, namespace if resource.namespaced else "", reference["name"])
        return owner is not None and owner["metadata"]["uid"] == reference["uid"]

    # ------------------------------------------------------------ changing

    def create(
        self, resource: Resource, obj: KubeObject, *, manager: str = CONTROLLERS, dry_run: bool = False
    ) -> KubeObject:
        """Add an object: set its name, UID, creation time, version and managed fields, and run admission.

        A dry run returns the object, which has no version, and does not add it.

        Raises
        ------
        ApiError
            409 AlreadyExists if the name is taken.
        """
        obj = copy(obj)
        meta = obj.setdefault("metadata", {})
        if not meta.get("name"):
            meta["name"] = meta["generateName"] + random_suffix()
        key = (resource.group_resource, meta.get("namespace", ""), meta["name"])
        if key[1:] in self._objects[key[0]]:
            raise already_exists(resource.plural, meta["name"], resource.group)
        meta["creationTimestamp"] = now()
        meta.setdefault("uid", new_uid())
        if "spec" in obj and resource.namespaced:
            meta.setdefault("generation", 1)
        obj |= {"kind": resource.kind, "apiVersion": resource.api_version}
        if resource.group_resource == "pods":
            set_pod_defaults(obj)
        meta["managedFields"] = managedfields.created(obj, manager, meta["creationTimestamp"])
        admit(obj)
        return obj if dry_run else self._put(key, None, obj)

    def update(self, obj: KubeObject, *, manager: str = CONTROLLERS, resource: Resource | None = None) -> KubeObject:
        """Replace an object.

        `resource` is needed for a custom object that a client changes: only in some versions is the status a subresource.

        Raises
        ------
        ApiError
            404 if it no longer exists.
        """
        resource, meta = resource or self.resources.of(obj), obj["metadata"]
        key = (resource.group_resource, meta.get("namespace", ""), meta["name"])
        old = self.get(*key)
        if old is None or (meta.get("uid") and old["metadata"]["uid"] != meta["uid"]):
            raise not_found(resource.plural, meta["name"], resource.group)
        obj = copy(obj)
        immutable = ("uid", "creationTimestamp", "generation", "resourceVersion", "managedFields")
        obj["metadata"] |= {k: old["metadata"][k] for k in immutable if k in old["metadata"]}
        if obj == old:
            return old
        obj["metadata"]["managedFields"] = managedfields.updated(old, obj, manager, now())
        if _desires_more(resource, old, obj):
            obj["metadata"]["generation"] = old["metadata"].get("generation", 1) + 1
        return self._put(key, old, obj)

    def remove(self, obj: KubeObject) -> None:
        """Delete an object now; do nothing if it no longer exists."""
        meta = obj["metadata"]
        key = (self.resources.of(obj).group_resource, meta.get("namespace", ""), meta["name"])
        old = self.get(*key)
        if old is None or old["metadata"]["uid"] != meta["uid"]:
            return
        del self._objects[key[0]][key[1:]]
        self._index(key, old, None)
        self.version += 1
        self._publish(Change(self.version, key[0], old, None))

    def _put(self, key: Key, old: KubeObject | None, obj: KubeObject) -> KubeObject:
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        self._objects[key[0]][key[1:]] = obj
        self._index(key, old, obj)
        self._publish(Change(self.version, key[0], old, obj))
        return obj

    def _index(self, key: Key, old: KubeObject | None, new: KubeObject | None) -> None:
        """Update `_owned` for the owner references that an object gained or lost."""
        before, after = (
            {r["uid"] for r in obj["metadata"].get("ownerReferences") or []} if obj else set() for obj in (old, new)
        )
        for uid in before - after:
            self._owned[uid].discard(key)
            if not self._owned[uid]:
                del self._owned[uid]
        for uid in after - before:
            self._owned.setdefault(uid, set()).add(key)

    # ------------------------------------------------------------ watching

    def listen(self, listener: Callable[[Change], None]) -> None:
        """Call `listener` synchronously with every change; it must not block."""
        self._listeners.append(listener)

    def _publish(self, change: Change) -> None:
        if len(self._history) == HISTORY:
            self.oldest = self._history[0].version
        self._history.append(change)
        for queue in self._watchers:
            queue.put_nowait(change)
        for listener in self._listeners:
            listener(change)

    def since(self, version: int) -> list[Change]:
        """Return the changes after a version.

        Raises
        ------
        ApiError
            410 Expired if some of them are no longer held.
        """
        if version < self.oldest:
            raise expired(version, self.oldest)
        return [change for change in self._history if change.version > version]

    def watch(self) -> Watcher:
        """Return a context manager for a queue that receives every change from now on."""
        return Watcher(self._watchers)

    def expire(self) -> None:
        """Drop the history, as a compaction does: running watches end with 410, and older versions have expired."""
        self._history.clear()
        self.oldest = self.version
        for queue in self._watchers:
            queue.put_nowait(None)


class Watcher:
    """A queue of changes; `None` in it means that the watch's version has expired."""

    def __init__(self, registry: set[asyncio.Queue[Change | None]]) -> None:
        self._registry = registry
        self.queue: asyncio.Queue[Change | None] = asyncio.Queue()
        registry.add(self.queue)

    def __enter__(self) -> asyncio.Queue[Change | None]:
        return self.queue

    def __exit__(self, *_: object) -> None:
        self._registry.discard(self.queue)


def _desires_more(resource: Resource, old: KubeObject, new: KubeObject) -> bool:
    """Whether a change makes a new generation.

    For a custom resource this is any change outside the metadata and, if it is a subresource, the status
    (`customResourceStrategy.PrepareForUpdate` in
    `staging/src/k8s.io/apiextensions-apiserver/pkg/registry/customresource/strategy.go`).
    """
    if not resource.is_custom:
        return new.get("spec") != old.get("spec") and resource.group_resource != "pods"
    ignored = {"metadata", *(("status",) if "status" in resource.subresources else ())}
    return any(old.get(name) != new.get(name) for name in {*old, *new} - ignored)


def controller_of(obj: KubeObject) -> KubeObject:
    """Return the owner reference with `controller: true`, or an empty dict if there is none."""
    references: Iterator[KubeObject] = iter(obj["metadata"].get("ownerReferences") or [])
    return next((r for r in references if r.get("controller")), {})


def owner_reference(owner: KubeObject) -> KubeObject:
    """Return the reference that a controller sets on an object that it creates."""
    meta = owner["metadata"]
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
