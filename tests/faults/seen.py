"""What a reader got, and the judgement of it."""

from __future__ import annotations

import re
import sys
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from faults.oracle import Key, Line

Object = dict[str, Any]
_RUNS = re.compile(r"runs? (\d+)(?: to (\d+))? came and went")


class Seen:
    """Collects events, from whatever reader.

    Attributes
    ----------
    count : int
        Lines so far.
    doubled : int
        Numbers that came a second time, or late.
    holes : list of (int, int)
        First and last of the numbers that did not come; a filter may have left them out.
    gaps, notices : list of dict
    end : dict or None
    """

    def __init__(self) -> None:
        self._lines: dict[Key, dict[int, list[Line]]] = {}
        self._last = self._reached = 0
        self.count = self.doubled = 0
        self.holes: list[tuple[int, int]] = []
        self.gaps: list[Object] = []
        self.notices: list[Object] = []
        self.end: Object | None = None
        self._arrivals: dict[Key, list[float]] = {}

    def take(self, event: str, data: Object) -> None:
        """Take one event, its data as the contract has it."""
        if "seq" in data:
            first = int(data["seq"])
            if first > self._reached + 1:
                self.holes.append((self._reached + 1, first - 1))
            self._reached = max(self._reached, first - 1 + len(data.get("m", (1,))))
        if event == "log":
            self._batch(data)
        elif event == "gap":
            self.gaps.append(data)
        elif event == "end":
            self.end = data
        else:
            self.notices.append(data)

    def _batch(self, data: Object) -> None:
        first, t0, texts = data["seq"], int(data["t0"]), data["m"]
        numbers = [first + q for q in data["q"]] if "q" in data else range(first, first + len(texts))
        sources = {int(i): (s["pod"], s["container"], s["run"]) for i, s in data["sources"].items()}
        for number, sid, dt, text in zip(numbers, data["s"], data["dt"], texts, strict=True):
            self.doubled += number <= self._last
            self._last = max(self._last, number)
            self._lines.setdefault(sources[sid], {}).setdefault(sid, []).append((t0 + dt, text))
        self.count += len(texts)
        for sid in set(data["s"]):
            self._arrivals.setdefault(sources[sid], []).append(time.monotonic())

    def lines(self) -> dict[Key, list[Line]]:
        """Return the lines of each run; what was read later out of older files goes where it belongs."""
        return {key: _merged(list(found.values())) for key, found in self._lines.items()}

    def pause(self, since: float) -> float:
        """Return the longest time that a source was without a new line after a moment, seconds."""
        return max((_longest(since, arrivals) for arrivals in self._arrivals.values()), default=0.0)


def _merged(parts: list[list[Line]]) -> list[Line]:
    """Put parts of a run together by time, each kept in its own order: a file that a follow skipped lies between others."""
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


def judge(wrote: dict[Key, list[Line]], seen: Seen, form: Callable[[str], str] = str) -> int:
    """Check all that must hold, and give how many lines are missing, each within a gap that was stated.

    Lines are compared in a form of theirs.
    """
    assert seen.end is not None, "the end never came"
    assert not seen.doubled, f"{seen.doubled} numbers came twice"
    got = _formed(seen.lines(), form)
    wrote = _formed(wrote, form)
    assert got.keys() <= wrote.keys(), f"sources that never were: {got.keys() - wrote.keys()}"
    return sum(_judge(key, lines, got.get(key, []), seen.gaps) for key, lines in wrote.items())


def _formed(lines: dict[Key, list[Line]], form: Callable[[str], str]) -> dict[Key, list[Line]]:
    return {key: [(at, form(text)) for at, text in found] for key, found in lines.items()}


def _judge(key: Key, wrote: Sequence[Line], got: Sequence[Line], gaps: Sequence[Object]) -> int:
    stated = [(int(g["from"]), _until(g)) for g in gaps if _key(g) == key or _names(g, key)]
    missing = 0
    for first, last in _holes(key, wrote, got):
        covered = any(a <= wrote[first][0] and wrote[last][0] <= b for a, b in stated)
        assert covered, f"{key}: {last - first + 1} lines from {_short(wrote[first])} on are missing, gaps {stated}"
        missing += last - first + 1
    for a, b in stated:
        inside = [line for line in got if a < line[0] < b]
        assert not inside, f"{key}: {len(inside)} lines lie within a gap {a}..{b}, the first {_short(inside[0])}"
    return missing


def _holes(key: Key, wrote: Sequence[Line], got: Sequence[Line]) -> list[tuple[int, int]]:
    """Return first and last position of each run of missing lines."""
    if wrote == got:
        return []
    holes: list[tuple[int, int]] = []
    at = 0
    for number, line in enumerate([*got, None]):
        start = at
        while at < len(wrote) and wrote[at] != line:
            at += 1
        assert at < len(wrote) or line is None, f"{key}: doubled, out of order or invented: {number} {_short(line)}"
        if at > start:
            holes.append((start, at - 1))
        at += 1
    return holes


def _key(gap: Object) -> Key | None:
    source = gap.get("source")
    return (source["pod"], source["container"], source["run"]) if source else None


def _until(gap: Object) -> int:
    """Return up to where a gap reaches: where the end of a log is missing, a container may write on after its pod is gone."""
    open_ = "its pod was deleted before the end of its log" in gap["reason"]
    return sys.maxsize if open_ else int(gap["to"])


def _names(gap: Object, key: Key) -> bool:
    """Tell whether a gap names a run as one of those that came and went."""
    found = _RUNS.match(gap["reason"])
    where = _key(gap)
    return bool(found and where and where[:2] == key[:2] and int(found[1]) <= key[2] <= int(found[2] or found[1]))


def _short(line: Line | None) -> str:
    return f"{line[0]} {line[1][:60]!r}" if line else ""
