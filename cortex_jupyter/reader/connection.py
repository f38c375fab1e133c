"""Connect readers with what they read from: the store, the archive and the cluster, and check their rights."""

from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from cortex_jupyter.cluster.access import OWN_REFUSAL_HOLDS_S, Access
from cortex_jupyter.errors import CortexError, NoCluster, NotAllowed, NotFound, TaskNotFound
from cortex_jupyter.model import parse_rfc3339
from cortex_jupyter.store import path_of
from cortex_jupyter.store.configuration import check_settings
from cortex_jupyter.store.ids import time_of
from cortex_jupyter.store.liveness import HOST
from cortex_jupyter.store.masking import configure_masking
from cortex_jupyter.store.open import open_store
from cortex_jupyter.store.settings import Settings
from cortex_jupyter.store.url import without_password

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cortex_jupyter.cluster.access import Person
    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.cluster.workloads import Workload
    from cortex_jupyter.model import TaskRef
    from cortex_jupyter.store import Readable, RecordingInfo, Store
    from cortex_jupyter.store.budget import Budget


def is_shared(url: str) -> bool:
    """Return whether other people may keep their logs at a URL too.

    Examples
    --------
    >>> [is_shared(url) for url in ("sqlite:///x", "/data/archive", "file:///a", "valkey://host", "s3://bucket/logs")]
    [False, False, False, True, True]
    """
    scheme, separator, _ = url.partition("://")
    return bool(separator) and scheme not in ("sqlite", "file")


def _identity(url: str) -> str:
    """Return what identifies a store or an archive.

    A path counts on its own machine only, and a file with its inode, so that a replaced file differs.
    """
    if is_shared(url):
        return without_password(url)
    path = path_of(url)
    if path is None:  # an archive's folder, which is created when it is first read
        return f"{HOST} {Path(url.removeprefix('file://')).resolve()}"
    try:
        return f"{HOST} {path.resolve()} {path.stat().st_ino}"
    except OSError:
        return f"{HOST} {path.resolve()}"


def start_time(info: RecordingInfo) -> int:
    """Return when a recorded task started (ns): as Kubernetes says, else when its recording began."""
    return parse_rfc3339(info.started) if info.started else time_of(info.id)


class Connection:
    """A store with its archive, and the cluster whose tasks it holds. Belongs to one event loop.

    Parameters
    ----------
    store : Store
    cluster : Cluster or None
        None without a cluster: recordings can still be read.
    task_label : str, optional
        As in `cluster.tasks.resolve`.
    archive : Readable, optional
        Where completed recordings are after they have left the store.
    access : Access, optional
        Checks the rights of readers. Default: the rights of this process, if the store or the archive is shared.
    name : str, optional
        The only cluster whose recordings may be read here, also while there is no `cluster`.
    """

    def __init__(
        self,
        store: Store,
        cluster: Cluster | None,
        task_label: str = "",
        archive: Readable | None = None,
        access: Access | None = None,
        name: str | None = None,
    ) -> None:
        self.store = store
        self.name = name
        self.archive = archive
        self.cluster = cluster
        self.task_label = task_label
        if access is None and (is_shared(store.url) or (archive is not None and is_shared(archive.url))):
            access = Access()
        self.access = access
        self._own = Access(refusal_holds_s=OWN_REFUSAL_HOLDS_S)
        self.settings = Settings(store)
        self._configured: dict[str, str | None] = {}  # the arguments of `Cluster.open`
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
        name: str | None = None,
    ) -> Self:
        """Open the store and read the cluster's configuration, without a request to the cluster.

        Parameters
        ----------
        archive : callable, optional
            Returns the archive that belongs to a store, or None.
        access : Access, optional
        mask : bool, optional
            As in `store.masking.masking`.
        name : str, optional
            As in `Cluster.open`. Recordings of other clusters are then not read.

        Raises
        ------
        MissingExtra, BadQuery
            Masking is wanted, but impossible; or a setting is wrong.
        StoreError
            The store cannot be opened. A missing cluster raises only when an unrecorded task is opened.
        """
        # Imported here because readers of recordings need no Kubernetes client.
        from cortex_jupyter.cluster.session import Cluster

        check_settings()
        store = await asyncio.to_thread(open_store, store_url, budget)
        try:
            await asyncio.to_thread(configure_masking, store, wish=mask)
            try:
                cluster = await Cluster.open(kubeconfig, context, name=name)
            except NoCluster:
                cluster = None
            connection = cls(store, cluster, task_label, await asyncio.to_thread(archive, store), access, name)
            connection._configured = {"kubeconfig": kubeconfig, "context": context, "name": name}
            await asyncio.to_thread(connection.settings.look)
        except BaseException:  # a caller may stop waiting: a credential plugin may take a minute
            await asyncio.to_thread(store.close)
            raise
        return connection

    @property
    def origin(self) -> str:
        """A fingerprint of the cluster, the store and the archive, for comparison with another process.

        A task's key means the same in two processes only if their fingerprints are equal. It is made from
        addresses without
        user names and passwords, so a page may see it.
        """
        archive = "" if self.archive is None else _identity(self.archive.url)
        parts = (self.cluster.id if self.cluster else "", _identity(self.store.url), archive)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    async def refresh(self) -> None:
        """Open the cluster again if the kubeconfig's context now names another one; open streams continue."""
        old = self.cluster
        if old is None or not old.changed.is_set():
            return
        try:
            new = await type(old).open(**self._configured)  # type: ignore[arg-type]  # none is a number
        except NoCluster:
            new = None  # as at the start: recordings can still be read
        if self.cluster is not old:  # another request has replaced it meanwhile
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
        """The namespace of a task that names none."""
        return self.cluster.namespace if self.cluster else os.environ.get("CORTEX_NAMESPACE") or "default"

    @property
    def cluster_id(self) -> str | None:
        """The cluster whose recordings are read; None for those of any."""
        return self.cluster.id if self.cluster else self.name

    async def connected(self) -> Cluster:
        """Return the cluster. If there was none, read the kubeconfig again, which may exist by now.

        Raises
        ------
        NoCluster
        """
        if self.cluster is not None:
            return self.cluster
        if self._opening is None:
            self._opening = asyncio.create_task(self._open_cluster())
        # All callers share one opening, which may run a credential plugin; a caller that is cancelled does not stop it.
        return await asyncio.shield(self._opening)

    async def _open_cluster(self) -> Cluster:
        from cortex_jupyter.cluster.session import Cluster  # heavy

        try:
            self.cluster = await Cluster.open(**self._configured)  # type: ignore[arg-type]  # none is a number
        finally:
            self._opening = None
        return self.cluster

    async def resolve(self, ref: TaskRef, person: Person | None = None) -> Workload:
        """Find a task in the cluster; a task that may not be read counts as missing.

        Raises
        ------
        TaskNotFound, AmbiguousTask, NotAllowed, ClusterError, NoCluster
        """
        cluster = await self.connected()
        from cortex_jupyter.cluster.tasks import resolve

        return await resolve(cluster, ref, self.task_label, partial(self.mine, person=person))

    async def with_groups(self, ref: TaskRef) -> list[TaskRef]:
        """Return a reference with the full name of its kind, if the cluster has it; several if several groups have it."""
        if not ref.is_custom or self.cluster is None:
            return [ref]
        from cortex_jupyter.cluster.discovery import discovery

        try:
            return [replace(ref, kind=each.name) for each in await discovery(self.cluster).find_all(ref.kind)]
        except CortexError:
            return [ref]  # a recording may have the kind as the user wrote it

    async def allow(self, namespace: str, person: Person | None = None) -> None:
        """Check that the logs of a namespace may be read. Call it before looking anything up in there.

        Nothing is checked for a user's own store, nor if this process knows no cluster: then its own credentials
        for the store and the archive decide.

        Raises
        ------
        NotAllowed
        NoCluster
            The rights of a person, or rights in a named cluster, are needed, and there is no cluster.
        ClusterError
            The cluster cannot be asked.
        """
        if self.access is None:
            return
        if self.cluster is None and (person is not None or self.name is not None):
            raise NoCluster("there is no cluster that could say who may read")
        if self.cluster is not None:
            await self.access.check_namespace(self.cluster, namespace, person)

    async def namespaces(self, person: Person | None = None, among: Sequence[str] | None = None) -> list[str] | None:
        """Return the names of the namespaces whose logs a person may read; None if that cannot be known.

        Namespaces that no longer exist in the cluster are among them if they have recorded tasks.

        Parameters
        ----------
        person : Person, optional
            By default the user of this process.
        among : sequence of str, optional
            Only these namespaces.

        Raises
        ------
        NotAllowed
            We may not ask about a person's rights.
        NoCluster
            The rights of a person are needed, and there is no cluster.
        ClusterError
            The cluster cannot be asked.
        """
        infos = [info for info in await asyncio.to_thread(self.store.recordings) if info.last_seq]
        recorded = {info.ref.namespace for info in infos if self.name in (None, info.cluster)}
        if self.cluster is None:
            if person is not None:
                raise NoCluster("there is no cluster that could say who may read")
            return sorted(recorded | {self.namespace} if among is None else among)
        from cortex_jupyter.cluster.access import list_namespaces

        present = list(among) if among is not None else await list_namespaces(self.cluster)
        if present is None:
            return None
        recorded = recorded if among is None else recorded.intersection(among)
        try:
            readable = await (self.access or self._own).readable(self.cluster, present, person)
        except (NotFound, NotAllowed):
            if self.access is not None:
                raise
            readable = present  # a cluster without reviews
        if readable is None:
            return None
        if self.access is None:  # what a user has recorded stays theirs
            return sorted(recorded.union(readable))
        gone = sorted(recorded.difference(present))
        return sorted([*readable, *(await self.access.readable(self.cluster, gone, person) or ())])

    async def hidden(self, namespace: str, person: Person | None = None) -> dict[str, str]:
        """Return what may not be shown beside the logs of a readable namespace (`events`, `pods`), with the reason.

        Raises
        ------
        ClusterError
            The cluster cannot be asked.
        """
        if self.access is None or self.cluster is None:
            return {}
        return await self.access.hidden(self.cluster, namespace, person)

    async def lacking(self, namespace: str) -> NotAllowed | None:
        """Return why a recorder with our rights could not record a namespace's tasks; None if it could, or if unknown.

        Returns None where `allow` checks rights: there another recorder, with rights of its own, may have the task.
        """
        if self.access is not None or self.cluster is None:
            return None
        try:
            return await self._own.missing_rights(self.cluster, namespace)
        except CortexError:  # no reviews, or no answer just now: the recorder finds out by trying
            return None

    async def mine(self, ref: TaskRef, person: Person | None = None) -> bool:
        """Return whether a task of a readable namespace may be read itself."""
        return self.access is None or self.cluster is None or await self.access.may_read_task(self.cluster, ref, person)

    async def readable(self, info: RecordingInfo, person: Person | None = None) -> bool:
        """Return whether a recording or an archived recording of a readable namespace may be read itself."""
        if self.name not in (None, info.cluster):
            return False
        if self.access is None or self.cluster is None:
            return True
        if info.cluster != self.cluster.id:  # this cluster cannot decide about another one's tasks
            return False
        ref = info.ref
        return await self.mine(ref, person) and await self.access.may_read_recorded(
            self.cluster, ref.namespace, start_time(info), person
        )

    async def missing(self, ref: TaskRef, error: NotFound, person: Person | None = None) -> NotFound:
        """Return the error for a task that does not exist, with the name that was probably meant.

        Raises
        ------
        NotAllowed
            The person may not know whether the task exists.
        """
        await self.check(ref, person)
        if self.cluster is None or error.hint != TaskNotFound.default_hint:
            return error
        from cortex_jupyter.cluster.tasks import suggest_name

        near = await suggest_name(self.cluster, ref, partial(self.mine, person=person))
        return TaskNotFound(error.message, f"did you mean {near!r}? {error.hint}") if near else error

    async def check(self, ref: TaskRef, person: Person | None = None) -> None:
        """Refuse a task of a readable namespace that may not be read itself.

        The answer is the same if the task does not exist.

        Raises
        ------
        NotAllowed
        """
        if not await self.mine(ref, person):
            raise NotAllowed(f"there is no task {ref.name!r} that you may read")
