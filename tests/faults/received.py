"""The lines that a reader received, a client that receives them as SSE, and the check against what was written."""

from __future__ import annotations

import json
import re
import sys
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from support.jupyter import Jupyter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from faults.oracle import Key, Line

Object = dict[str, Any]
_RUNS = re.compile(r"runs? (\d+)(?: to (\d+))? came and went")


class Received:
    """Collects the events of one reader.

    Attributes
    ----------
    count : int
        Number of lines so far.
    duplicates : int
        Number of `seq` values that came a second time, or out of order.
    missing_numbers : list of (int, int)
        First and last of each range of `seq` that did not come; a filter may have left them out.
    gaps, notices : list of dict
    end : dict or None
    """

    def __init__(self) -> None:
        self._lines: dict[Key, dict[int, list[Line]]] = {}
        self._last = self._reached = 0
        self.count = self.duplicates = 0
        self.missing_numbers: list[tuple[int, int]] = []
        self.gaps: list[Object] = []
        self.notices: list[Object] = []
        self.end: Object | None = None
        self._arrivals: dict[Key, list[float]] = {}

    def add_event(self, event: str, data: Object) -> None:
        """Add an event with its data, in the format of the SSE contract."""
        if "seq" in data:
            first = int(data["seq"])
            if first > self._reached + 1:
                self.missing_numbers.append((self._reached + 1, first - 1))
            self._reached = max(self._reached, first - 1 + len(data.get("m", (1,))))
        if event == "log":
            self._add_batch(data)
        elif event == "gap":
            self.gaps.append(data)
        elif event == "end":
            self.end = data
        else:
            self.notices.append(data)

    def _add_batch(self, data: Object) -> None:
        first, t0, texts = data["seq"], int(data["t0"]), data["m"]
        numbers = [first + q for q in data["q"]] if "q" in data else range(first, first + len(texts))
        sources = {int(i): (s["pod"], s["container"], s["run"]) for i, s in data["sources"].items()}
        for number, sid, dt, text in zip(numbers, data["s"], data["dt"], texts, strict=True):
            self.duplicates += number <= self._last
            self._last = max(self._last, number)
            self._lines.setdefault(sources[sid], {}).setdefault(sid, []).append((t0 + dt, text))
        self.count += len(texts)
        for sid in set(data["s"]):
            self._arrivals.setdefault(sources[sid], []).append(time.monotonic())

    def lines(self) -> dict[Key, list[Line]]:
        """Return the lines of each run in file order; lines that were read later from rotated files are merged in by time."""
        return {key: _merged(list(parts.values())) for key, parts in self._lines.items()}

    def longest_pause(self, since: float) -> float:
        """Return the longest time without a new line from a source after the time `since` (seconds)."""
        return max((_longest(since, arrivals) for arrivals in self._arrivals.values()), default=0.0)


class SseClient:
    """An SSE client that remembers its cursor and keeps an incomplete event.

    An event is complete when its empty line has come. What a broken connection left of an event comes again.
    """

    def __init__(self, received: Received, task: str) -> None:
        self.received, self._path, self._rest, self.cursor = received, Jupyter.path(task), b"", ""

    @property
    def target(self) -> str:
        """The path and query of the next request."""
        cursor = {"cursor": self.cursor} if self.cursor else {}
        return f"{self._path}?" + urlencode({"follow": "true", "since": "all"} | cursor)

    def feed(self, data: bytes) -> None:
        """Add bytes of the answer."""
        *blocks, self._rest = (self._rest + data).split(b"\n\n")
        for block in blocks:
            fields = dict(line.partition(b": ")[::2] for line in block.split(b"\n") if not line.startswith(b":"))
            if b"data" in fields:
                self.received.add_event(fields[b"event"].decode(), json.loads(fields[b"data"]))
            self.cursor = fields.get(b"id", b"").decode() or self.cursor

    def drop_incomplete(self) -> None:
        """Drop the incomplete event that a broken connection left."""
        self._rest = b""

    def read(self, server: Jupyter, max_bytes: int | None = None) -> None:
        """Read from the cursor to the end, or at most `max_bytes`, then close the connection."""
        self.drop_incomplete()
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        with server.client.stream("GET", self.target, headers=headers) as response:
            assert response.status_code == 200, response.read()
            for chunk in response.iter_raw():
                self.feed(chunk if max_bytes is None else chunk[:max_bytes])
                max_bytes = None if max_bytes is None else max_bytes - len(chunk)
                if max_bytes is not None and max_bytes <= 0:
                    return


def _merged(parts: list[list[Line]]) -> list[Line]:
    """Merge the parts of a run by time; each part keeps its order, even if its times do not ascend."""
    if len(parts) == 1:
        return parts[0]
    keyed: list[tuple[int, int, int, Line]] = []
    for number, part in enumerate(parts):
        latest = 0
        for i, line in enumerate(part):
            latest = max(latest, line[0])
            keyed.append((latest, number, i, line))
    return [line for *_, line in sorted(keyed)]


def _longest(since: float, arrivals: list[float]) -> float:
    times = [max(since, arrivals[0]), *(a for a in arrivals if a > since)]
    return max((b - a for a, b in pairwise(times)), default=0.0)


def check_received(written: dict[Key, list[Line]], received: Received, normalize: Callable[[str], str] = str) -> int:
    """Check that each written line was received once and in order, or lies in a stated gap; return how many are missing.

    Lines are compared after `normalize`.
    """
    assert received.end is not None, "no end event came"
    assert not received.duplicates, f"{received.duplicates} numbers came twice or out of order"
    lines_received = _normalized(received.lines(), normalize)
    written = _normalized(written, normalize)
    assert lines_received.keys() <= written.keys(), (
        f"lines of sources that wrote none: {lines_received.keys() - written.keys()}"
    )
    return sum(_check(key, lines, lines_received.get(key, []), received.gaps) for key, lines in written.items())


def _normalized(lines: dict[Key, list[Line]], normalize: Callable[[str], str]) -> dict[Key, list[Line]]:
    return {key: [(at, normalize(text)) for at, text in run_lines] for key, run_lines in lines.items()}


def _check(key: Key, written: Sequence[Line], received: Sequence[Line], gaps: Sequence[Object]) -> int:
    stated = [(int(g["from"]), _end_of(g)) for g in gaps if _key(g) == key or _names_run(g, key)]
    missing = 0
    for first, last in _missing_ranges(key, written, received):
        covered = any(a <= written[first][0] and written[last][0] <= b for a, b in stated)
        assert covered, f"{key}: {last - first + 1} lines from {_short(written[first])} on are missing, gaps {stated}"
        missing += last - first + 1
    for a, b in stated:
        lines_in_gap = [line for line in received if a < line[0] < b]
        assert not lines_in_gap, (
            f"{key}: {len(lines_in_gap)} lines lie within a gap {a}..{b}, the first {_short(lines_in_gap[0])}"
        )
    return missing


def _missing_ranges(key: Key, written: Sequence[Line], received: Sequence[Line]) -> list[tuple[int, int]]:
    """Return the first and last position of each range of missing lines."""
    if written == received:
        return []
    ranges: list[tuple[int, int]] = []
    position = 0
    for number, line in enumerate([*received, None]):
        start = position
        while position < len(written) and written[position] != line:
            position += 1
        assert position < len(written) or line is None, (
            f"{key}: duplicate, out of order, or never written: {number} {_short(line)}"
        )
        if position > start:
            ranges.append((start, position - 1))
        position += 1
    return ranges


def _key(gap: Object) -> Key | None:
    source = gap.get("source")
    return (source["pod"], source["container"], source["run"]) if source else None


def _end_of(gap: Object) -> int:
    """Return the end of a gap (ns); a gap at the end of a log has none, because a container may write after its pod was deleted."""
    is_open_ended = "its pod was deleted before the end of its log" in gap["reason"]
    return sys.maxsize if is_open_ended else int(gap["to"])


def _names_run(gap: Object, key: Key) -> bool:
    """Whether a gap names a run as one that came and went unseen."""
    match = _RUNS.match(gap["reason"])
    source_key = _key(gap)
    return bool(
        match and source_key and source_key[:2] == key[:2] and int(match[1]) <= key[2] <= int(match[2] or match[1])
    )


def _short(line: Line | None) -> str:
    return f"{line[0]} {line[1][:60]!r}" if line else ""
