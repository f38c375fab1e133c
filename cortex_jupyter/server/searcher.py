"""A process that searches one recording backward in time: `python -m cortex_jupyter.server.searcher`.

Python's `re` holds the interpreter's lock while it matches, so in the server every line that is tested would be time
taken from kernels, and a pattern that explodes would stop it for good. This process can be ended.

It reads one line of JSON from its input and writes Server-Sent Events: `log` with what matches, newest batches first;
`progress`; at the end `done`.
"""

from __future__ import annotations

import os
import re
import sys
import time
from typing import TYPE_CHECKING, Final

import orjson

from cortex_jupyter import journal
from cortex_jupyter.archive.store import reading
from cortex_jupyter.parsing.query import LogQuery
from cortex_jupyter.records import Batch
from cortex_jupyter.server.process import event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cortex_jupyter.recording.reading.feed import Keep
    from cortex_jupyter.recording.store import Readable

#: Progress is told so often, seconds: a reader sees that it goes on, and the server that it has not run away.
_TELL_S: Final = 0.1
#: Text that JSON writes as it is.
_PLAIN: Final = re.compile(r"[^\\\"\x00-\x1f]+\Z")
#: Characters that mean something in a pattern, and those that a backslash makes mean themselves.
_MEANS: Final = re.compile(r"[\\.^$*+?{}\[\]|()]")
_ESCAPED: Final = re.compile(r"\\([^A-Za-z0-9])")


def search(store: Readable, recording: int, query: LogQuery, most: int) -> Iterator[bytes]:
    """Give what matches as events, newest first.

    Parameters
    ----------
    store : Readable
    recording : int
    query : LogQuery
        `since`, `until` and the filters count.
    most : int
        Ends after so many matches.

    Yields
    ------
    bytes
        Whole events. `progress` and `done` say back to which time everything has been searched (`to`, ns as a
        string), how many lines match, how many were looked at, and how many there are; `done` also whether that is
        `all`.
    """
    keep = query.keep() or (lambda batch: range(len(batch)))
    holds = _prefilter(query.grep)
    low, high = query.since or 0, query.until if query.until is not None else 1 << 63
    rows = [r for r in store.index(recording) if r[2] == "log" and r[4] >= low and r[3] <= high]
    # Entries overlap in time where several pods write: what is later than the latest line of the next one is done.
    rows.sort(key=lambda row: -row[4])
    total, matches, looked, told = sum(row[1] for row in rows), 0, 0, 0.0
    for seq, n, _, _, t_max in rows:
        now = time.monotonic()
        if matches >= most or now - told > _TELL_S:
            told = now
            yield event("progress", to=str(t_max), matches=matches, looked=looked, lines=total)
        if matches >= most:
            yield event("done", to=str(t_max), matches=matches, looked=looked, lines=total, all=False)
            return
        looked += n
        entry = store.entry(recording, seq)
        if entry is None or entry.event != "log" or not holds(entry.data):
            continue
        batch = _within(Batch.decode(entry.data), keep, (seq, seq + n), (low, high))
        if batch.seqs:
            matches += len(batch)
            yield b"event: log\ndata: " + batch.encode() + b"\n\n"
    yield event("done", to=str(low), matches=matches, looked=looked, lines=total, all=True)


def _within(batch: Batch, keep: Keep, numbers: tuple[int, int], times: tuple[int, int]) -> Batch:
    """Leave out what another entry has (idle ones are merged while this goes on), and what is not wanted."""
    found = [
        i for i in keep(batch) if numbers[0] <= batch.seqs[i] < numbers[1] and times[0] <= batch.times[i] <= times[1]
    ]
    return batch.take(found)


def _prefilter(patterns: tuple[str, ...]) -> Callable[[bytes], bool]:
    """Tell of a batch's bytes whether anything in it can match: most batches need not be decoded then."""
    tests = [test for pattern in patterns if (test := _bytes(pattern)) is not None]
    return lambda data: all(test(data) for test in tests)


def _bytes(pattern: str) -> Callable[[bytes], object] | None:
    fold = pattern.startswith("(?i)")
    text = _ESCAPED.sub(r"\1", pattern.removeprefix("(?i)"))
    # With a backslash left or added it would mean something; what JSON escapes stands there in another way.
    if _MEANS.search(_ESCAPED.sub("", pattern.removeprefix("(?i)"))) or not _PLAIN.match(text):
        return None
    if not fold:
        return _contains(text.encode())
    return re.compile(re.escape(text.encode()), re.IGNORECASE).search if text.isascii() else None


def _contains(needle: bytes) -> Callable[[bytes], bool]:
    return lambda data: needle in data


def main() -> None:
    """Do what the input asks for."""
    journal.begin()  # what fails here is in the server's log, without the line at which it did
    os.nice(5)  # kernels and the server come first
    asked = orjson.loads(sys.stdin.buffer.readline())
    with reading(asked["store"]) as store:
        query = LogQuery.parse(asked["query"]).among(store, asked["recording"])
        for told in search(store, asked["recording"], query, asked["most"]):
            sys.stdout.buffer.write(told)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
