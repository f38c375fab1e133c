"""Search for a pattern in a separate process, which ends itself if that takes too long.

Python's `re` holds the interpreter lock while it matches and cannot be interrupted, so a runaway pattern would stop a server or
a kernel for good. The process (`python -m cortex_jupyter.query.regex_worker`) uses the same `re`, so the matches are the same.
The package `regex` has a timeout, but costs up to 10 times as much per line (architecture.md, "Searching").
"""

from __future__ import annotations

import atexit
import contextlib
import marshal
import os
import re
import signal
import struct
import subprocess
import sys
from typing import Final

from cortex_jupyter.errors import CortexError, TooSlow

#: The header of each request: its size in bytes.
_SIZE: Final = struct.Struct("<Q")
#: Maximum number of idle processes that are kept for the next request.
_MAX_IDLE: Final = 2
_idle: list[_Worker] = []


class _Worker:
    """A process that searches."""

    def __init__(self) -> None:
        # -P: without it, Python would import (and run) an `re.py` from the current folder.
        pipe, command = subprocess.PIPE, (sys.executable, "-P", "-m", "cortex_jupyter.query.regex_worker")
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe)  # noqa: S603 - ours

    def ask(self, question: bytes, answers: int) -> bytes:
        """Send a request and return its answer, which is shorter than `answers` if the process has ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(_SIZE.pack(len(question)) + question)
            self.process.stdin.flush()
        return self.process.stdout.read(answers)

    def end(self) -> int:
        """End it, and tell how it ended."""
        with contextlib.suppress(BrokenPipeError):
            self.process.communicate()
        return self.process.returncode


def search(pattern: str, texts: list[str], reach: int, seconds: float) -> bytes:
    r"""Return for each text whether it contains a pattern, 1 or 0.

    Parameters
    ----------
    pattern : str
        A valid pattern of `re`.
    texts : list of str
    reach : int
        Only this many characters of a text are searched.
    seconds : float
        Maximum CPU time for all texts.

    Raises
    ------
    TooSlow

    Examples
    --------
    >>> search("(?:ab|a[b])*c", ["ababc", "abab"], 100, 2.0)
    b'\x01\x00'
    """
    try:
        worker = _idle.pop()
    except IndexError:  # several threads call this, so checking first would not be safe
        worker = _Worker()
    answer = worker.ask(marshal.dumps((pattern, texts, reach, seconds)), len(texts))
    if len(answer) == len(texts):
        _idle.append(worker) if len(_idle) < _MAX_IDLE else worker.end()
        return answer
    if (code := worker.end()) != -signal.SIGVTALRM:
        raise CortexError(f"the process that searches for {pattern[:60]!r} ended with exit code {code}", "try again")
    raise TooSlow.of(pattern, seconds)


def _end() -> None:
    while _idle:
        _idle.pop().end()


atexit.register(_end)
os.register_at_fork(after_in_child=_idle.clear)


def main() -> None:
    """Answer requests until standard input ends."""
    os.nice(5)  # delivering lines to readers comes first
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is meant for the kernel or program that started us
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
    read, write = sys.stdin.buffer, sys.stdout.buffer
    while size := read.read(_SIZE.size):
        pattern, texts, reach, seconds = marshal.loads(read.read(*_SIZE.unpack(size)))  # noqa: S302 - our parent's
        find = re.compile(pattern).search
        # The kernel counts our CPU time and ends this process when it is used up, even while `re` is matching.
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
        answer = bytes(find(text, 0, reach) is not None for text in texts)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        write.write(answer)
        write.flush()


if __name__ == "__main__":
    main()
