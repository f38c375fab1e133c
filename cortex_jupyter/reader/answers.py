"""Share the output of a worker process among all readers that ask the same question at the same time."""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import orjson

from cortex_jupyter.reader.process import output

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

#: Worker processes that run at the same time; further questions wait. Each process keeps one processor busy.
_AT_ONCE: Final = 2
#: An answer younger than this (seconds) is shared even if lines have arrived since it was begun.
_FRESH_S: Final = 10.0
_PIECE: Final = 1 << 18

_ANSWERS_BY_LOOP: Final = WeakKeyDictionary[asyncio.AbstractEventLoop, "Answers"]()


class Answers:
    """The answers that are being written, in one event loop."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._answers: dict[bytes, _Answer] = {}

    @classmethod
    def of_running_loop(cls) -> Answers:
        """Return the answers of the running event loop."""
        return _ANSWERS_BY_LOOP.setdefault(asyncio.get_running_loop(), cls())

    async def read(self, module: str, ask: dict[str, Any], deaf_s: float, upto: int) -> AsyncGenerator[bytes]:
        """Yield what a module writes, from the beginning; see `process.output`.

        Parameters
        ----------
        module : str
        ask : dict
        deaf_s : float
        upto : int
            Number of the newest record. An answer that was begun before it existed is shared only while it is fresh.

        Yields
        ------
        bytes

        Raises
        ------
        OSError
            The disk has no room for the answer. Also raises what `process.output` raises.
        """
        key = orjson.dumps([module, ask])
        while (answer := self._answers.get(key)) is not None and not answer.is_recent_enough(upto):
            await asyncio.wait([answer.writing])
        if answer is None:
            answer = self._answers[key] = _Answer(self._output(module, ask, deaf_s), upto)
            answer.writing.add_done_callback(lambda _: self._answers.pop(key))
        async with aclosing(answer.read()) as pieces:
            async for piece in pieces:
                yield piece

    async def _output(self, module: str, ask: dict[str, Any], deaf_s: float) -> AsyncGenerator[bytes]:
        async with self._slots, aclosing(output(module, ask, deaf_s)) as pieces:
            async for piece in pieces:
                yield piece


class _Answer:
    """One answer, kept in a file: a reader may be slow, and another may join at any time."""

    def __init__(self, pieces: AsyncGenerator[bytes], upto: int) -> None:
        self._upto, self._started_at = upto, time.monotonic()
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed after its last reader
        self._size = 0
        self._readers = 0
        self._changed = asyncio.Event()
        self.writing = asyncio.create_task(self._write(pieces))
        self.writing.add_done_callback(self._ended)

    def is_recent_enough(self, upto: int) -> bool:
        """Return whether a new reader may share this answer, which must still be being written.

        It was begun less than 10 s ago, or at the same newest record (`upto`).
        """
        if self.writing.done() or self.writing.cancelling():
            return False
        return upto == self._upto or time.monotonic() - self._started_at < _FRESH_S

    async def _write(self, pieces: AsyncGenerator[bytes]) -> None:
        async with aclosing(pieces):
            async for piece in pieces:
                self._file.seek(self._size)
                self._file.write(piece)
                self._size += len(piece)
                self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _ended(self, writing: asyncio.Task[None]) -> None:
        if not writing.cancelled():
            writing.exception()  # readers raise it; without readers, asyncio must not log it as never retrieved
        self._wake()
        self._close()

    def _close(self) -> None:
        if self._readers == 0 and self.writing.done():
            self._file.close()

    async def read(self) -> AsyncGenerator[bytes]:
        """Yield the whole answer as it is written; when its last reader leaves, the writing stops."""
        self._readers += 1
        position = 0
        try:
            while True:
                ended, changed = self.writing.done(), self._changed
                while position < self._size:
                    self._file.seek(position)
                    piece = self._file.read(min(_PIECE, self._size - position))
                    position += len(piece)
                    yield piece
                if ended:
                    self.writing.result()
                    return
                await changed.wait()
        finally:
            self._readers -= 1
            if self._readers == 0:
                self.writing.cancel()
                self._close()
