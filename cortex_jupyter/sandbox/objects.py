"""The object store: versions, and watches that miss nothing.

What etcd and the watch cache are to the API server. Objects handed out are shared: whoever changes one
takes a `copy` first and puts that back with `update`. Every change, of whatever kind, takes the next
resource version, as in etcd.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from cortex_jupyter.sandbox import managed
from cortex_jupyter.sandbox.defaults import admit, complete
from cortex_jupyter.sandbox.resources import BY_KIND, BY_PLURAL, Resource
from cortex_jupyter.sandbox.status import already_exists, conflict, expired, not_found

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Object = dict[str, Any]
Key = tuple[str, str, str]

#: Who sets a field where nobody else says so: the controllers.
CONTROLLERS = "kube-controller-manager"
#: Changes kept for watches that begin in the past (the watch cache keeps 100 to 102 400 of them).
HISTORY = 10_000


def copy(obj: Object) -> Object:
    """Copy an object deeply; through JSON, which is what it is, and faster than `copy.deepcopy`."""
    copied: Object = orjson.loads(orjson.dumps(obj))
    return copied


def new_uid() -> str:
    """Give a UID no other object has."""
    return str(uuid.uuid4())


def random_end() -> str:
    """Give what Kubernetes puts behind a generated name: five letters, of those that spell no word (`util/rand`)."""
    return "".join(random.choices("bcdfghjklmnpqrstvwxz2456789", k=5))  # noqa: S311 - no secret


def now() -> str:
    """Give the time as `metav1.Time` is written: UTC, whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Change:
    """One change of one object; `old` or `new` is None where it was created or deleted."""

    version: int
    plural: str
    old: Object | None
    new: Object | None

    @property
    def object(self) -> Object:
        """The object after the change, or as it was last."""
        found = self.new or self.old
        assert found is not None
        return found


class Store:
    """All objects of the cluster."""

    def __init__(self) -> None:
        self.version = 100
        self.oldest = 0
        self._objects: dict[str, dict[tuple[str, str], Object]] = {plural: {} for plural in BY_PLURAL}
        #: What each owner's UID owns: a controller asks for this at each step, in a namespace of thousands.
        self._owned: dict[str, set[Key]] = {}
        #: Names of events by what makes two of them one that is counted: see `events.record`.
        self.repeatable_events: dict[tuple[str, ...], str] = {}
        #: Their different messages by what else they say, and when the last one came (monotonic): see there.
        self.similar_events: dict[tuple[str, ...], tuple[set[str], float]] = {}
        self._history: deque[Change] = deque(maxlen=HISTORY)
        self._watchers: set[asyncio.Queue[Change | None]] = set()
        self._listeners: list[Callable[[Change], None]] = []

    # ------------------------------------------------------------ reading

    def get(self, plural: str, namespace: str, name: str) -> Object | None:
        """Give one object, or None."""
        return self._objects[plural].get((namespace, name))

    def require(self, resource: Resource, namespace: str, name: str) -> Object:
        """Give one object, or raise the 404 a client would see."""
        found = self.get(resource.plural, namespace, name)
        if found is None:
            raise not_found(resource.plural, name, resource.group)
        return found

    def select(self, plural: str, namespace: str = "") -> list[Object]:
        """Give all objects of a kind, of one namespace or of all, ordered by key as etcd does."""
        objects = self._objects[plural]
        return [objects[key] for key in sorted(objects) if namespace in ("", key[0])]

    def select_at(self, version: int, plural: str, namespace: str = "") -> list[Object]:
        """Return what `select` returned when the store had an earlier version: the changes since then are undone.

        Raises
        ------
        ApiError
            410 Expired where they are no longer all held.
        """
        if version == self.version:
            return self.select(plural, namespace)
        objects = dict(self._objects[plural])
        for change in reversed(self.since(version)):
            if change.plural == plural:
                meta = change.object["metadata"]
                key = (meta.get("namespace", ""), meta["name"])
                if change.old is None:
                    del objects[key]
                else:
                    objects[key] = change.old
        return [objects[key] for key in sorted(objects) if namespace in ("", key[0])]

    def owned(self, plural: str, uid: str) -> list[Object]:
        """Return the objects of a kind whose controller has this UID, ordered by key."""
        return [obj for obj in self.dependents(plural, uid) if controller_of(obj).get("uid") == uid]

    def dependents(self, plural: str, uid: str) -> list[Object]:
        """Return the objects of a kind that name this UID as an owner, ordered by key."""
        keys = sorted(key for key in self._owned.get(uid, ()) if key[0] == plural)
        return [self._objects[plural][key[1:]] for key in keys]

    # ------------------------------------------------------------ changing

    def create(self, resource: Resource, obj: Object, *, manager: str = CONTROLLERS) -> Object:
        """Add an object; fills name, UID, creation time, version and who set its fields, and admits a pod.

        Raises
        ------
        ApiError
            409 AlreadyExists.
        """
        obj = copy(obj)
        meta = obj.setdefault("metadata", {})
        if not meta.get("name"):
            meta["name"] = meta["generateName"] + random_end()
        key = (resource.plural, meta.get("namespace", ""), meta["name"])
        if key[1:] in self._objects[key[0]]:
            raise already_exists(resource.plural, meta["name"], resource.group)
        meta["creationTimestamp"] = now()
        meta.setdefault("uid", new_uid())
        if "spec" in obj and resource.namespaced:
            meta.setdefault("generation", 1)
        obj |= {"kind": resource.kind, "apiVersion": resource.api_version}
        if resource.kind == "Pod":
            complete(obj)
        meta["managedFields"] = managed.created(obj, manager, meta["creationTimestamp"])
        admit(obj)
        return self._put(key, None, obj)

    def update(self, obj: Object, *, check: bool = False, manager: str = CONTROLLERS) -> Object:
        """Replace an object; with `check`, only if its resource version is still the newest.

        Raises
        ------
        ApiError
            404 where it is gone, 409 Conflict.
        """
        resource, meta = BY_KIND[obj["kind"]], obj["metadata"]
        key = (resource.plural, meta.get("namespace", ""), meta["name"])
        old = self.get(*key)
        if old is None or (meta.get("uid") and old["metadata"]["uid"] != meta["uid"]):
            raise not_found(resource.plural, meta["name"], resource.group)
        if check and meta.get("resourceVersion") not in (None, "", old["metadata"]["resourceVersion"]):
            raise conflict(resource.plural, meta["name"])
        obj = copy(obj)
        kept = ("uid", "creationTimestamp", "generation", "resourceVersion", "managedFields")
        obj["metadata"] |= {k: old["metadata"][k] for k in kept if k in old["metadata"]}
        if obj == old:
            return old
        obj["metadata"]["managedFields"] = managed.updated(old, obj, manager, now())
        if obj.get("spec") != old.get("spec") and resource.plural != "pods":
            obj["metadata"]["generation"] = old["metadata"].get("generation", 1) + 1
        return self._put(key, old, obj)

    def remove(self, obj: Object) -> None:
        """Delete an object for good; does nothing if it is gone already."""
        meta = obj["metadata"]
        key = (BY_KIND[obj["kind"]].plural, meta.get("namespace", ""), meta["name"])
        old = self.get(*key)
        if old is None or old["metadata"]["uid"] != meta["uid"]:
            return
        del self._objects[key[0]][key[1:]]
        self._index(key, old, None)
        self.version += 1
        self._publish(Change(self.version, key[0], old, None))

    def _put(self, key: Key, old: Object | None, obj: Object) -> Object:
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        self._objects[key[0]][key[1:]] = obj
        self._index(key, old, obj)
        self._publish(Change(self.version, key[0], old, obj))
        return obj

    def _index(self, key: Key, old: Object | None, new: Object | None) -> None:
        """Keep `_owned` in line with the owner references of an object."""
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
        """Call `listener` with every change, at once; it must not block."""
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
        """Give the changes after a version.

        Raises
        ------
        ApiError
            410 Expired where they are no longer all held.
        """
        if version < self.oldest:
            raise expired(version, self.oldest)
        return [change for change in self._history if change.version > version]

    def watch(self) -> Watcher:
        """Begin to collect changes; close the watcher when done."""
        return Watcher(self._watchers)

    def expire(self) -> None:
        """Forget all history, as a compaction does: running watches end with 410, older versions are gone."""
        self._history.clear()
        self.oldest = self.version
        for queue in self._watchers:
            queue.put_nowait(None)


class Watcher:
    """A queue of changes; `None` in it says that its versions have expired."""

    def __init__(self, registry: set[asyncio.Queue[Change | None]]) -> None:
        self._registry = registry
        self.queue: asyncio.Queue[Change | None] = asyncio.Queue()
        registry.add(self.queue)

    def __enter__(self) -> asyncio.Queue[Change | None]:
        return self.queue

    def __exit__(self, *_: object) -> None:
        self._registry.discard(self.queue)


def controller_of(obj: Object) -> Object:
    """Give the owner reference with `controller: true`, or an empty dict."""
    references: Iterator[Object] = iter(obj["metadata"].get("ownerReferences") or [])
    return next((r for r in references if r.get("controller")), {})


def owner_reference(owner: Object) -> Object:
    """Give the reference a controller puts into what it creates."""
    meta = owner["metadata"]
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
