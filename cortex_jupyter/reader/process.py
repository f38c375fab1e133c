"""Run a module in a process of its own: work that would hold the interpreter lock, or that may run away."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

#: Time (seconds) that a process may take to start, also on a busy machine.
_START_S: Final = 20.0
_PIECE: Final = 1 << 18


class EndedEarlyError(Exception):
    """The process failed; its error is in the server's log."""


async def output(module: str, ask: dict[str, Any], deaf_s: float) -> AsyncGenerator[bytes]:
    """Run a module with one line of JSON as its input, and yield its output; it ends with its reader.

    Parameters
    ----------
    module : str
    ask : dict
    deaf_s : float
        Seconds that it may be silent after its first output.

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
        timeout_s = _START_S
        while piece := await asyncio.wait_for(process.stdout.read(_PIECE), timeout_s):
            timeout_s = deaf_s
            yield piece
        if await process.wait():
            raise EndedEarlyError
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        # Read the rest: asyncio waits for the end of the pipe, but stops reading a pipe that is full.
        while await process.stdout.read(_PIECE):
            pass
        await process.wait()


def event(name: str, **doc: object) -> bytes:
    r"""Encode a server-sent event.

    Examples
    --------
    >>> event("done", lines=3)
    b'event: done\ndata: {"lines":3}\n\n'
    """
    return f"event: {name}\ndata: ".encode() + orjson.dumps(doc) + b"\n\n"
