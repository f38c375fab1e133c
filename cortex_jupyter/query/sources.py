"""Which sources a query wants: by the names of pod and container, and by the run.

The page has the same in js/src/text/sources.ts; tests/query/fixtures/sources.json is the table of both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import BadQuery

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    #: The runs that are recorded of each container, by pod and container, ascending.
    Recorded = Mapping[tuple[str, str], Sequence[int]]

_PART: Final = re.compile(r"(?:([^/]+)/([^/]+)/)?(-?\d{1,9}|\*)")


def named(name: str, wanted: str | None) -> bool:
    """Tell whether a name is wanted: any is where nothing is said, else by name or glob, several with commas between.

    Examples
    --------
    >>> named("train-0", "train-?"), named("train-0", "train"), named("train-0", "api,train-0"), named("train-0", None)
    (True, False, True, True)
    """
    return not wanted or any(fnmatchcase(name, one.strip()) for one in wanted.split(","))


@dataclass(frozen=True, slots=True)
class Runs:
    """Which runs of containers are wanted.

    Parameters
    ----------
    parts : tuple
        Glob of the pod, glob of the container, and the number of the run as Kubernetes counts restarts: 0 is the first.
        Negative ones count the recorded runs of the container from the newest: -2 is the run before it, which is what
        `kubectl logs --previous` gives. None is every run.
    recorded : mapping, optional
        What negative numbers are counted in.

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
        """Read numbers, each with `POD/CONTAINER/` before it or not, with commas between.

        Raises
        ------
        BadQuery
        """
        found = []
        for one in text.split(","):
            read = _PART.fullmatch(one.strip())
            if read is None:
                hint = "run=0 is the first run, run=-1 the newest, run=-2 the one before; run=POD/CONTAINER/0 is of one container"
                raise BadQuery(f"run={text[:60]!r} is no run", hint)
            pod, container, number = read.groups()
            found.append((pod or "*", container or "*", None if number == "*" else int(number)))
        return cls(tuple(found))

    @property
    def counted(self) -> bool:
        """Whether it is to be known which runs there are."""
        return self.recorded is not None or all(number is None or number >= 0 for *_, number in self.parts)

    def among(self, sources: Iterable[tuple[str, str, int]]) -> Runs:
        """Give the same, counted in these: pod, container and run of each."""
        found: dict[tuple[str, str], set[int]] = {}
        for pod, container, run in sources:
            found.setdefault((pod, container), set()).add(run)
        return Runs(self.parts, {name: sorted(runs) for name, runs in found.items()})

    def wants(self, pod: str, container: str, run: int) -> bool:
        """Tell whether one run is wanted."""
        return any(
            fnmatchcase(pod, of_pod) and fnmatchcase(container, of_container) and self._is(pod, container, run, number)
            for of_pod, of_container, number in self.parts
        )

    def _is(self, pod: str, container: str, run: int, number: int | None) -> bool:
        if number is None or number >= 0:
            return number is None or run == number
        assert self.recorded is not None, "it was not said which runs there are"
        runs = self.recorded.get((pod, container), ())
        if number == -1:  # and those that are yet to come
            return not runs or run >= runs[-1]
        return len(runs) >= -number and run == runs[number]
