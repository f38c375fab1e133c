"""A pattern looked for in a process of its own, which ends itself where that takes too long.

Python's `re` holds the interpreter while it matches and cannot be interrupted, so a pattern that runs away would stop a
server, or a kernel, for good. The process (`python -m cortex_jupyter.query.regex_worker`) has the same `re`: what matches
does not depend on where it is looked for.
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

#: Before each question: how many bytes it has.
_SIZE: Final = struct.Struct("<Q")
#: Processes that wait for the next question.
_KEPT: Final = 2
_idle: list[_Matcher] = []


class _Matcher:
    """One process."""

    def __init__(self) -> None:
        # -P: an `re.py` in the current folder must not be executed as the user of a server.
        pipe, command = subprocess.PIPE, (sys.executable, "-P", "-m", "cortex_jupyter.query.regex_worker")
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe)  # noqa: S603 - ours

    def ask(self, question: bytes, answers: int) -> bytes:
        """Give its answer; less than that where it has ended."""
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


def found(pattern: str, texts: list[str], reach: int, seconds: float) -> bytes:
    r"""Tell of each text whether it holds a pattern, 1 or 0.

    Parameters
    ----------
    pattern : str
        One that `re` takes.
    texts : list of str
    reach : int
        How far into a text is looked, characters.
    seconds : float
        Of computing, for all of them.

    Raises
    ------
    TooSlow

    Examples
    --------
    >>> found("(?:ab|a[b])*c", ["ababc", "abab"], 100, 2.0)
    b'\x01\x00'
    """
    try:
        matcher = _idle.pop()
    except IndexError:  # asked of threads, so not by looking first
        matcher = _Matcher()
    answer = matcher.ask(marshal.dumps((pattern, texts, reach, seconds)), len(texts))
    if len(answer) == len(texts):
        _idle.append(matcher) if len(_idle) < _KEPT else matcher.end()
        return answer
    if (code := matcher.end()) != -signal.SIGVTALRM:
        raise CortexError(f"the process that looks for {pattern[:60]!r} ended with {code}", "try again")
    raise TooSlow.of(pattern, seconds)


def _end() -> None:
    while _idle:
        _idle.pop().end()


atexit.register(_end)
os.register_at_fork(after_in_child=_idle.clear)


def main() -> None:
    """Answer questions until there are no more."""
    os.nice(5)  # who waits for a line comes first
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the kernel or program that asks
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
    read, write = sys.stdin.buffer, sys.stdout.buffer
    while size := read.read(_SIZE.size):
        pattern, texts, reach, seconds = marshal.loads(read.read(*_SIZE.unpack(size)))  # noqa: S302 - our parent's
        search = re.compile(pattern).search
        # The system counts what is computed here and ends this process, whatever `re` is doing.
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
        answer = bytes(search(text, 0, reach) is not None for text in texts)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        write.write(answer)
        write.flush()


if __name__ == "__main__":
    main()
