"""A process that searches one recording backward in time: `python -m cortex_jupyter.reader.searcher`.

Python's `re` holds the interpreter's lock while it matches, so in the server every line that is tested would be time
taken from kernels. This process can be ended.

It reads one line of JSON from its input and writes Server-Sent Events: `log` with what matches, newest batches first;
`progress`; at the end `done`.
"""

from __future__ import annotations

import os
import re
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import orjson

from cortex_jupyter.archive.store import ArchiveStore, open_readable
from cortex_jupyter.errors import CortexError
from cortex_jupyter.model import Batch
from cortex_jupyter.query.bounds import Bounds
from cortex_jupyter.query.language import LogQuery
from cortex_jupyter.query.required_literals import of_each
from cortex_jupyter.reader.process import event
from cortex_jupyter.reader.snapshot import held
from cortex_jupyter.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cortex_jupyter.query.filter import Keep
    from cortex_jupyter.store import Readable

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
        `since`, `until`, `before`, the filters and its bounds count.
    most : int
        Ends after so many matches.

    Yields
    ------
    bytes
        Whole events. `progress` and `done` say back to which time everything has been searched (`to`, ns as a
        string), how many lines match, how many were looked at, and how many there are; `done` also whether that is
        `all`, and otherwise `older`, the cursor from which another search goes on.
    """
    keep = query.keep() or (lambda batch: range(len(batch)))
    holds = _prefilter(query.grep)
    lacking = (
        store.archived(recording).batches_without(of_each(query.grep)) if isinstance(store, ArchiveStore) else set()
    )
    index = store.index(recording)
    place = query.before or held(store, recording).cursor(index[-1][0] + index[-1][1] - 1 if index else 0)
    snapshot = place.seq
    top = query.before.before if query.before and query.before.before else (1 << 63, 0)
    low, high = query.since or 0, min(top[0], query.until if query.until is not None else 1 << 63)
    rows = [r for r in index if r[2] == "log" and r[0] <= snapshot and r[4] >= low and r[3] <= high]
    # Entries overlap in time where several pods write: what is later than the latest line of the next one is done.
    rows.sort(key=lambda row: -row[4])
    bound, told, total, looked, at = query.bound(), _Told(), sum(row[1] for row in rows), 0, 0.0
    for seq, n, _, _, t_max in rows:
        yield from told.later_than(t_max)
        now = time.monotonic()
        over = (told.matches >= most or (looked and bound.over)) and (t_max + 1, 0) < top
        if over or now - at > _TELL_S:
            at = now
            yield event("progress", to=str(t_max), matches=told.matches, looked=looked, lines=total)
        if over:
            older = str(replace(place, before=(t_max + 1, 0)))
            yield event("done", to=str(t_max), matches=told.matches, looked=looked, lines=total, all=False, older=older)
            return
        looked += n
        if seq in lacking:
            continue
        entry = store.entry(recording, seq)
        if entry is None or entry.event != "log" or not holds(entry.data):
            continue
        batch = _within(Batch.decode(entry.data), keep, (seq, min(seq + n, snapshot + 1)), (low, high), top)
        told.found(batch)
    yield from told.later_than(-1)
    yield event("done", to=str(low), matches=told.matches, looked=looked, lines=total, all=True, older=None)


class _Told:
    """What was found, told when no later line can come: so a search that stops goes on with what was not told."""

    def __init__(self) -> None:
        self.matches = 0
        self._held: list[Batch] = []

    def found(self, batch: Batch) -> None:
        if batch.seqs:
            self._held.append(batch)

    def later_than(self, time: int) -> Iterator[bytes]:
        """Give the events of what is later, and keep the rest."""
        held, self._held = self._held, []
        for batch in held:
            late = [i for i, t in enumerate(batch.times) if t > time]
            if len(late) < len(batch):
                self.found(batch.take([i for i, t in enumerate(batch.times) if t <= time]))
            if late:
                self.matches += len(late)
                yield (
                    b"event: log\ndata: " + (batch if len(late) == len(batch) else batch.take(late)).encode() + b"\n\n"
                )


def _within(batch: Batch, keep: Keep, numbers: tuple[int, int], times: tuple[int, int], top: tuple[int, int]) -> Batch:
    """Leave out what another entry has (idle ones are merged while this goes on), and what is not wanted."""
    seqs, ats = batch.seqs, batch.times
    return batch.take([
        i for i in keep(batch)
        if numbers[0] <= seqs[i] < numbers[1] and times[0] <= ats[i] <= times[1] and (ats[i], seqs[i]) < top
    ])  # fmt: skip


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
    logs.begin()  # what fails here is in the server's log, without the line at which it did
    os.nice(5)  # kernels and the server come first
    asked = orjson.loads(sys.stdin.buffer.readline())
    try:
        with open_readable(asked["store"]) as store:
            query = replace(LogQuery.parse(asked["query"]), bounds=Bounds(**asked["bounds"]))
            for told in search(store, asked["recording"], query.among(store, asked["recording"]), asked["most"]):
                sys.stdout.buffer.write(told)
                sys.stdout.buffer.flush()
    except CortexError as error:
        sys.stdout.buffer.write(event("error", **error.as_dict()))


if __name__ == "__main__":
    main()
