"""From a task's name to its recording, with a recorder at work: what the server, the notebook and the CLI start from."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import cached_property
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from cortex_jupyter.cluster.workloads import COLLECTIONS
from cortex_jupyter.errors import AmbiguousTask, ArchiveError, CortexError, NotAllowed, NotFound
from cortex_jupyter.model import TaskRef
from cortex_jupyter.reader.connection import Connection
from cortex_jupyter.reader.feed import Feed
from cortex_jupyter.reader.keep_alive import Keeping
from cortex_jupyter.reader.recording import Recording

if TYPE_CHECKING:
    from cortex_jupyter.cluster.access import Person
    from cortex_jupyter.cluster.workloads import Workload
    from cortex_jupyter.store import Info, Readable

_log = logging.getLogger(__name__)

#: That a recording can be of.
KINDS: Final = (*COLLECTIONS, "selector")


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
        opened = self.cluster is not None
        lacking = asyncio.create_task(self.lacking(ref.namespace))  # beside the search, for it costs a request
        try:
            found = await self._find(ref, person)
            if found.workload is not None:
                found.problem = await (lacking if opened else self.lacking(ref.namespace))
            found.hidden = await self.hidden(ref.namespace, person)
        except NotFound as error:
            raise await self.missing(ref, error, person) from None
        finally:
            lacking.cancel()
        await found.want()
        return found

    async def _find(self, ref: TaskRef, person: Person | None) -> Recording:
        try:
            workload = await self.resolve(ref, person)
        except (NotAllowed, AmbiguousTask):
            raise  # what the cluster does not let them read is not read from the recording either
        except CortexError as error:
            held = await self._newest(self.store, ref, person)
            if held is None or not held.last_seq:
                archived = await self._archived(ref, person)
                if archived is None:
                    raise
                return Recording(self, archived.id, archived.ref, None, store=self.archive)
            absent = isinstance(error, NotFound)
            return Recording(self, held.id, held.ref, None, gone=absent, problem=None if absent else error)
        assert self.cluster is not None
        known = await asyncio.to_thread(self.store.find, workload.ref, self.cluster.id)
        if known is None or known.uid != workload.uid:
            with contextlib.suppress(ArchiveError):  # it must not keep a task from being recorded
                archived = await self._archived(workload.ref, person)
                if archived is not None and archived.uid == workload.uid:
                    return Recording(self, archived.id, archived.ref, workload, store=self.archive)
        uid = await self._uid(workload, known, person)
        id_ = await asyncio.to_thread(self._opened, self.cluster.id, workload.ref, uid)
        return Recording(self, id_, workload.ref, workload)

    def _opened(self, cluster: str, ref: TaskRef, uid: str) -> int:
        self.settings.look()  # a recording in a store that was emptied is to be as those before
        return self.store.open(cluster, ref, uid)

    async def _uid(self, workload: Workload, known: Info | None, person: Person | None) -> str:
        """Give that of a task's recording: a label selector is no object, and has the same in each namespace of a name."""
        if workload.ref.kind != "selector" or known is None or self.access is None or self.cluster is None:
            return workload.uid if known is None or not workload.is_of(known.uid) else known.uid
        if await self.readable(known, person):
            return known.uid
        return f"{workload.uid}@{await self.access.created(self.cluster, workload.ref.namespace)}"

    async def _archived(self, ref: TaskRef, person: Person | None) -> Info | None:
        return None if self.archive is None else await self._newest(self.archive, ref, person)

    async def _newest(self, place: Readable, ref: TaskRef, person: Person | None) -> Info | None:
        """Give the newest recording of a task that may be read, of any kind where the reference has none."""
        cluster = self.cluster.id if self.cluster else None
        found = await asyncio.to_thread(place.find, ref, cluster)
        if found is None or await self.readable(found, person):
            return found
        best = None  # older ones of that kind are no more theirs, but one of another kind may be
        for kind in () if ref.kind else KINDS:
            info = await asyncio.to_thread(place.find, TaskRef(ref.namespace, kind, ref.name), cluster)
            if info is None or not await self.readable(info, person):
                continue
            if kind == "job":
                return info
            best = info if best is None or info.id > best.id else best
        return best

    async def where(self, ref: TaskRef, person: Person | None = None) -> tuple[Readable, Info | None]:
        """Give what is recorded of a task and, where nothing is, what is archived; and where that is."""
        info = await self._newest(self.store, ref, person)
        if info is None and self.archive is not None:
            with contextlib.suppress(ArchiveError):  # the answer without it is right too
                return self.archive, await self._archived(ref, person)
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
        found = [info for info in found if await self.readable(info, person)]
        return sorted(found, key=lambda info: info.id, reverse=True)

    @cached_property
    def _feeds(self) -> WeakValueDictionary[tuple[str, int], Feed]:
        return WeakValueDictionary()

    def feed(self, recording: int, store: Readable | None = None) -> Feed:
        """Give the one feed of a recording in this process, which lasts as long as one of its readers has it."""
        place = store or self.store
        key = (place.url, recording)  # it may have left for the archive since
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = Feed(place, recording)
        return feed
