"""A process that finds the levels of a recording's lines: `python -m cortex_jupyter.reader.counter`.

A level is found by looking at each line's text: 1.5 s of computing for a million lines. That is too long for a server
that shares its processors with kernels, and more than recording should cost.

It reads one line of JSON from its input and writes one for each batch: its first number, its count, the seconds (since
the epoch) that have warnings or errors with how many, and how many lines each source has.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import orjson

from cortex_jupyter.archive.store import open_readable
from cortex_jupyter.model import Batch
from cortex_jupyter.parsing.level import LEVELS, level
from cortex_jupyter.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cortex_jupyter.store import Readable

_SECOND: Final = 1_000_000_000
_WARNING: Final = LEVELS.index("warning")
_RANK: Final[dict[str | None, int]] = {name: rank for rank, name in enumerate(LEVELS)} | {None: -1}


def count(
    store: Readable, recording: int, seqs: Iterable[int]
) -> Iterator[tuple[int, int, list[list[int]], list[tuple[int, int]]]]:
    """Count the warnings and errors of batches, and the lines of their sources.

    Parameters
    ----------
    store : Readable
    recording : int
    seqs : iterable of int
        Numbers of the batches' first records.

    Yields
    ------
    tuple
        (first number, records, [[second, warnings, errors], ...], [(source's id, lines), ...]). Batches that have been
        merged or removed meanwhile are left out.
    """
    for seq in seqs:
        entry = store.entry(recording, seq)
        if entry is None or entry.seq != seq or entry.event != "log":
            continue
        seconds: dict[int, list[int]] = {}
        batch = Batch.decode(entry.data)
        for time, text in zip(batch.times, batch.texts, strict=True):
            rank = _RANK[level(text)]
            if rank >= _WARNING:
                seconds.setdefault(time // _SECOND, [0, 0])[rank > _WARNING] += 1
        yield (
            seq,
            entry.n,
            [[second, *warnings_errors] for second, warnings_errors in sorted(seconds.items())],
            list(Counter(batch.sids).items()),
        )


def main() -> None:
    """Answer the question on the standard input."""
    logs.begin()  # an error goes to the server's log, without the log line that caused it
    os.nice(19)  # use only processor time that nothing else needs
    request: dict[str, Any] = orjson.loads(sys.stdin.buffer.readline())
    try:
        with open_readable(request["store"]) as store:
            for counts in count(store, request["recording"], request["seqs"]):
                sys.stdout.buffer.write(orjson.dumps(counts) + b"\n")
                sys.stdout.buffer.flush()
    except BrokenPipeError:  # the reader has left
        os._exit(0)


if __name__ == "__main__":
    main()
