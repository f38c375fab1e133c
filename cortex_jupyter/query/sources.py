"""Selection of sources by the names of pod and container, and by the run.

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
        runs = self.recorded.get((pod, container), ())
        if number == -1:  # also runs that will come later
            return not runs or run >= runs[-1]
        return len(runs) >= -number and run == runs[number]
