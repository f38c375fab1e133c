"""What the handlers of one server share: its recordings, what may be read, and the streams that are open."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

from jupyter_server._tz import utcnow

from cortex_jupyter.archive.store import archive_of
from cortex_jupyter.errors import ClusterUnreachable, CursorNotHeld, LimitReached, NoCluster, NotAllowed, TaskNotFound
from cortex_jupyter.recording.budget import NOT_HELD, Budget
from cortex_jupyter.recording.open import Recordings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cortex_jupyter.recording.reading import Recording
    from cortex_jupyter.records import Cursor, TaskRef
    from cortex_jupyter.server.app import CortexJupyter


class Service:
    """The one of a server; opens the store and the cluster's configuration when it is first asked.

    Parameters
    ----------
    app : CortexJupyter
        Whose settings hold.
    """

    def __init__(self, app: CortexJupyter) -> None:
        self.app = app
        self._recordings: Recordings | None = None
        self._opening = asyncio.Lock()
        self._streams: set[asyncio.Task[object]] = set()

    async def recordings(self) -> Recordings:
        """Give the recordings.

        Raises
        ------
        BadQuery
            A setting of the store cannot be read.
        StoreError
            The store cannot be opened; the next request tries again.
        """
        async with self._opening:
            if self._recordings is None:
                # In a thread, because it takes a second that kernels would wait for.
                await asyncio.to_thread(import_module, "cortex_jupyter.cluster.session")
                app = self.app
                budget = Budget.read(app.store_max_bytes, app.store_max_age)
                self._recordings = await Recordings.connect(
                    app.store_url or None,
                    app.kubeconfig or None,
                    app.context or None,
                    app.task_label,
                    budget,
                    lambda store: archive_of(store, app.archive_url or None),
                )
            return self._recordings

    def allow(self, namespace: str) -> None:
        """Check that tasks of a namespace may be read.

        Raises
        ------
        NotAllowed
        """
        allowed = self.app.namespaces
        if allowed and namespace not in allowed:
            raise NotAllowed(
                f"namespace {namespace!r} is not open on this server", f"open are {', '.join(sorted(allowed))}"
            )

    async def find(self, ref: TaskRef, cursor: Cursor | None = None) -> Recording:
        """Find a task and have it recorded.

        Parameters
        ----------
        ref : TaskRef
        cursor : Cursor, optional
            What the reader has of it.

        Raises
        ------
        CursorNotHeld
            There is no such task any more, and its recording has left the store.
        TaskNotFound, AmbiguousTask, NotAllowed, ClusterError, NoCluster, StoreError
        """
        self.allow(ref.namespace)
        recordings = await self.recordings()
        try:
            return await recordings.find(ref)
        except (TaskNotFound, NoCluster, ClusterUnreachable):
            left = (
                cursor and cursor.recording and await asyncio.to_thread(recordings.store.info, cursor.recording) is None
            )
            if left:
                raise CursorNotHeld(f"the recording of {ref.key} is no longer held", NOT_HELD) from None
            raise

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """Count the running task of asyncio as a stream, to be cancelled when the server stops.

        Raises
        ------
        LimitReached
            As many streams are open as the server allows.
        """
        most = self.app.max_streams
        if len(self._streams) >= most:
            raise LimitReached(
                f"{most} streams are open on this server",
                "close a notebook, follow several tasks over one stream, or raise CortexJupyter.max_streams",
            )
        task = asyncio.current_task()
        assert task is not None
        self._streams.add(task)
        try:
            yield
        finally:
            self._streams.discard(task)

    def active(self) -> None:
        """Tell Jupyter Server that work is going on, where the setting says so."""
        if self.app.keep_alive_while_following:
            assert self.app.serverapp is not None
            times = self.app.serverapp.web_app.settings["last_activity_times"]
            times["cortex_jupyter"] = utcnow()

    async def close(self) -> None:
        """End the streams and close everything."""
        streams = tuple(self._streams)
        for task in streams:
            task.cancel()
        await asyncio.gather(*streams, return_exceptions=True)
        if self._recordings is not None:
            await self._recordings.close()
            self._recordings = None
