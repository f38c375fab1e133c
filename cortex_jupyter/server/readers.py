"""Who reads now: each stream is counted, for its user and for its tasks, as long as it is open."""

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


class Turns:
    """Whose work is done now: so much at one time, and of one user no more than half of it, so that nobody waits for one alone.

    Parameters
    ----------
    most : int
        At one time; who asks for more waits.
    """

    def __init__(self, most: int) -> None:
        self._each = -(-most // 2)
        self._all = asyncio.Semaphore(most)
        self._of_user: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, user: str) -> AsyncIterator[None]:
        """Wait for a turn, and have it while the block runs."""
        mine = self._of_user.get(user) or self._of_user.setdefault(user, asyncio.Semaphore(self._each))
        async with mine, self._all:
            yield


class Quota:
    """How much of something is in use, by all users of a server and by each.

    Parameters
    ----------
    limits : Limits
    what : str
        As a person reads it: `bytes of pages wait to be sent`.
    most, each : str
        The names of the limits, of all and of one user.
    hint : str
        What a user can do.
    """

    def __init__(self, limits: Limits, what: str, most: str, each: str, hint: str) -> None:
        self._limits, self._what, self._most, self._each, self._hint = limits, what, most, each, hint
        self._used: Counter[str] = Counter()

    @contextmanager
    def use(self, user: str, amount: int) -> Iterator[None]:
        """Count an amount while the block runs.

        Raises
        ------
        LimitReached
            With it there would be more than a limit allows. Where nothing is in use any amount is taken.
        """
        for name, used, whose in (
            (self._each, self._used[user], "for you"),
            (self._most, self._used.total(), "on this server"),
        ):
            limit: int = getattr(self._limits, name)
            if used and used + amount > limit:
                raise LimitReached(f"{limit} {self._what} {whose}", f"{self._hint}, or raise CortexJupyter.{name}")
        self._used[user] += amount
        try:
            yield
        finally:
            self._used[user] -= amount
            if not self._used[user]:
                del self._used[user]


class Readers:
    """Those of one server.

    Parameters
    ----------
    limits : Limits
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._open: dict[asyncio.Task[object], _Reader] = {}
        hint = "read the answers that you have asked for, try again"
        self.pages = Turns(limits.max_pages)
        self.buffered = Quota(limits, "bytes of pages wait to be read", "max_buffered", "max_buffered_per_user", hint)
        hint = "try again when one is there, take .ndjson or .txt, which need no file"
        self.files = Quota(limits, "Parquet files are being written or sent", "max_files", "max_files_per_user", hint)

    @contextmanager
    def reading(self, user: str, tasks: Iterable[str] = ()) -> Iterator[None]:
        """Count the running task of asyncio as a stream, to be cancelled when the server stops.

        Parameters
        ----------
        user : str
        tasks : iterable of str
            The keys of those that it follows; none for a search or a download.

        Raises
        ------
        LimitReached
            As many are open as the server, or one user, or one of the tasks may have.
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
        if len(readers) >= (most := limits.max_streams):
            hint = "try again; where it stays so, whoever runs this server raises CortexJupyter.max_streams"
            raise LimitReached(f"{most} streams are open on this server", hint)
        if sum(reader.user == new.user for reader in readers) >= (most := limits.max_streams_per_user):
            hint = "close a notebook or a download, follow several tasks over one stream, or raise CortexJupyter.max_streams_per_user"
            raise LimitReached(f"{most} streams are open for you on this server", hint)
        for task in new.tasks:
            if sum(task in reader.tasks for reader in readers) >= (most := limits.max_viewers):
                hint = "try again when somebody has closed it, read it by pages (without follow=true), or raise CortexJupyter.max_viewers"
                raise LimitReached(f"{most} viewers follow {task} on this server", hint)

    async def end(self) -> None:
        """Cancel all of them and wait until they are gone."""
        streams = tuple(self._open)
        for task in streams:
            task.cancel()
        await asyncio.gather(*streams, return_exceptions=True)
