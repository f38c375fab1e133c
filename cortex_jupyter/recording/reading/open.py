"""From a task's name to its recording, with a recorder at work: what the server, the notebook and the CLI start from."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Self

from cortex_jupyter.cluster.access import Access
from cortex_jupyter.errors import (
    AmbiguousTask,
    ArchiveError,
    CortexError,
    NoCluster,
    NotAllowed,
    NotFound,
    StoreBusy,
    StoreTooNew,
)
from cortex_jupyter.recording.reading.feed import Feed
from cortex_jupyter.recording.reading.reading import WANTED_S, Recording
from cortex_jupyter.recording.stores import open_store
from cortex_jupyter.recording.text.parser import masking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cortex_jupyter.cluster.access import Person
    from cortex_jupyter.cluster.session import Cluster
    from cortex_jupyter.cluster.workloads import Workload
    from cortex_jupyter.recording.store import Info, Readable, Store
    from cortex_jupyter.recording.store.budget import Budget
    from cortex_jupyter.records import TaskRef

_log = logging.getLogger(__name__)

#: So often in a row must recording fail before readers are told to give up.
_FAILURES: Final = 3


def shared(url: str) -> bool:
    """Tell whether other people may keep their logs at a URL too.

    Examples
    --------
    >>> [shared(url) for url in ("sqlite:///x", "/data/archive", "file:///a", "valkey://host", "s3://bucket/logs")]
    [False, False, False, True, True]
    """
    scheme, separator, _ = url.partition("://")
    return bool(separator) and scheme not in ("sqlite", "file")


class Recordings:
    """The recordings of one store, opened by task name. Belongs to one event loop.

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
        self._configured: tuple[str | None, str | None] = (None, None)
        self._feeds: dict[tuple[str, int], Feed] = {}
        self._readers: dict[int, list[Recording]] = {}
        self._keepers: dict[int, asyncio.Task[None]] = {}

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
            As `recording.text.parser.masking` takes it.

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
            await asyncio.to_thread(masking, store, wish=mask)
        except BaseException:
            await asyncio.to_thread(store.close)
            raise
        try:
            cluster = await Cluster.open(kubeconfig, context)
        except NoCluster:
            cluster = None
        found = cls(store, cluster, task_label, await asyncio.to_thread(archive, store), access)
        found._configured = (kubeconfig, context)
        return found

    async def close(self) -> None:
        """Close the cluster's connections and the store."""
        if self.cluster is not None:
            await self.cluster.close()
        await asyncio.to_thread(self.store.close)

    @property
    def namespace(self) -> str:
        """The namespace that holds where a task names none."""
        return self.cluster.namespace if self.cluster else os.environ.get("CORTEX_NAMESPACE") or "default"

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

    async def mine(self, ref: TaskRef, person: Person | None = None) -> bool:
        """Tell whether a task of a namespace that may be read may be read itself."""
        return self.access is None or self.cluster is None or await self.access.task(self.cluster, ref, person)

    async def check(self, ref: TaskRef, person: Person | None = None) -> None:
        """Refuse a task of a namespace that may be read, where it may not itself; there or not, the answer is the same.

        Raises
        ------
        NotAllowed
        """
        if not await self.mine(ref, person):
            raise NotAllowed(f"there is no task {ref.name!r} that you may read")

    async def find(self, ref: TaskRef, person: Person | None = None) -> Recording:
        """Find a task, in the cluster or else among what is recorded, and begin to record it where needed.

        Parameters
        ----------
        ref : TaskRef
        person : Person, optional
            On whose behalf; else this process's own.

        Raises
        ------
        TaskNotFound, AmbiguousTask, NotAllowed, ClusterError, NoCluster, StoreError
        """
        await self.allow(ref.namespace, person)
        try:
            found = await self._find(ref)
        except NotFound:
            await self.check(ref, person)
            raise
        await self.check(found.ref, person)
        await found.want()
        return found

    async def _find(self, ref: TaskRef) -> Recording:
        held = await asyncio.to_thread(self.store.find, ref, self.cluster.id if self.cluster else None)
        try:
            workload = await self.resolve(ref)
        except (NotAllowed, AmbiguousTask):
            raise  # what the cluster does not let them read is not read from the recording either
        except CortexError as error:
            if held is None or not held.last_seq:
                archived = await self._archived(ref)
                if archived is None:
                    raise
                return Recording(self, archived.id, archived.ref, None, store=self.archive)
            return Recording(self, held.id, held.ref, None, gone=isinstance(error, NotFound))
        assert self.cluster is not None
        if held is None or held.uid != workload.uid:
            with contextlib.suppress(ArchiveError):  # it must not keep a task from being recorded
                archived = await self._archived(workload.ref)
                if archived is not None and archived.uid == workload.uid:
                    return Recording(self, archived.id, archived.ref, workload, store=self.archive)
        id_ = await asyncio.to_thread(self.store.open, self.cluster.id, workload.ref, workload.uid)
        return Recording(self, id_, workload.ref, workload)

    async def _archived(self, ref: TaskRef) -> Info | None:
        if self.archive is None:
            return None
        return await asyncio.to_thread(self.archive.find, ref, self.cluster.id if self.cluster else None)

    async def where(self, ref: TaskRef, cluster: str | None) -> tuple[Readable, Info | None]:
        """Give what is recorded of a task and, where nothing is, what is archived; and where that is."""
        info = await asyncio.to_thread(self.store.find, ref, cluster)
        if info is None and self.archive is not None:
            with contextlib.suppress(ArchiveError):  # the answer without it is right too
                return self.archive, await asyncio.to_thread(self.archive.find, ref, cluster)
        return self.store, info

    async def held(self, namespace: str, person: Person | None = None) -> list[Info]:
        """Give what is recorded or archived of a namespace and may be read, newest first; of each recording once.

        Raises
        ------
        NotAllowed, NoCluster, ClusterError, StoreError
        """
        await self.allow(namespace, person)
        found = [i for i in await asyncio.to_thread(self.store.recordings, namespace) if i.last_seq]
        if self.archive is not None:
            try:
                archived = await asyncio.to_thread(self.archive.recordings, namespace)
            except ArchiveError as error:
                _log.warning("archived tasks are not listed: %s", error.message)
                archived = []
            known = {info.id for info in found}
            found += [info for info in archived if info.id not in known]
        if self.access is not None and self.cluster is not None:  # another cluster's rights are not this one's to give
            of_ours = [info for info in found if info.cluster == self.cluster.id]
            found = [info for info in of_ours if await self.mine(info.ref, person)]
        return sorted(found, key=lambda info: info.id, reverse=True)

    async def resolve(self, ref: TaskRef) -> Workload:
        """Find a task in the cluster.

        Raises
        ------
        TaskNotFound, AmbiguousTask, NotAllowed, ClusterError, NoCluster
        """
        if self.cluster is None:
            from cortex_jupyter.cluster.session import Cluster  # noqa: PLC0415

            self.cluster = await Cluster.open(
                *self._configured
            )  # raises with the reason, or there is a kubeconfig by now
        from cortex_jupyter.cluster.tasks import resolve  # noqa: PLC0415

        return await resolve(self.cluster, ref, self.task_label)

    def feed(self, recording: int, store: Readable | None = None) -> Feed:
        """Give the one feed of a recording in this process."""
        place = store or self.store
        key = (place.url, recording)  # it may have left for the archive since
        if key not in self._feeds:
            self._feeds[key] = Feed(place, recording)
        return self._feeds[key]

    @contextmanager
    def reading(self, recording: Recording) -> Iterator[None]:
        """Keep a recording wanted while the block lasts: one task does so for all its readers in this process."""
        readers = self._readers.setdefault(recording.id, [])
        readers.append(recording)
        if len(readers) == 1:
            self._keepers[recording.id] = asyncio.create_task(self._keep(readers))
        try:
            yield
        finally:
            readers.remove(recording)
            if not readers:
                del self._readers[recording.id]
                self._keepers.pop(recording.id).cancel()

    async def _keep(self, readers: list[Recording]) -> None:
        failures = 0
        while True:
            newest = readers[-1]  # who came last knows best what the cluster says of the task
            try:
                await newest.want()
                failures = 0
                newest.feed.fail(None)
            except StoreBusy as error:  # it passes, and readers have a patience of their own
                _log.warning("%s: %s", newest.ref.key, error.message)
                await asyncio.sleep(1)
                continue
            except CortexError as error:
                failures += 1
                if failures >= _FAILURES or isinstance(error, StoreTooNew):
                    newest.feed.fail(error)
                _log.warning("%s is not being recorded: %s", newest.ref.key, error)
            await asyncio.sleep(min(2.0**failures, WANTED_S / 3))
