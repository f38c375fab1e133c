"""A process that searches one recording backwards in time: `python -m cortex_jupyter.reader.searcher`.

Python's `re` holds the interpreter lock while it matches; in the server it would take that time from all other
requests. And a process can be ended when its reader leaves.

It reads one line of JSON from its input and writes server-sent events: `log` with the matches, newest batches first;
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
from cortex_jupyter.model import AFTER_ALL, UNBOUNDED
from cortex_jupyter.query.bounds import Bounds
from cortex_jupyter.query.language import LogQuery
from cortex_jupyter.query.required_literals import literals_of_each
from cortex_jupyter.reader.process import event
from cortex_jupyter.store.scan import Scan, last_number, require_info
from cortex_jupyter.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cortex_jupyter.model import Batch
    from cortex_jupyter.store import Readable

#: Interval (seconds) of `progress` events: the reader sees that the search goes on, the server that it does not hang.
_PROGRESS_S: Final = 0.1
#: Text that JSON writes unescaped.
_UNESCAPED: Final = re.compile(r"[^\\\"\x00-\x1f]+\Z")
#: Characters with a meaning in a pattern.
_SPECIAL: Final = re.compile(r"[\\.^$*+?{}\[\]|()]")
#: Characters that stand for themselves after a backslash.
_ESCAPED: Final = re.compile(r"\\([^A-Za-z0-9])")


def search(store: Readable, recording: int, query: LogQuery, max_matches: int) -> Iterator[bytes]:
    """Yield the matches as events, newest first.

    Parameters
    ----------
    store : Readable
    recording : int
    query : LogQuery
        Its `since`, `until`, `before`, filters and bounds are used.
    max_matches : int
        The search ends after this many matches.

    Yields
    ------
    bytes
        Whole events. `progress` and `done` hold `to` (ns as a string; all later lines have been searched), and the numbers
        of lines that match (`matches`), that were searched (`looked`), and that there are (`lines`). `done` also holds
        `all`, whether everything was searched. If not, another search continues from the cursor `older`.
    """
    may_match = _prefilter(query.grep)
    excluded = (
        store.archived(recording).batches_without(literals_of_each(query.grep))
        if isinstance(store, ArchiveStore)
        else set()
    )
    index = store.index(recording)
    start_cursor = query.before or require_info(store, recording).cursor(last_number(index))
    high = start_cursor.before or AFTER_ALL
    scan = Scan(store, recording, upto=start_cursor.seq, high=high, keep=query.keep()).within(query.since, query.until)
    rows = [row for row in scan.by_time(index, newest_first=True) if row.event == "log"]
    bound, pending, total, lines_read, last_progress = (
        query.bound(),
        _OrderedMatches(),
        sum(row.n for row in rows),
        0,
        0.0,
    )
    for row in rows:
        to = str(row.t_max)
        yield from pending.later_than(row.t_max)  # only these are final
        now = time.monotonic()
        over = (pending.matches >= max_matches or (lines_read and bound.over)) and (row.t_max + 1, 0) < high
        if over or now - last_progress > _PROGRESS_S:
            last_progress = now
            yield event("progress", to=to, matches=pending.matches, looked=lines_read, lines=total)
        if over:
            older = str(replace(start_cursor, before=(row.t_max + 1, 0)))
            yield event("done", to=to, matches=pending.matches, looked=lines_read, lines=total, all=False, older=older)
            return
        lines_read += row.n
        part = None if row.seq in excluded else scan.read(row)
        if part is None or part.entry.event != "log" or not may_match(part.entry.data):
            continue
        if (batch := scan.batch(part)) is not None:
            pending.add(batch)
    yield from pending.later_than(-UNBOUNDED)
    yield event(
        "done", to=str(query.since or 0), matches=pending.matches, looked=lines_read, lines=total, all=True, older=None
    )


class _OrderedMatches:
    """Holds matches back until no later line can come, so that a search that stops can continue without a duplicate."""

    def __init__(self) -> None:
        self.matches = 0
        self._held: list[Batch] = []

    def add(self, batch: Batch) -> None:
        self._held.append(batch)

    def later_than(self, time: int) -> Iterator[bytes]:
        """Yield the events of matches later than a time, and hold the rest back."""
        batches, self._held = self._held, []
        for batch in batches:
            late = [i for i, t in enumerate(batch.times) if t > time]
            if len(late) < len(batch):
                self.add(batch.take([i for i, t in enumerate(batch.times) if t <= time]))
            if late:
                self.matches += len(late)
                yield (
                    b"event: log\ndata: " + (batch if len(late) == len(batch) else batch.take(late)).encode() + b"\n\n"
                )


def _prefilter(patterns: tuple[str, ...]) -> Callable[[bytes], bool]:
    """Return a test of a batch's bytes: whether it can match. Most batches need not be decoded then."""
    tests = [test for pattern in patterns if (test := _byte_test(pattern)) is not None]
    return lambda data: all(test(data) for test in tests)


def _byte_test(pattern: str) -> Callable[[bytes], object] | None:
    """Return a test for a pattern that is plain text; None for any other pattern."""
    fold = pattern.startswith("(?i)")
    text = _ESCAPED.sub(r"\1", pattern.removeprefix("(?i)"))
    # A pattern is not tested in bytes if a character in it has a meaning, or is one that JSON escapes.
    if _SPECIAL.search(_ESCAPED.sub("", pattern.removeprefix("(?i)"))) or not _UNESCAPED.match(text):
        return None
    if not fold:
        return _contains(text.encode())
    return re.compile(re.escape(text.encode()), re.IGNORECASE).search if text.isascii() else None


def _contains(needle: bytes) -> Callable[[bytes], bool]:
    return lambda data: needle in data


def main() -> None:
    """Answer the question on the standard input."""
    logs.begin()  # an error goes to the server's log, without the log line that caused it
    os.nice(5)  # kernels and the server come first
    request = orjson.loads(sys.stdin.buffer.readline())
    try:
        with open_readable(request["store"]) as store:
            query = replace(LogQuery.parse(request["query"]), bounds=Bounds(**request["bounds"]))
            for piece in search(
                store, request["recording"], query.among(store, request["recording"]), request["max_matches"]
            ):
                sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
    except CortexError as error:
        sys.stdout.buffer.write(event("error", **error.as_dict()))


if __name__ == "__main__":
    main()
