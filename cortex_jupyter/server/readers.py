"""What readers use of a server at the same time: open streams, running work and bytes, each with its limits."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from cortex_jupyter.errors import LimitReached
from cortex_jupyter.telemetry import server_metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from cortex_jupyter.server.limits import Limits


@dataclass(frozen=True, slots=True)
class _Reader:
    user: str
    tasks: frozenset[str]


class WorkLimiter:
    """Limits how many pieces of work run at the same time.

    One user gets at most half of the places, so that other users need not wait for one user only.

    Parameters
    ----------
    limit : int
        Further work waits.
    """

    def __init__(self, limit: int) -> None:
        self._user_limit = -(-limit // 2)
        self._all_users = asyncio.Semaphore(limit)
        self._by_user: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def slot(self, user: str) -> AsyncIterator[None]:
        """Wait for a place for this user's work, and hold it while the block runs."""
        of_user = self._by_user.get(user) or self._by_user.setdefault(user, asyncio.Semaphore(self._user_limit))
        async with of_user, self._all_users:
            yield


class Quota:
    """Limits how much of something is in use, by all users of a server and by each user.

    Parameters
    ----------
    limits : Limits
    counted : str
        For the error message: `bytes of pages wait to be sent`.
    total, per_user : str
        The names of the limits.
    hint : str
        What a user can do.
    """

    def __init__(self, limits: Limits, counted: str, total: str, per_user: str, hint: str) -> None:
        self._limits, self._counted, self._total, self._per_user, self._hint = limits, counted, total, per_user, hint
        self._used: Counter[str] = Counter()

    @contextmanager
    def use(self, user: str, amount: int) -> Iterator[None]:
        """Count an amount while the block runs.

        Raises
        ------
        LimitReached
            The amount would exceed a limit. While nothing is in use, any amount is accepted.
        """
        for name, used, whose in (
            (self._per_user, self._used[user], "for you"),
            (self._total, self._used.total(), "on this server"),
        ):
            limit: int = getattr(self._limits, name)
            if used and used + amount > limit:
                raise LimitReached(f"{limit} {self._counted} {whose}", f"{self._hint}, or raise CortexJupyter.{name}")
        self._used[user] += amount
        try:
            yield
        finally:
            self._used[user] -= amount
            if not self._used[user]:
                del self._used[user]


class Readers:
    """The readers of one server, with their limits.

    Parameters
    ----------
    limits : Limits
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._open: dict[asyncio.Task[object], _Reader] = {}
        self.pages = WorkLimiter(limits.max_pages)
        hint = "read the answers to your earlier requests, then try again"
        self.buffered = Quota(limits, "bytes of pages wait to be read", "max_buffered", "max_buffered_per_user", hint)
        hint = "try again when one is finished, or download .ndjson or .txt, which need no temporary file"
        self.files = Quota(limits, "Parquet files are being written or sent", "max_files", "max_files_per_user", hint)

    @contextmanager
    def reading(self, user: str, tasks: Iterable[str] = ()) -> Iterator[None]:
        """Count the current asyncio task as an open stream. It is cancelled when the server stops.

        Parameters
        ----------
        user : str
        tasks : iterable of str
            Keys of the tasks that the stream follows; none for a search or a download.

        Raises
        ------
        LimitReached
            The server, the user or a task has the maximum number of open streams.
        """
        reader = _Reader(user, frozenset(tasks))
        self._check(reader)
        running = asyncio.current_task()
        assert running is not None
        self._open[running] = reader
        try:
            with server_metrics.STREAMS.track_inprogress():
                yield
        finally:
            del self._open[running]

    def _check(self, new: _Reader) -> None:
        limits, readers = self._limits, self._open.values()
        if len(readers) >= (limit := limits.max_streams):
            hint = "try again later; if that does not help, ask the administrator to raise CortexJupyter.max_streams"
            raise LimitReached(f"{limit} streams are open on this server", hint)
        if sum(reader.user == new.user for reader in readers) >= (limit := limits.max_streams_per_user):
            hint = "close a notebook or a download, follow several tasks over one stream, or raise CortexJupyter.max_streams_per_user"
            raise LimitReached(f"{limit} streams are open for you on this server", hint)
        for task in new.tasks:
            if sum(task in reader.tasks for reader in readers) >= (limit := limits.max_viewers):
                hint = "try again when another viewer is closed, read pages (without follow=true), or raise CortexJupyter.max_viewers"
                raise LimitReached(f"{limit} viewers follow {task} on this server", hint)

    async def end(self) -> None:
        """Cancel all open streams, and wait until they have ended."""
        streams = tuple(self._open)
        for task in streams:
            task.cancel()
        await asyncio.gather(*streams, return_exceptions=True)
