"""What a process of ours writes, as it comes: for work that would keep the interpreter from kernels, and that may run away."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

#: A process needs a moment to start, seconds, more on a machine that is busy.
_START_S: Final = 20.0
_PIECE: Final = 1 << 18


class EndedEarlyError(Exception):
    """The process failed; its own words are in the server's log."""


async def output(module: str, ask: dict[str, Any], deaf_s: float) -> AsyncGenerator[bytes]:
    """Run a module with one line of JSON as its input; it ends with its reader.

    Parameters
    ----------
    module : str
    ask : dict
    deaf_s : float
        So long may it be silent, once it has begun.

    Yields
    ------
    bytes

    Raises
    ------
    TimeoutError
        It was silent for longer.
    EndedEarlyError
    """
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-P", "-m", module)  # -P: see `launch.ensure_recorder`
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=_PIECE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(orjson.dumps(ask) + b"\n")
        process.stdin.close()
        patience = _START_S
        while piece := await asyncio.wait_for(process.stdout.read(_PIECE), patience):
            patience = deaf_s
            yield piece
        if await process.wait():
            raise EndedEarlyError
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        # What it has said must be taken: asyncio waits for the end of a pipe, and of one that is full it reads no more.
        while await process.stdout.read(_PIECE):
            pass
        await process.wait()


def event(name: str, **doc: Any) -> bytes:
    r"""Write a Server-Sent Event.

    Examples
    --------
    >>> event("done", lines=3)
    b'event: done\ndata: {"lines":3}\n\n'
    """
    return f"event: {name}\ndata: ".encode() + orjson.dumps(doc) + b"\n\n"
