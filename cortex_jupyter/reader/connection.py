"""What readers read from, and by which right: the store, the archive, the cluster."""

from __future__ import annotations

import asyncio
import hashlib
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from cortex_jupyter.cluster.access import OWN_REFUSAL_HOLDS_S, Access
from cortex_jupyter.errors import CortexError, NoCluster, NotAllowed, NotFound, TaskNotFound
from cortex_jupyter.model import parse_rfc3339
from cortex_jupyter.store import path_of
from cortex_jupyter.store.ids import time_of
from cortex_jupyter.store.liveness import HOST
from cortex_jupyter.store.masking import configure_masking
from cortex_jupyter.store.open import open_store
from cortex_jupyter.store.settings import Settings
from cortex_jupyter.store.url import without_password

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.cluster.access import Person
    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.cluster.workloads import Workload
    from cortex_jupyter.model import TaskRef
    from cortex_jupyter.store import Readable, RecordingInfo, Store
    from cortex_jupyter.store.budget import Budget


def shared(url: str) -> bool:
    """Tell whether other people may keep their logs at a URL too.

    Examples
    --------
    >>> [shared(url) for url in ("sqlite:///x", "/data/archive", "file:///a", "valkey://host", "s3://bucket/logs")]
    [False, False, False, True, True]
    """
    scheme, separator, _ = url.partition("://")
    return bool(separator) and scheme not in ("sqlite", "file")


def _identity(url: str) -> str:
    """Tell a store or an archive from all others: a path is one of this machine; a store's file is another when it was replaced."""
    if shared(url):
        return without_password(url)
    path = path_of(url)
    if path is None:  # an archive's folder, which is made when it is first looked into
        return f"{HOST} {Path(url.removeprefix('file://')).resolve()}"
    try:
        return f"{HOST} {path.resolve()} {path.stat().st_ino}"
    except OSError:
        return f"{HOST} {path.resolve()}"


def began(info: RecordingInfo) -> int:
    """Give when a recorded task began, ns: as Kubernetes says, else when its recording did."""
    return parse_rfc3339(info.started) if info.started else time_of(info.id)


class Connection:
    """A store with its archive, and the cluster whose tasks it holds. Belongs to one event loop.

    Parameters
    ----------
    store : Store
    cluster : Cluster or None
        None where there is none: what is recorded can still be read.
    task_label : str, optional
        As in `cluster.tasks.resolve`.
    archive : Readable, optional
        Where completed recordings are kept when they have left the store.
    access : Access, optional
        Whose rights count; else those of this process where the store or the archive is one that others share.
    """

    def __init__(
        self,
        store: Store,
        cluster: Cluster | None,
        task_label: str = "",
        archive: Readable | None = None,
        access: Access | None = None,
    ) -> None:
        self.store = store
        self.archive = archive
        self.cluster = cluster
        self.task_label = task_label
        if access is None and (shared(store.url) or (archive is not None and shared(archive.url))):
            access = Access()
        self.access = access
        self._own = Access(refusal_holds_s=OWN_REFUSAL_HOLDS_S)
        self.settings = Settings(store)
        self._configured: tuple[str | None, str | None] = (None, None)
        self._opening: asyncio.Task[Cluster] | None = None

    @classmethod
    async def connect(
        cls,
        store_url: str | None = None,
        kubeconfig: str | None = None,
        context: str | None = None,
        task_label: str = "",
        budget: Budget | None = None,
        archive: Callable[[Store], Readable | None] = lambda _: None,
        access: Access | None = None,
        *,
        mask: bool | None = None,
    ) -> Self:
        """Open the store and read the cluster's configuration; nothing is asked of the cluster yet.

        Parameters
        ----------
        archive : callable, optional
            Gives the archive that belongs to a store, None where it has none.
        access : Access, optional
        mask : bool, optional
            As `recorder.text.parser.masking` takes it.

        Raises
        ------
        MissingExtra, BadQuery
            Lines are to be masked, and cannot be.
        StoreError
            The store cannot be opened. (No cluster is no error here, but when a task is not recorded.)
        """
        # Here and not above: readers of what is recorded need no Kubernetes client.
        from cortex_jupyter.cluster.session import Cluster  # noqa: PLC0415

        store = await asyncio.to_thread(open_store, store_url, budget)
        try:
            await asyncio.to_thread(configure_masking, store, wish=mask)
        except BaseException:
            await asyncio.to_thread(store.close)
            raise
        try:
            cluster = await Cluster.open(kubeconfig, context)
        except NoCluster:
            cluster = None
        found = cls(store, cluster, task_label, await asyncio.to_thread(archive, store), access)
        found._configured = (kubeconfig, context)
        await asyncio.to_thread(found.settings.look)
        return found

    @property
    def origin(self) -> str:
        """A fingerprint of the cluster, the store and the archive, to be compared with another process's.

        A task's key means the same in both only where their fingerprints are equal. It is made of addresses without user
        names and passwords, so that a page may have it.
        """
        archive = "" if self.archive is None else _identity(self.archive.url)
        parts = (self.cluster.id if self.cluster else "", _identity(self.store.url), archive)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    async def refresh(self) -> None:
        """Open the cluster anew where the kubeconfig's context is for another one by now; what is open goes on."""
        old = self.cluster
        if old is None or not old.changed.is_set():
            return
        try:
            new = await type(old).open(*self._configured)
        except NoCluster:
            new = None  # as at the start: what is recorded can still be read
        if self.cluster is not old:  # another request has done it meanwhile
            old, new = new, self.cluster
        self.cluster = new
        if old is not None:
            await old.close()

    async def close(self) -> None:
        """Close the cluster's connections and the store."""
        if (opening := self._opening) is not None:
            opening.cancel()
            await asyncio.wait([opening])
        if self.cluster is not None:
            await self.cluster.close()
        await asyncio.to_thread(self.store.close)

    @property
    def namespace(self) -> str:
        """The namespace that holds where a task names none."""
        return self.cluster.namespace if self.cluster else os.environ.get("CORTEX_NAMESPACE") or "default"

    async def connected(self) -> Cluster:
        """Return the cluster; where there was none, read the kubeconfig again, which may be there by now.

        Raises
        ------
        NoCluster
        """
        if self.cluster is not None:
            return self.cluster
        if self._opening is None:
            self._opening = asyncio.create_task(self._open_cluster())
        # All who ask share one opening, which may run a credential plugin; none of them ends it for the others.
        return await asyncio.shield(self._opening)

    async def _open_cluster(self) -> Cluster:
        from cortex_jupyter.cluster.session import Cluster  # noqa: PLC0415 - heavy

        try:
            self.cluster = await Cluster.open(*self._configured)
        finally:
            self._opening = None
        return self.cluster

    async def resolve(self, ref: TaskRef, person: Person | None = None) -> Workload:
        """Find a task in the cluster; what may not be read itself is as if it were not there.

        Raises
        ------
        TaskNotFound, AmbiguousTask, NotAllowed, ClusterError, NoCluster
        """
        cluster = await self.connected()
        from cortex_jupyter.cluster.tasks import resolve  # noqa: PLC0415

        return await resolve(cluster, ref, self.task_label, partial(self.mine, person=person))

    async def allow(self, namespace: str, person: Person | None = None) -> None:
        """Check that the logs of a namespace may be read, before anything is looked for in it.

        Nothing is asked where only this user's own store is read, nor where this process knows no cluster: then its own
        credentials for the store and the archive decide.

        Raises
        ------
        NotAllowed
        NoCluster
            It is asked for a person, and there is none.
        ClusterError
            The cluster cannot be asked.
        """
        if self.access is None:
            return
        if self.cluster is None and person is not None:
            raise NoCluster("there is no cluster that could say who may read")
        if self.cluster is not None:
            await self.access.namespace(self.cluster, namespace, person)

    async def hidden(self, namespace: str, person: Person | None = None) -> dict[str, str]:
        """Return what may not be shown beside the logs of a namespace that may be read: `events` or `pods`, and why.

        Raises
        ------
        ClusterError
            The cluster cannot be asked.
        """
        if self.access is None or self.cluster is None:
            return {}
        return await self.access.hidden(self.cluster, namespace, person)

    async def lacking(self, namespace: str) -> NotAllowed | None:
        """Return why a recorder with our rights could not record tasks of a namespace; None where it could, or nobody knows.

        Nothing is asked where `allow` asks already: there another recorder, with rights of its own, may have the task.
        """
        if self.access is not None or self.cluster is None:
            return None
        try:
            return await self._own.lacking(self.cluster, namespace)
        except CortexError:  # no reviews, or no answer just now: the recorder finds out by trying
            return None

    async def mine(self, ref: TaskRef, person: Person | None = None) -> bool:
        """Tell whether a task of a namespace that may be read may be read itself."""
        return self.access is None or self.cluster is None or await self.access.task(self.cluster, ref, person)

    async def readable(self, info: RecordingInfo, person: Person | None = None) -> bool:
        """Tell whether what is recorded or archived of a namespace that may be read may be read itself."""
        if self.access is None or self.cluster is None:
            return True
        if info.cluster != self.cluster.id:  # another cluster's rights are not this one's to give
            return False
        ref = info.ref
        return await self.mine(ref, person) and await self.access.began(
            self.cluster, ref.namespace, began(info), person
        )

    async def missing(self, ref: TaskRef, error: NotFound, person: Person | None = None) -> NotFound:
        """Give the error of a task that is not there, with the name that may have been meant.

        Raises
        ------
        NotAllowed
            They may not even know that.
        """
        await self.check(ref, person)
        if self.cluster is None or error.hint != TaskNotFound.default_hint:
            return error
        from cortex_jupyter.cluster.tasks import meant  # noqa: PLC0415

        near = await meant(self.cluster, ref, partial(self.mine, person=person))
        return TaskNotFound(error.message, f"did you mean {near!r}? {error.hint}") if near else error

    async def check(self, ref: TaskRef, person: Person | None = None) -> None:
        """Refuse a task of a namespace that may be read, where it may not itself; there or not, the answer is the same.

        Raises
        ------
        NotAllowed
        """
        if not await self.mine(ref, person):
            raise NotAllowed(f"there is no task {ref.name!r} that you may read")
