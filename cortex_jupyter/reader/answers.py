"""What a process of ours writes, for all who ask the same meanwhile: one process per question, and few at once."""

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

#: Processes at once; who asks for one more waits. Each is busy for as long as it runs.
_AT_ONCE: Final = 2
#: Younger answers are shared also where lines have come since: whoever asks has those of the last seconds otherwise.
_FRESH_S: Final = 10.0
_PIECE: Final = 1 << 18

_OF_LOOP: Final = WeakKeyDictionary[asyncio.AbstractEventLoop, "Answers"]()


class Answers:
    """Those that are being written, in one event loop."""

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._written: dict[bytes, _Answer] = {}

    @classmethod
    def here(cls) -> Answers:
        """Give those of the running event loop."""
        return _OF_LOOP.setdefault(asyncio.get_running_loop(), cls())

    async def read(self, module: str, ask: dict[str, Any], deaf_s: float, upto: int) -> AsyncGenerator[bytes]:
        """Give what a module writes, from the beginning; see `process.output`.

        Parameters
        ----------
        module : str
        ask : dict
        deaf_s : float
        upto : int
            Number of the last line that there is: an answer that was begun before it is shared only while it is fresh.

        Yields
        ------
        bytes

        Raises
        ------
        OSError
            There is no room for the answer on the disk; and what `process.output` raises.
        """
        key = orjson.dumps([module, ask])
        while (answer := self._written.get(key)) is not None and not answer.is_good(upto):
            await asyncio.wait([answer.writing])
        if answer is None:
            answer = self._written[key] = _Answer(self._output(module, ask, deaf_s), upto)
            answer.writing.add_done_callback(lambda _: self._written.pop(key))
        async with aclosing(answer.read()) as pieces:
            async for piece in pieces:
                yield piece

    async def _output(self, module: str, ask: dict[str, Any], deaf_s: float) -> AsyncGenerator[bytes]:
        async with self._room, aclosing(output(module, ask, deaf_s)) as pieces:
            async for piece in pieces:
                yield piece


class _Answer:
    """Kept in a file: a reader may be slow, and one more may come at any time."""

    def __init__(self, pieces: AsyncGenerator[bytes], upto: int) -> None:
        self._upto, self._begun = upto, time.monotonic()
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115, closed when nobody reads it any more
        self._size = 0
        self._readers = 0
        self._news = asyncio.Event()
        self.writing = asyncio.create_task(self._write(pieces))
        self.writing.add_done_callback(self._ended)

    def is_good(self, upto: int) -> bool:
        """Tell whether it says enough for somebody who asks now."""
        if self.writing.done() or self.writing.cancelling():
            return False
        return upto == self._upto or time.monotonic() - self._begun < _FRESH_S

    async def _write(self, pieces: AsyncGenerator[bytes]) -> None:
        async with aclosing(pieces):
            async for piece in pieces:
                self._file.seek(self._size)
                self._file.write(piece)
                self._size += len(piece)
                self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _ended(self, writing: asyncio.Task[None]) -> None:
        if not writing.cancelled():
            writing.exception()  # readers raise it; it is no news where there is none
        self._wake()
        self._close()

    def _close(self) -> None:
        if self._readers == 0 and self.writing.done():
            self._file.close()

    async def read(self) -> AsyncGenerator[bytes]:
        """Give all of it as it comes; the writing ends with its last reader."""
        self._readers += 1
        at = 0
        try:
            while True:
                ended, news = self.writing.done(), self._news
                while at < self._size:
                    self._file.seek(at)
                    piece = self._file.read(min(_PIECE, self._size - at))
                    at += len(piece)
                    yield piece
                if ended:
                    self.writing.result()
                    return
                await news.wait()
        finally:
            self._readers -= 1
            if self._readers == 0:
                self.writing.cancel()
                self._close()
