"""Walk owner references upward: a pod belongs to its owners, and to the owners of these.

A RayJob owns a RayCluster, which owns pods; a Spark driver is a pod that owns its executors
(https://kubernetes.io/docs/concepts/overview/working-with-objects/owners-dependents/).
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary, WeakValueDictionary

from cortex_jupyter.cluster.discovery import BUILT_IN, discovery
from cortex_jupyter.cluster.workloads import segment
from cortex_jupyter.errors import BadQuery, ClusterError, NotAllowed, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cortex_jupyter.cluster.discovery import Resource
    from cortex_jupyter.cluster.session import Cluster

_log = logging.getLogger(__name__)

#: The maximum number of owners in a walk. Real chains are shorter.
_MAX_OWNERS: Final = 10
#: A kind of owners that we may not read is tried again after this time (seconds).
_REFUSED_S: Final = 60.0
#: Minimum interval (seconds) between two messages in our log that owners of a kind in a namespace may not be read.
_REPORTED_S: Final = 3600.0
#: An owner that could not be read is not read again for this time (seconds): each of its pods needs it.
_FAILED_S: Final = 1.0
#: Maximum number of owners in one collection that are read one by one. If more are missing, hundreds are: then the whole
#: collection is read.
FEW: Final = 3
#: Maximum number of owners that are remembered beyond the objects of a watch. The oldest is dropped, and read again when needed.
_REMEMBERED: Final = 10_000
#: When it was last reported that owners may not be read (monotonic), by namespace, API version and kind.
_reported: WeakKeyDictionary[Cluster, dict[tuple[str, str, str], float]] = WeakKeyDictionary()
_METADATA: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
#: The media type of a list of objects without spec and status.
METADATA_LIST: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


@dataclass(frozen=True, slots=True)
class Owner:
    """An owner, as the object that it owns names it.

    Parameters
    ----------
    uid, api_version, kind, name : str
    """

    uid: str
    api_version: str
    kind: str
    name: str

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def is_built_in(self) -> bool:
        """Whether it is of a kind that Kubernetes itself has for workloads."""
        return (self.api_version, self.kind) in BUILT_IN

    def is_of(self, resource: Resource) -> bool:
        """Return whether it is an object of a kind, in any of its versions."""
        return (self.group, self.kind) == (resource.group, resource.kind)


class Owners:
    """The owners of the objects of a namespace, each read once.

    Parameters
    ----------
    cluster : Cluster
    query : dict, optional
        A label selector that owners probably match, as the Jobs of a JobSet have the labels of its pods.

    Attributes
    ----------
    refusals : dict of str to str
        Why kinds of owners could not be read, by kind.
    """

    def __init__(self, cluster: Cluster, query: dict[str, str] | None = None) -> None:
        self._cluster = cluster
        self._query = query
        self._owner_of: dict[str, Owner | None] = {}  # by UID of the owned object
        self._read: dict[str, None] = {}  # UIDs of owners read from the API server, the oldest first
        self._deleted: set[str] = set()  # UIDs of owners deleted before they were read
        self._missing: dict[str, int] = {}  # number of owners read, by path of their collection
        # By API version and kind. A kind whose conversion webhook hangs must not hold up the others.
        self._reading: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._failures: dict[str, tuple[float, ClusterError]] = {}  # the last ones, by UID, with their time (monotonic)
        self._refused_at: dict[tuple[str, str], float] = {}  # by API version and kind
        self.refusals: dict[str, str] = {}

    def note(self, obj: Mapping[str, Any]) -> None:
        """Remember the owner of an object that is already present, so that the object need not be read."""
        self.note_owner(obj["metadata"]["uid"], controller_of(obj))

    def note_owner(self, uid: str, owner: Owner | None) -> None:
        """Remember the owner of an object; None if it has none."""
        self._owner_of[uid] = owner
        self._read.pop(uid, None)

    def is_known(self, uid: str) -> bool:
        """Return whether the owner of an object is known."""
        return uid in self._owner_of

    def forget(self, uid: str) -> None:
        """Forget an object that was deleted."""
        self._owner_of.pop(uid, None)
        self._read.pop(uid, None)
        self._deleted.discard(uid)

    async def chain(self, obj: Mapping[str, Any]) -> list[Owner]:
        """Return the owners of an object, the direct one first and the topmost one last.

        Raises
        ------
        ClusterError, ClusterUnreachable
        """
        namespace = obj["metadata"].get("namespace") or ""
        owners: list[Owner] = []
        owner = controller_of(obj)
        while owner is not None and owner not in owners and len(owners) < _MAX_OWNERS:
            owners.append(owner)
            owner = await self._controller(owner, namespace)
        return owners

    def may_have_more(self, owners: list[Owner]) -> bool:
        """Return whether the last of these owners may have, or may have had, an owner that we cannot read."""
        return bool(owners) and (owners[-1].uid not in self._owner_of or owners[-1].uid in self._deleted)

    def is_refused(self, owner: Owner) -> bool:
        """Return whether we may not read an owner."""
        return owner.uid not in self._owner_of and (owner.api_version, owner.kind) in self._refused_at

    async def _controller(self, owner: Owner, namespace: str) -> Owner | None:
        kind = (owner.api_version, owner.kind)
        if owner.uid not in self._owner_of and time.monotonic() - self._refused_at.get(kind, -_REFUSED_S) >= _REFUSED_S:
            reading = self._reading.setdefault(kind, asyncio.Lock())
            try:
                async with reading:  # many pods of one owner come at once
                    if owner.uid not in self._owner_of:
                        await self._try_to_read(owner, namespace)
            except (NotFound, BadQuery):
                self._remember(owner.uid, None)
                self._deleted.add(owner.uid)  # its own owner cannot be found any more
            except NotAllowed as error:
                self._refused_at[kind] = time.monotonic()
                self.refusals[owner.kind] = error.message
                await self._report(owner, namespace, error)
        return self._owner_of.get(owner.uid)

    async def _report(self, owner: Owner, namespace: str, refusal: NotAllowed) -> None:
        """Write to our log that owners of a kind may not be read. Each task that is read has `Owners` of its own."""
        reported = _reported.setdefault(self._cluster, {})
        kind, now = (namespace, owner.api_version, owner.kind), time.monotonic()
        if now - reported.get(kind, float("-inf")) < _REPORTED_S:
            return
        reported[kind] = now
        resource = await self.resource(owner)
        hint = f"; ask for the right `{resource.get_right}`" if resource else ""
        _log.info("the owner of %s %s/%s is not known: %s%s", owner.kind, namespace, owner.name, refusal.message, hint)

    async def _try_to_read(self, owner: Owner, namespace: str) -> None:
        """Read an owner; raise the last error again if that was a moment ago."""
        now = time.monotonic()
        self._failures = {uid: failure for uid, failure in self._failures.items() if now - failure[0] < _FAILED_S}
        if owner.uid in self._failures:
            raise self._failures[owner.uid][1]
        try:
            await self._read_owner(owner, namespace)
        except ClusterError as error:
            self._failures[owner.uid] = (time.monotonic(), error)
            raise

    async def _read_owner(self, owner: Owner, namespace: str) -> None:
        resource = await discovery(self._cluster).of_object(owner.api_version, owner.kind)
        if resource is None:
            self._remember(owner.uid, None)  # its kind is not in namespaces, as that of a node, or is not served
            return
        path = resource.path(namespace)
        self._missing[path] = self._missing.get(path, 0) + 1
        if self._missing[path] == FEW + 1 and await self._list(path, owner):
            return
        try:
            # An owner reference may hold any name: the API server does not check it.
            obj = await self._cluster.json(f"{path}/{segment(owner.name)}", accept=_METADATA)
        except NotAllowed:
            if self._missing[path] > 1 or not await self._list(path, owner):  # a user may be allowed to list them
                raise
            return
        is_owner = (obj.get("metadata") or {}).get("uid") == owner.uid
        self._remember(owner.uid, controller_of(obj) if is_owner else None)  # or a new object has the name

    async def _list(self, path: str, owner: Owner) -> bool:
        """Read all objects of a collection, and return whether an owner is among them."""
        try:
            objects, _ = await self._cluster.read_list(path, self._query, _only_owner, METADATA_LIST)
        except NotAllowed:
            return False  # a user may be allowed to get single ones
        for obj in objects:
            if not self.is_known(obj["metadata"]["uid"]):
                self._remember(obj["metadata"]["uid"], controller_of(obj))
        return self.is_known(owner.uid)

    def _remember(self, uid: str, owner: Owner | None) -> None:
        self._owner_of[uid] = owner
        self._read[uid] = None
        while len(self._read) > _REMEMBERED:
            self.forget(next(iter(self._read)))

    async def resource(self, owner: Owner) -> Resource | None:
        """Return the kind of an owner; None if it is not in namespaces, not served, or we may not ask.

        Raises
        ------
        ClusterError
        """
        try:
            return await discovery(self._cluster).of_object(owner.api_version, owner.kind)
        except (NotAllowed, NotFound):
            return None


def controller_of(obj: Mapping[str, Any]) -> Owner | None:
    """Return the owner that controls an object, else its first owner; None if it has none.

    Examples
    --------
    >>> controller_of({"metadata": {"ownerReferences": [
    ...     {"uid": "a", "apiVersion": "v1", "kind": "ConfigMap", "name": "x"},
    ...     {"uid": "b", "apiVersion": "batch/v1", "kind": "Job", "name": "y", "controller": True}]}}).name
    'y'
    """
    references = obj["metadata"].get("ownerReferences") or []
    reference = next((r for r in references if r.get("controller")), references[0] if references else None)
    return reference and Owner(*(str(reference.get(key, "")) for key in ("uid", "apiVersion", "kind", "name")))


def _only_owner(obj: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {k: v for k, v in obj["metadata"].items() if k in ("uid", "ownerReferences")}}
