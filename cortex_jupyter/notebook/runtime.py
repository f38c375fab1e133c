"""A background thread with an event loop, which runs all our asynchronous code in this process.

A notebook's own loop is busy while a cell runs, and a script has none. `asyncio.run` would help neither of them.
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
from cortex_jupyter.reader.session import Session
from cortex_jupyter.store import default_url

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

#: Interval of `tick` during a wait (seconds).
_TICK_S: Final = 0.25
#: Time for running coroutines to end when the program exits (seconds).
_END_S: Final = 5.0


class _Call(Generic[T]):
    """A coroutine on the loop, and the future that lets another thread wait for it."""

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
            self._coroutine.close()  # a coroutine that never runs would warn when it is deleted
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
    """The thread, and the connections that are open on it: one per store, kubeconfig and context."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._opened: dict[tuple[str | None, ...], Session] = {}
        self._opening: asyncio.Lock | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop. It is started when it is first needed."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._opening = asyncio.Lock()
                # A daemon thread, so that the interpreter can exit while a stream is open.
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
        """Run a coroutine and return its result. An interrupt (Ctrl-C, the stop button) cancels it.

        Parameters
        ----------
        coroutine : coroutine
        timeout : float, optional
            Time limit of the coroutine (seconds). It is cancelled then.
        tick : callable, optional
            Called a few times per second during the wait, to show progress.

        Raises
        ------
        TimeoutError
            The coroutine took longer than `timeout`.
        """
        assert threading.current_thread() is not self._thread, "a call from the loop's own thread would wait for itself"
        call = _Call(coroutine, timeout)
        # The loop runs `begin` and `cancel` in this order, even if an interrupt comes while `begin` is being scheduled.
        try:
            self.loop.call_soon_threadsafe(call.begin)
            while True:
                # An interrupt that comes just before a wait does not end it: Python looks for signals again when it returns.
                try:
                    return call.future.result(_TICK_S)
                except TimeoutError:
                    if call.future.done():
                        return call.future.result()  # which may raise a TimeoutError of its own
                if tick is not None:
                    tick()
        except BaseException:
            self.loop.call_soon_threadsafe(call.cancel)
            raise

    async def recordings(self, kubeconfig: str | None = None, context: str | None = None) -> Session:
        """Return the connection to the default store and a cluster. Call it on the loop only.

        Raises
        ------
        StoreError, NoCluster
            NoCluster is raised only if `kubeconfig` or `context` is given and cannot be used.
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
            connection = self._opened.get(key)
            if connection is None:
                connection = await Session.connect(
                    key[0], kubeconfig, context, os.environ.get("CORTEX_TASK_LABEL", ""), archive=select_archive
                )
                if connection.cluster is None and (kubeconfig or context):
                    await connection.close()
                    from cortex_jupyter.cluster.session import Cluster  # heavy

                    await Cluster.open(kubeconfig, context)  # raises with the reason
                self._opened[key] = connection
            await connection.refresh()
            return connection

    def close(self) -> None:
        """Stop the thread, and close its connections."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
            opened, self._opened = list(self._opened.values()), {}
        if loop is None or thread is None:
            return
        is_closed = False
        with contextlib.suppress(Exception):
            is_closed = asyncio.run_coroutine_threadsafe(_end(opened), loop).result(2 * _END_S)
        if not is_closed:
            return  # closing what is still in use would raise errors; the daemon thread ends with the process
        loop.call_soon_threadsafe(loop.stop)
        thread.join(2)
        if not thread.is_alive():
            loop.close()


async def _end(opened: list[Session]) -> bool:
    """Cancel all tasks and close the connections. Return False if a task does not end in time."""
    this_task = asyncio.current_task()
    tasks = [t for t in asyncio.all_tasks() if t is not this_task]
    for task in tasks:
        # An interrupt may have cancelled it already. A second time would break its clean-up.
        if not task.cancelling():
            task.cancel()
    if tasks and (await asyncio.wait(tasks, timeout=_END_S))[1]:
        return False
    await asyncio.get_running_loop().shutdown_asyncgens()
    for recordings in opened:
        if recordings.cluster is not None:
            await recordings.cluster.close()
        # Not in the thread pool: it takes no more work when the interpreter exits.
        recordings.store.close()
    return True


_current: Runtime | None = None
_abandoned: list[Runtime] = []


def runtime() -> Runtime:
    """Return this process's runtime."""
    global _current  # noqa: PLW0603 - one per process
    if _current is None:
        _current = Runtime()
    return _current


def _forget() -> None:
    """Leave the parent's runtime alone in a forked child.

    The child does not have the thread, and closing its SQLite files would break the parent's locks.
    """
    global _current  # noqa: PLW0603 - one per process
    if _current is not None:
        _abandoned.append(_current)
    _current = None


def _close() -> None:
    if _current is not None:
        _current.close()


os.register_at_fork(after_in_child=_forget)
atexit.register(_close)
