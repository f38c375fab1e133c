"""The readers of the torture test on the same pod: kubectl, stern, and our recording."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import orjson
from faults.received import Received

from cortex_jupyter.model import TaskRef

if TYPE_CHECKING:
    from pathlib import Path

    from cortex_jupyter.reader.session import Session

_NUMBER = re.compile(rb" line (\d{8}) ")


@dataclass
class ReaderResult:
    """The result of one reader.

    Parameters
    ----------
    reader : str
    numbers : list of int
        Numbers of the lines, in order of arrival.
    gaps : int or None
        Number of gap notices; None for a reader without such notices.
    ended : str
        How the reader ended: its exit code and last message.
    unaccounted : int
        Our recording only: number of missing lines that no gap notice covers.
    masked : tuple of int or None
        Our recording only: lines with a masked secret, masked secrets as counted by `complete`, lines with a plain secret.
    """

    reader: str
    numbers: list[int]
    gaps: int | None
    ended: str
    unaccounted: int = 0
    masked: tuple[int, int, int] | None = None


async def run_follower(name: str, command: list[str], file: Path, kubeconfig: Path) -> ReaderResult | None:
    """Run a program that follows a log; return None if it is not installed."""
    if shutil.which(command[0]) is None:
        return None
    env = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    with file.open("wb") as out, file.with_suffix(".err").open("wb") as err:
        process = await asyncio.create_subprocess_exec(*command, stdout=out, stderr=err, env=env)
        try:
            code = await process.wait()
        except asyncio.CancelledError:  # stern never ends by itself
            process.terminate()
            code = await process.wait()
    return await asyncio.to_thread(_follower_result, name, file, code)


def _follower_result(name: str, file: Path, code: int) -> ReaderResult:
    messages = file.with_suffix(".err").read_text(errors="replace").strip().splitlines()
    last_message = f": {messages[-1][:60]}" if messages else ", no message"
    return ReaderResult(name, [int(n) for n in _NUMBER.findall(file.read_bytes())], None, f"exit {code}{last_message}")


class RecordingReader:
    """Reads our recording of a task.

    Attributes
    ----------
    received : Received
    """

    def __init__(self, recordings: Session, task: str) -> None:
        self._recordings, self._task, self._id = recordings, task, 0
        self.received = Received()

    async def read(self) -> ReaderResult:
        """Read to the end."""
        recording = await self._recordings.find(TaskRef.parse(self._task))
        self._id = recording.id
        async with recording.keep_wanted():
            async for event in recording.feed.events():
                self.received.add_event(event.event, orjson.loads(event.entry.data))
        (lines,) = self.received.lines().values()
        rows = [(t, int(n[1])) for t, text in lines if (n := _NUMBER.search(text.encode()))]
        gaps = [(int(g["from"]), int(g["to"])) for g in self.received.gaps]
        ended = f"end: {self.received.end['message']}" if self.received.end else "no end"
        return ReaderResult("cortex-jupyter", [n for _, n in rows], len(gaps), ended, unaccounted(rows, gaps))

    def masked(self) -> tuple[int, int, int]:
        """Return the number of masked lines, of masked secrets as counted by `complete`, and of plain secrets."""
        (lines,) = self.received.lines().values()
        plain = sum("s3cr3t" in text for _, text in lines)
        masked = sum("password=[masked]" in text for _, text in lines)
        return masked, sum(self._recordings.store.complete(self._id).masked.values()), plain


def unaccounted(rows: list[tuple[int, int]], gaps: list[tuple[int, int]]) -> int:
    """Return how many numbers are missing between two lines without a gap between their times.

    Parameters
    ----------
    rows : list of (int, int)
        Time and number of each line.
    gaps : list of (int, int)

    Examples
    --------
    >>> unaccounted([(10, 0), (20, 1), (50, 4), (60, 5), (70, 7)], [(20, 50)])
    1
    """
    missing = 0
    for (before, a), (after, b) in pairwise(rows):
        if b != a + 1 and not any(since <= before and after <= until for since, until in gaps):
            missing += abs(b - a - 1)
    return missing
