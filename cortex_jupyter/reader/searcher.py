"""A process that searches recordings backwards in time: `python -m cortex_jupyter.reader.searcher`.

Python's `re` holds the interpreter lock while it matches; in the server it would take that time from all other
requests. And a process can be ended when its reader leaves.

It reads one line of JSON from its input and writes server-sent events. Of one recording: `log` with the matches, newest
batches first; `progress`; at the end `done`. Of several recordings: the newest lines of each, and how many there are.
"""

from __future__ import annotations

import logging
import math
import os
import re
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import orjson

from cortex_jupyter.archive.store import ArchiveStore, nearest, open_readable
from cortex_jupyter.errors import CortexError, SearchFailed
from cortex_jupyter.model import AFTER_ALL, UNBOUNDED
from cortex_jupyter.query.bounds import Bounds
from cortex_jupyter.query.effort import max_safe_length
from cortex_jupyter.query.language import LogQuery
from cortex_jupyter.query.required_literals import literals_of_each
from cortex_jupyter.reader.process import event
from cortex_jupyter.reader.text import rows
from cortex_jupyter.store.scan import Scan, last_number, require_info
from cortex_jupyter.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cortex_jupyter.model import Batch
    from cortex_jupyter.store import Readable

_log = logging.getLogger(__name__)

#: Characters of a line that a search across tasks sends.
MAX_TEXT: Final = 32_768
#: Matches in one line that are marked.
_MAX_MARKS: Final = 20
#: After a task has sent its lines, the search counts further ones for this time (seconds).
_COUNT_S: Final = 1.0
#: Interval (seconds) of `progress` events: the reader sees that the search goes on, the server that it does not hang.
_PROGRESS_S: Final = 0.1
#: Text that JSON writes unescaped.
_UNESCAPED: Final = re.compile(r"[^\\\"\x00-\x1f]+\Z")
#: Characters with a meaning in a pattern.
_SPECIAL: Final = re.compile(r"[\\.^$*+?{}\[\]|()]")
#: Characters that stand for themselves after a backslash.
_ESCAPED: Final = re.compile(r"\\([^A-Za-z0-9])")


class Walk:
    """Walks through a recording backwards in time, and yields the lines that match.

    Parameters
    ----------
    store : Readable
    recording : int
    query : LogQuery
        Its `since`, `until`, `before` and filters are used.

    Attributes
    ----------
    to : int
        All lines later than this time (ns since the Unix epoch) have been searched.
    matches, looked, lines : int
        Numbers of lines that match, that were searched, and that there are.
    older : str or None
        After the end: the cursor where another walk continues; None if everything was searched.
    """

    def __init__(self, store: Readable, recording: int, query: LogQuery) -> None:
        self._may_match = _prefilter(query.grep)
        self._excluded = (
            store.archived(recording).batches_without(literals_of_each(query.grep))
            if isinstance(store, ArchiveStore)
            else set()
        )
        index = store.index(recording)
        self._start = query.before or require_info(store, recording).cursor(last_number(index))
        self._high = self._start.before or AFTER_ALL
        scan = Scan(store, recording, upto=self._start.seq, high=self._high, keep=query.keep())
        self._scan = scan.within(query.since, query.until)
        self._rows = [row for row in self._scan.by_time(index, newest_first=True) if row.event == "log"]
        self._since = query.since or 0
        self.to = self._rows[0].t_max if self._rows else self._since
        self.matches = self.looked = 0
        self.lines = sum(row.n for row in self._rows)
        self.older: str | None = None

    def batches(self, is_over: Callable[[], bool]) -> Iterator[Batch | None]:
        """Yield the matches, newest first, and None after each part of the recording that was searched.

        Parameters
        ----------
        is_over : callable
            Returns True to end the walk. It is asked before each part.
        """
        pending = _OrderedMatches()
        for row in self._rows:
            self.to = row.t_max
            for batch in pending.later_than(row.t_max):  # only these are final
                self.matches += len(batch)
                yield batch
            if is_over() and (row.t_max + 1, 0) < self._high:
                self.older = str(replace(self._start, before=(row.t_max + 1, 0)))
                return
            self.looked += row.n
            part = None if row.seq in self._excluded else self._scan.read(row)
            if part is not None and part.entry.event == "log" and self._may_match(part.entry.data):
                pending.add(self._scan.batch(part))
            yield None
        for batch in pending.later_than(-UNBOUNDED):
            self.matches += len(batch)
            yield batch
        self.to = self._since

    def progress(self) -> dict[str, str | int]:
        """Return how far the walk is, as an event has it."""
        return {"to": str(self.to), "matches": self.matches, "looked": self.looked, "lines": self.lines}


class _OrderedMatches:
    """Holds matches back until no later line can come, so that a search that stops can continue without a duplicate."""

    def __init__(self) -> None:
        self._held: list[Batch] = []

    def add(self, batch: Batch | None) -> None:
        if batch is not None:
            self._held.append(batch)

    def later_than(self, time: int) -> Iterator[Batch]:
        """Yield the matches later than a time, and hold the rest back."""
        batches, self._held = self._held, []
        for batch in batches:
            late = [i for i, t in enumerate(batch.times) if t > time]
            if len(late) < len(batch):
                self.add(batch.take([i for i, t in enumerate(batch.times) if t <= time]))
            if late:
                yield batch if len(late) == len(batch) else batch.take(late)


def search(store: Readable, recording: int, query: LogQuery, max_matches: int) -> Iterator[bytes]:
    """Yield the matches in one recording as events, newest first.

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
    walk, bound, last_progress = Walk(store, recording, query), query.bound(), 0.0
    for batch in walk.batches(lambda: walk.matches >= max_matches or (walk.looked > 0 and bound.over)):
        if batch is not None:
            yield b"event: log\ndata: " + batch.encode() + b"\n\n"
        elif time.monotonic() - last_progress > _PROGRESS_S:
            last_progress = time.monotonic()
            yield event("progress", **walk.progress())
    yield event("done", **walk.progress(), all=walk.older is None, older=walk.older)


def search_tasks(targets: Sequence[dict[str, Any]], query: LogQuery, max_lines: int) -> Iterator[bytes]:
    """Yield the newest matches in each of several recordings as events, recording after recording.

    Parameters
    ----------
    targets : sequence of dict
        `task` (its key), `recording`, `store` and `archive` (URLs; the second may be None) of each.
    query : LogQuery
        Its `since`, `until`, filters and bounds are used. Its time limit counts for each recording.
    max_lines : int
        Maximum number of lines of each task. Further ones are counted, for a short time.

    Yields
    ------
    bytes
        Whole events; `reader.search.task_matches` explains them.
    """
    total, with_matches, is_exact = 0, 0, True
    marks, last_progress = _Marks(query), 0.0
    with ExitStack() as stack:
        open_once = cache(lambda url: stack.enter_context(open_readable(url)))
        for searched, target in enumerate(targets):
            task, matches, is_whole, problem = target["task"], 0, False, None
            try:
                store = _place(target, open_once)
                for lines, matches, is_whole in _newest_matches(store, target["recording"], query, max_lines):  # noqa: B007 - counted below
                    if lines:
                        yield event("lines", task=task, records=[_cut(row, marks) for row in lines])
                    if time.monotonic() - last_progress > _PROGRESS_S:
                        last_progress = time.monotonic()
                        yield event("progress", task=task, searched=searched, matches=total + matches)
            except CortexError as error:
                problem = error.as_dict()
            except Exception:  # noqa: BLE001 - a broken recording must not stop the search in the others
                _log.exception("the search in %s failed", task)
                problem = SearchFailed("the search in this task failed").as_dict()
            is_whole = is_whole and problem is None
            total, with_matches, is_exact = total + matches, with_matches + bool(matches), is_exact and is_whole
            yield event("task", task=task, matches=matches, all=is_whole, **({"error": problem} if problem else {}))
    yield event("done", tasks=len(targets), with_matches=with_matches, matches=total, all=is_exact)


def _place(target: dict[str, Any], open_once: Callable[[str], Readable]) -> Readable:
    """Return where a recording is read: in the store, or the archive if it has left the store or is quicker to search."""
    store = open_once(target["store"])
    archive = open_once(target["archive"]) if target["archive"] else None
    if archive is not None and store.info(target["recording"]) is None:
        return archive
    return nearest(store, archive, target["recording"])


def _newest_matches(
    store: Readable, recording: int, query: LogQuery, max_lines: int
) -> Iterator[tuple[list[dict[str, Any]], int, bool]]:
    """Yield further records, newest first, the current number of matches, and whether everything was searched."""
    if isinstance(store, ArchiveStore) and not store.archived(recording).may_hold(
        query.since, query.until, query.level
    ):
        yield [], 0, True  # by its manifest; the file is not opened
        return
    walk, bound = Walk(store, recording, query.among(store, recording)), query.bound()
    left, count_until = max_lines, math.inf

    def is_over() -> bool:
        return walk.looked > 0 and (bound.over or time.monotonic() > count_until)

    group: list[Batch] = []  # pods write at the same time, so the newest lines may be in several batches
    for batch in walk.batches(is_over):
        if batch is not None:
            group.append(batch)
            continue
        lines, group = _newest(group, left), []
        left -= len(lines)
        if not left and count_until == math.inf:
            count_until = time.monotonic() + _COUNT_S
        yield lines, walk.matches, False
    yield _newest(group, left), walk.matches, walk.older is None


def _newest(batches: Sequence[Batch], count: int) -> list[dict[str, Any]]:
    """Return the newest records of some batches, newest first."""
    newest: list[tuple[tuple[int, int], dict[str, Any]]] = []
    for batch in batches if count else ():
        places = [(batch.times[i], batch.seqs[i]) for i in range(len(batch))]
        order = sorted(range(len(batch)), key=places.__getitem__, reverse=True)[:count]
        newest += zip([places[i] for i in order], rows(batch.take(order)), strict=True)
    return [record for _, record in sorted(newest, key=itemgetter(0), reverse=True)[:count]]


def _cut(row: dict[str, Any], marks: _Marks) -> dict[str, Any]:
    """Return a record with the places of its matches, and without the rest of a very long line."""
    text = row["text"]
    length = {"length": len(text)} if len(text) > MAX_TEXT else {}
    return row | {"text": text[:MAX_TEXT], "marks": marks.of(text[:MAX_TEXT])} | length


class _Marks:
    """Finds the places of a query's patterns in a line."""

    def __init__(self, query: LogQuery) -> None:
        self._patterns = [(re.compile(p), max_safe_length(p, MAX_TEXT)) for p in query.grep]

    def of(self, text: str) -> list[tuple[int, int]]:
        """Return beginnings and ends of the first matches; none of a pattern that could take long."""
        spans = (
            match.span()
            for pattern, safe in self._patterns
            if len(text) <= safe
            for match in islice(pattern.finditer(text), _MAX_MARKS)
        )
        return sorted(span for span in spans if span[0] < span[1])


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


def _answer(request: dict[str, Any], query: LogQuery) -> Iterator[bytes]:
    if "targets" in request:
        yield from search_tasks(request["targets"], query, request["max_lines"])
        return
    recording = request["recording"]
    with open_readable(request["store"]) as store:
        yield from search(store, recording, query.among(store, recording), request["max_matches"])


def main() -> None:
    """Answer the question on the standard input."""
    logs.begin()  # an error goes to the server's log, without the log line that caused it
    os.nice(5)  # kernels and the server come first
    request = orjson.loads(sys.stdin.buffer.readline())
    try:
        query = replace(LogQuery.parse(request["query"]), bounds=Bounds(**request["bounds"]))
        for piece in _answer(request, query):
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
    except CortexError as error:
        sys.stdout.buffer.write(event("error", **error.as_dict()))


if __name__ == "__main__":
    main()
