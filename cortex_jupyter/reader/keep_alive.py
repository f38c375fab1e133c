"""What is being read is kept wanted, and a recorder at work: once, for all its readers in this process."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import CortexError, StoreBusy, StoreTooNew

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cortex_jupyter.reader.recording import Recording

_log = logging.getLogger(__name__)

#: A wish for a recording holds this long, seconds, and is renewed three times in it.
WANTED_S: Final = 30.0
#: So often in a row must recording fail before readers are told to give up.
_FAILURES: Final = 3


class Keeping:
    """The recordings that are being read. Belongs to one event loop."""

    def __init__(self) -> None:
        #: When it was last seen that a recorder lives or begins, monotonic; by namespace.
        self.looked: dict[str, float] = {}
        self._readers: dict[int, list[Recording]] = {}
        self._keepers: dict[int, asyncio.Task[None]] = {}

    @contextmanager
    def reading(self, recording: Recording) -> Iterator[None]:
        """Keep it wanted while the block lasts."""
        readers = self._readers.setdefault(recording.id, [])
        if recording.workload is not None:
            for other in readers:  # an object of the API is large, and each of them has come with one of their own
                other.workload, other.problem = recording.workload, recording.problem
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
                for other in readers:
                    other.workload, other.gone, other.problem = newest.workload, newest.gone, newest.problem
                failures = 0
                newest.feed.fail(None)
            except StoreBusy as error:  # it passes, and readers have a patience of their own
                _log.warning("%s: %s", newest.ref.key, error)
                await asyncio.sleep(1)
                continue
            except CortexError as error:
                failures += 1
                if failures >= _FAILURES or isinstance(error, StoreTooNew):
                    newest.feed.fail(error)
                _log.warning("%s is not being recorded: %s", newest.ref.key, error)
            await asyncio.sleep(min(2.0**failures, WANTED_S / 3))
