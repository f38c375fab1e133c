"""The process of `parsing.apart`: `python -m cortex_jupyter.parsing.matcher`."""

from __future__ import annotations

import marshal
import os
import re
import signal
import sys

from cortex_jupyter.parsing.apart import SIZE


def main() -> None:
    """Answer questions until there are no more."""
    os.nice(5)  # who waits for a line comes first
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for the kernel or program that asks
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
    read, write = sys.stdin.buffer, sys.stdout.buffer
    while size := read.read(SIZE.size):
        pattern, texts, reach, seconds = marshal.loads(read.read(*SIZE.unpack(size)))  # noqa: S302 - our parent's
        search = re.compile(pattern).search
        # The system counts what is computed here and ends this process, whatever `re` is doing.
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
        answer = bytes(search(text, 0, reach) is not None for text in texts)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        write.write(answer)
        write.flush()


if __name__ == "__main__":
    main()
