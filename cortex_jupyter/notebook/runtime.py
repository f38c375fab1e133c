"""One background thread with an event loop of its own, on which everything asynchronous of this process runs.

A notebook's own loop is busy while a cell runs, and a script has none; so `asyncio.run` serves neither.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from cortex_jupyter.archive.store import select_archive
from cortex_jupyter.reader.session import Recordings
from cortex_jupyter.store import default_url

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

#: How often a wait looks at its progress, seconds.
_TICK_S: Final = 0.25
#: How long the end of the program waits for what is being unwound, seconds.
_END_S: Final = 5.0


class _Call(Generic[T]):
    """A coroutine that is run on the loop for a thread that waits for it."""

    def __init__(self, coroutine: Coroutine[Any, Any, T], timeout: float | None) -> None:
        self._coroutine, self._timeout = coroutine, timeout
        self._task: asyncio.Task[T] | None = None
        self.future: concurrent.futures.Future[T] = concurrent.futures.Future()

    def begin(self) -> None:
        bounded = self._coroutine if self._timeout is None else asyncio.wait_for(self._coroutine, self._timeout)
        self._task = asyncio.get_running_loop().create_task(bounded)
        self._task.add_done_callback(self._done)

    def cancel(self) -> None:
        if self._task is None:
            self._coroutine.close()  # what never runs would warn of that when it is collected
        else:
            self._task.cancel()

    def _done(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self.future.cancel()
        elif (error := task.exception()) is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(task.result())


class Runtime:
    """The thread, and the recordings that are open on it, one per store, kubeconfig and context."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._opened: dict[tuple[str | None, ...], Recordings] = {}
        self._opening: asyncio.Lock | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop, begun where it does not run yet."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._opening = asyncio.Lock()
                # A daemon: the interpreter's end must not wait for a stream that never ends.
                self._thread = threading.Thread(target=self._loop.run_forever, name="cortex-jupyter", daemon=True)
                self._thread.start()
            return self._loop

    @property
    def alive(self) -> bool:
        """Whether the loop runs."""
        return self._loop is not None

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Start a coroutine on the loop, from any thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def run(
        self,
        coroutine: Coroutine[Any, Any, T],
        *,
        timeout: float | None = None,
        tick: Callable[[], object] | None = None,
    ) -> T:
        """Run a coroutine to its end and give its result; an interrupt (Ctrl-C, the stop button) cancels it.

        Parameters
        ----------
        coroutine : coroutine
        timeout : float, optional
            Seconds after which it is cancelled.
        tick : callable, optional
            Called a few times a second while waiting, for progress.

        Raises
        ------
        TimeoutError
            It took longer than `timeout`.
        """
        assert threading.current_thread() is not self._thread, "the loop would wait for itself"
        call = _Call(coroutine, timeout)
        # Both are done on the loop, in their order: an interrupt may come in any moment, also while one is handed over.
        try:
            self.loop.call_soon_threadsafe(call.begin)
            while tick is not None:
                done, _ = concurrent.futures.wait([call.future], _TICK_S)
                if done:
                    break
                tick()
            return call.future.result()
        except BaseException:
            self.loop.call_soon_threadsafe(call.cancel)
            raise

    async def recordings(self, kubeconfig: str | None = None, context: str | None = None) -> Recordings:
        """Give the recordings of the default store, with that cluster. On the loop only.

        Raises
        ------
        StoreError, NoCluster
            The second only where a kubeconfig is named and cannot be used.
        """
        key = (
            default_url(),
            kubeconfig,
            context,
            os.environ.get("KUBECONFIG"),
            os.environ.get("CORTEX_NAMESPACE"),
            os.environ.get("CORTEX_ARCHIVE"),
            os.environ.get("CORTEX_MASK"),
        )
        assert self._opening is not None
        async with self._opening:
            found = self._opened.get(key)
            if found is None:
                found = await Recordings.connect(
                    key[0], kubeconfig, context, os.environ.get("CORTEX_TASK_LABEL", ""), archive=select_archive
                )
                if found.cluster is None and (kubeconfig or context):
                    await found.close()
                    from cortex_jupyter.cluster.session import Cluster  # noqa: PLC0415 - heavy

                    await Cluster.open(kubeconfig, context)  # raises with the reason
                self._opened[key] = found
            await found.refresh()
            return found

    def close(self) -> None:
        """End the thread and what is open on it."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
            opened, self._opened = list(self._opened.values()), {}
        if loop is None or thread is None:
            return
        ended = False
        with contextlib.suppress(Exception):
            ended = asyncio.run_coroutine_threadsafe(_end(opened), loop).result(2 * _END_S)
        if not ended:
            return  # to stop or close what is in use would have it fail aloud; the thread is a daemon
        loop.call_soon_threadsafe(loop.stop)
        thread.join(2)
        if not thread.is_alive():
            loop.close()


async def _end(opened: list[Recordings]) -> bool:
    """End what runs and close what is open; False where something does not end."""
    me = asyncio.current_task()
    tasks = [t for t in asyncio.all_tasks() if t is not me]
    for task in tasks:
        # What an interrupt has cancelled is being unwound: a second time would break that.
        if not task.cancelling():
            task.cancel()
    if tasks and (await asyncio.wait(tasks, timeout=_END_S))[1]:
        return False
    await asyncio.get_running_loop().shutdown_asyncgens()
    for recordings in opened:
        if recordings.cluster is not None:
            await recordings.cluster.close()
        # Not in a thread of the pool, which takes no more work at the interpreter's end.
        recordings.store.close()
    return True


_current: Runtime | None = None
_abandoned: list[Runtime] = []


def runtime() -> Runtime:
    """Give this process's runtime."""
    global _current  # noqa: PLW0603
    if _current is None:
        _current = Runtime()
    return _current


def _forget() -> None:
    """In a forked child: the thread is not there, and closing its SQLite files would break the parent's locks."""
    global _current  # noqa: PLW0603
    if _current is not None:
        _abandoned.append(_current)
    _current = None


def _close() -> None:
    if _current is not None:
        _current.close()


os.register_at_fork(after_in_child=_forget)
atexit.register(_close)
