"""A process that tells the levels of a recording's lines: `python -m cortex_jupyter.reader.counter`.

A level is known by looking at a line, a second and a half of computing for a million: too long for a server that shares
its time with kernels, and more than recording should cost.

It reads one line of JSON from its input, and writes one for each batch: its number, its count, the seconds (since the
epoch) in which there are warnings or errors, with how many; and how many lines each source has.
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
        (first number, records, [[second, warnings, errors], ...], [(source's id, lines), ...]); batches that are no
        longer so are left out.
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
            [[second, *both] for second, both in sorted(seconds.items())],
            list(Counter(batch.sids).items()),
        )


def main() -> None:
    """Do what the input asks for."""
    logs.begin()  # what fails here is in the server's log, without the line at which it did
    os.nice(19)  # only what nobody else needs
    asked: dict[str, Any] = orjson.loads(sys.stdin.buffer.readline())
    try:
        with open_readable(asked["store"]) as store:
            for found in count(store, asked["recording"], asked["seqs"]):
                sys.stdout.buffer.write(orjson.dumps(found) + b"\n")
                sys.stdout.buffer.flush()
    except BrokenPipeError:  # nobody wants to know any more
        os._exit(0)


if __name__ == "__main__":
    main()
