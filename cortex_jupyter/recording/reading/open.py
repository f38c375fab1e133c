"""From a task's name to its recording, with a recorder at work: what the server, the notebook and the CLI start from."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import cached_property
from typing import TYPE_CHECKING

from cortex_jupyter.errors import AmbiguousTask, ArchiveError, CortexError, NotAllowed, NotFound
from cortex_jupyter.recording.reading.connection import Connection
from cortex_jupyter.recording.reading.feed import Feed
from cortex_jupyter.recording.reading.keeping import Keeping
from cortex_jupyter.recording.reading.reading import Recording

if TYPE_CHECKING:
    from cortex_jupyter.cluster.access import Person
    from cortex_jupyter.recording.store import Info, Readable
    from cortex_jupyter.records import TaskRef

_log = logging.getLogger(__name__)


class Recordings(Connection):
    """The recordings of one store, opened by task name; see `Connection` for what it takes."""

    @cached_property
    def keeping(self) -> Keeping:
        """What is being read of them."""
        return Keeping()

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
        except NotFound as error:
            raise await self.missing(ref, error, person) from None
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
                _log.warning("archived tasks are not listed: %s", error)
                archived = []
            known = {info.id for info in found}
            found += [info for info in archived if info.id not in known]
        if self.access is not None and self.cluster is not None:  # another cluster's rights are not this one's to give
            of_ours = [info for info in found if info.cluster == self.cluster.id]
            found = [info for info in of_ours if await self.mine(info.ref, person)]
        return sorted(found, key=lambda info: info.id, reverse=True)

    @cached_property
    def _feeds(self) -> dict[tuple[str, int], Feed]:
        return {}

    def feed(self, recording: int, store: Readable | None = None) -> Feed:
        """Give the one feed of a recording in this process."""
        place = store or self.store
        key = (place.url, recording)  # it may have left for the archive since
        if key not in self._feeds:
            self._feeds[key] = Feed(place, recording)
        return self._feeds[key]
