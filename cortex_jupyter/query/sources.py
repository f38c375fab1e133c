"""Selection of sources by pod, container, role, rank, run and attempt.

js/src/text/sources.ts does the same in the page; tests/query/fixtures/sources.json holds both to the same answers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import BadQuery

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    #: The recorded runs of each container in ascending order, by pod and container.
    Recorded = Mapping[tuple[str, str], Sequence[int]]

_RANGE: Final = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")
_GLOB: Final = re.compile(r"[\d*?-]*[*?][\d*?-]*")
_ATTEMPT: Final = re.compile(r"-?\d{1,9}")
_PART: Final = re.compile(r"(?:([^/]+)/([^/]+)/)?(-?\d{1,9}|\*)")


def matches_name(name: str, selection: str | None) -> bool:
    """Return whether a name matches a selection: names or globs, separated by commas. No selection matches every name.

    Examples
    --------
    >>> matches_name("train-0", "train-?"), matches_name("train-0", "train"), matches_name("train-0", "api,train-0"), matches_name("train-0", None)
    (True, False, True, True)
    """
    return not selection or any(fnmatchcase(name, glob.strip()) for glob in selection.split(","))


@dataclass(frozen=True, slots=True)
class Runs:
    """A selection of runs of containers.

    Parameters
    ----------
    parts : tuple
        Glob of the pod, glob of the container, and the number of the run, which is Kubernetes' restart count: 0 is the first.
        Negative numbers count the container's recorded runs from the newest: -2 is the run before it, like `kubectl logs
        --previous`. None means every run.
    recorded : mapping, optional
        The recorded runs of each container in ascending order, by pod and container. Negative numbers count back in
        them. None if they are unknown.

    Examples
    --------
    >>> runs = Runs.parse("-2").among([("a", "main", 0), ("a", "main", 1), ("b", "main", 0)])
    >>> runs.wants("a", "main", 0), runs.wants("a", "main", 1), runs.wants("b", "main", 0)
    (True, False, False)
    >>> Runs.parse("0,a/main/2").wants("a", "main", 2)
    True
    """

    parts: tuple[tuple[str, str, int | None], ...]
    recorded: Recorded | None = None

    @classmethod
    def parse(cls, text: str) -> Runs:
        """Parse run numbers separated by commas, each optionally preceded by `POD/CONTAINER/`.

        Raises
        ------
        BadQuery
        """
        parts = []
        for part in text.split(","):
            match = _PART.fullmatch(part.strip())
            if match is None:
                hint = "run=0 is the first run, run=-1 the newest, run=-2 the one before; run=POD/CONTAINER/0 is of one container"
                raise BadQuery(f"run={text[:60]!r} is no run", hint)
            pod, container, number = match.groups()
            parts.append((pod or "*", container or "*", None if number == "*" else int(number)))
        return cls(tuple(parts))

    @property
    def counted(self) -> bool:
        """Whether the recorded runs are known, or no number is negative, so that `wants` can answer."""
        return self.recorded is not None or all(number is None or number >= 0 for *_, number in self.parts)

    def among(self, sources: Iterable[tuple[str, str, int]]) -> Runs:
        """Return the selection with negative numbers counted in these sources (pod, container, run)."""
        recorded: dict[tuple[str, str], set[int]] = {}
        for pod, container, run in sources:
            recorded.setdefault((pod, container), set()).add(run)
        return Runs(self.parts, {name: sorted(runs) for name, runs in recorded.items()})

    def wants(self, pod: str, container: str, run: int) -> bool:
        """Return whether the selection includes a run."""
        return any(
            fnmatchcase(pod, pod_glob)
            and fnmatchcase(container, container_glob)
            and self._includes(pod, container, run, number)
            for pod_glob, container_glob, number in self.parts
        )

    def _includes(self, pod: str, container: str, run: int, number: int | None) -> bool:
        if number is None or number >= 0:
            return number is None or run == number
        assert self.recorded is not None, "call `among` first: the recorded runs are unknown"
        return _counts_back(number, run, self.recorded.get((pod, container), ()))


@dataclass(frozen=True, slots=True)
class Ranks:
    """A selection of ranks.

    Parameters
    ----------
    ranges : tuple of (int, int)
        First and last number, both included. They are compared with the last number of a rank: 3 is rank `3`, and `2-3` in
        every group.
    globs : tuple of str
        Globs of a whole rank: `2-*` is group 2.

    Examples
    --------
    >>> ranks = Ranks.parse("0-3,7")
    >>> ranks.wants("2"), ranks.wants("7"), ranks.wants("5"), ranks.wants("1-3"), ranks.wants("")
    (True, True, False, True, False)
    >>> Ranks.parse("2-*").wants("2-0"), Ranks.parse("2-*").wants("0-2")
    (True, False)
    """

    ranges: tuple[tuple[int, int], ...]
    globs: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Ranks:
        """Parse numbers, ranges and globs, separated by commas.

        Raises
        ------
        BadQuery
        """
        ranges, globs = [], []
        for part in text.split(","):
            match = _RANGE.fullmatch(part.strip())
            first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
            if first > last or not (match or _GLOB.fullmatch(part.strip())):
                hint = "rank=0 is one rank, rank=0-3 are four of them, rank=0,8-15 are several; rank=2-* is group 2"
                raise BadQuery(f"rank={text[:60]!r} is no rank", hint)
            if match:
                ranges.append((first, last))
            else:
                globs.append(part.strip())
        return cls(tuple(ranges), tuple(globs))

    def wants(self, rank: str) -> bool:
        """Return whether the selection includes a rank. A source without a rank is in none."""
        if not rank:
            return False
        number = rank.rpartition("-")[2]
        return any(fnmatchcase(rank, glob) for glob in self.globs) or (
            number.isdecimal() and any(first <= int(number) <= last for first, last in self.ranges)
        )


@dataclass(frozen=True, slots=True)
class Attempts:
    """A selection of attempts.

    Parameters
    ----------
    numbers : tuple of int
        0 is the first attempt. Negative numbers count from the newest recorded attempt of each role and rank, because some
        kinds restart only a part of a task. A source without an attempt counts as the first.
    recorded : mapping, optional
        The recorded attempts in ascending order, by role and rank; negative numbers count back in this list.

    Examples
    --------
    >>> attempts = Attempts.parse("-1").among([("worker", "0", "0"), ("worker", "0", "1"), ("worker", "1", "0")])
    >>> attempts.wants("worker", "0", "0"), attempts.wants("worker", "0", "1"), attempts.wants("worker", "1", "0")
    (False, True, True)
    """

    numbers: tuple[int, ...]
    recorded: Mapping[tuple[str, str], Sequence[int]] | None = None

    @classmethod
    def parse(cls, text: str) -> Attempts:
        """Parse numbers separated by commas.

        Raises
        ------
        BadQuery
        """
        parts = [part.strip() for part in text.split(",")]
        if not all(map(_ATTEMPT.fullmatch, parts)):
            hint = "attempt=0 is the first attempt, attempt=-1 the newest, attempt=-2 the one before"
            raise BadQuery(f"attempt={text[:60]!r} is no attempt", hint)
        return cls(tuple(map(int, parts)))

    @property
    def counted(self) -> bool:
        """Whether the recorded attempts are known, or no number is negative, so that `wants` can answer."""
        return self.recorded is not None or min(self.numbers) >= 0

    def among(self, sources: Iterable[tuple[str, str, str]]) -> Attempts:
        """Return the selection with negative numbers counted in these sources (role, rank, attempt)."""
        recorded: dict[tuple[str, str], set[int]] = {}
        for role, rank, attempt in sources:
            recorded.setdefault((role, rank), set()).add(_number(attempt))
        return Attempts(self.numbers, {member: sorted(numbers) for member, numbers in recorded.items()})

    def wants(self, role: str, rank: str, attempt: str) -> bool:
        """Return whether the selection includes an attempt."""
        return any(self._includes(role, rank, _number(attempt), number) for number in self.numbers)

    def _includes(self, role: str, rank: str, attempt: int, number: int) -> bool:
        if number >= 0:
            return attempt == number
        assert self.recorded is not None, "call `among` first: the recorded attempts are unknown"
        return _counts_back(number, attempt, self.recorded.get((role, rank), ()))


def _number(attempt: str) -> int:
    return int(attempt) if attempt.isdecimal() else 0


def _counts_back(number: int, value: int, recorded: Sequence[int]) -> bool:
    """Return whether a negative number selects a value: -1 is the newest recorded one or a later one, -2 the one before."""
    if number == -1:
        return not recorded or value >= recorded[-1]
    return len(recorded) >= -number and value == recorded[number]
