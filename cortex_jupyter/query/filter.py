"""Which records of a batch a query wants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cortex_jupyter.model import STREAMS
from cortex_jupyter.parsing.level import LEVELS, level
from cortex_jupyter.query.sources import named

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from cortex_jupyter.model import Batch
    from cortex_jupyter.query.pattern import Finder
    from cortex_jupyter.query.sources import Runs

    #: Gives the positions of a batch's records that are wanted.
    Keep = Callable[[Batch], Sequence[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """A filter for `Feed.frames` and for pages: the positions of a batch that are wanted.

    Parameters
    ----------
    pod, container : str, optional
        Exact name or glob, or several with commas between: no Kubernetes name holds one.
    run : Runs, optional
        Which runs of containers.
    stream : str, optional
        One of `STREAMS`.
    level : str, optional
        The least of `LEVELS` that is wanted.
    grep, exclude : list of Finder
        Patterns of which each, none has to be in a text.
    where : list of callable
        Truthy for a text whose field is as it should be; each has to hold.

    Examples
    --------
    >>> from cortex_jupyter.query.pattern import finder
    >>> from cortex_jupyter.model import Batch
    >>> pods = {1: {"pod": "a-1", "container": "main"}, 2: {"pod": "b-1", "container": "main"}}
    >>> batch = Batch("d:job/a", [1, 2, 3], [5, 5, 6], [1, 2, 1], [0, 0, 0], ["x", "x", "y"], pods)
    >>> Filter(pod="a-*")(batch), Filter(pod="a-*", grep=[finder("grep", "y")])(batch), Filter(pod="a-1,b-1")(batch)
    ([0, 2], [2], range(0, 3))
    """

    pod: str | None = None
    container: str | None = None
    run: Runs | None = None
    stream: str | None = None
    level: str | None = None
    grep: Sequence[Finder] = ()
    exclude: Sequence[Finder] = ()
    where: Sequence[Callable[[str], object]] = ()

    def __call__(self, batch: Batch) -> Sequence[int]:
        """Give the positions, cheap tests first: the source once per batch, the level, which is dearest, last.

        Raises
        ------
        TooSlow
        """
        found: Sequence[int] = range(len(batch))
        if self.pod or self.container or self.run:
            sids = {id_ for id_, source in batch.sources.items() if self._from(source)}
            if len(sids) < len(batch.sources):
                found = [i for i, sid in enumerate(batch.sids) if sid in sids]
        if self.stream:
            code, streams = STREAMS.index(self.stream), batch.streams
            found = [i for i in found if streams[i] == code]
        texts = batch.texts
        for pattern in self.grep:
            found = pattern.among(texts, found)
        for wanted in self.where:
            found = [i for i in found if wanted(texts[i])]
        for pattern in self.exclude:
            unwanted = set(pattern.among(texts, found))
            found = [i for i in found if i not in unwanted]
        if self.level:
            levels: frozenset[str | None] = frozenset(LEVELS[LEVELS.index(self.level) :])
            if "info" in levels:
                levels |= {None}  # what a program prints is information
            found = [i for i in found if level(texts[i]) in levels]
        return found

    def _from(self, source: dict[str, Any]) -> bool:
        pod, container = source["pod"], source["container"]
        if not (named(pod, self.pod) and named(container, self.container)):
            return False
        return self.run is None or self.run.wants(pod, container, source.get("run", 0))
