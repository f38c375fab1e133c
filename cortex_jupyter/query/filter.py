"""The filter that a query applies to each batch."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cortex_jupyter.model import STREAMS
from cortex_jupyter.parsing.level import higher_level, level, levels_of
from cortex_jupyter.query.sources import matches_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cortex_jupyter.model import Batch, PublicSource
    from cortex_jupyter.query.pattern import Finder
    from cortex_jupyter.query.sources import Attempts, Ranks, Runs
    from cortex_jupyter.query.tracebacks import Tracebacks

    #: Returns the positions of the records of a batch that match.
    RowFilter = Callable[[Batch], Sequence[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """The filter of a query, as a `RowFilter`.

    Parameters
    ----------
    pod, container, role : str, optional
        Exact name or glob, or several separated by commas, which no Kubernetes name contains.
    rank : Ranks, optional
        Ranks of sources.
    run : Runs, optional
        Runs of containers.
    attempt : Attempts, optional
        Attempts of the task.
    stream : str, optional
        One of `STREAMS`.
    level : str, optional
        The levels to include, as `parse_levels` writes them.
    grep, exclude : list of Finder
        Patterns that a text must all contain, and patterns that it must not contain.
    where : list of callable
        Conditions on fields; a text must pass them all.
    numbers : sequence of int, optional
        Ascending numbers (`seq`) of records: only these.
    tracebacks : Tracebacks, optional
        Gives the lines of tracebacks the traceback's level. Without it, each line has its own level.

    Examples
    --------
    >>> from cortex_jupyter.query.pattern import finder
    >>> from cortex_jupyter.model import Batch
    >>> pods = {1: {"pod": "a-1", "container": "main"}, 2: {"pod": "b-1", "container": "main"}}
    >>> batch = Batch("d:job/a", [1, 2, 3], [5, 5, 6], [1, 2, 1], [0, 0, 0], ["x", "x", "y"], pods)
    >>> Filter(pod="a-*")(batch), Filter(pod="a-*", grep=[finder("grep", "y")])(batch), Filter(pod="a-1,b-1")(batch)
    ([0, 2], [2], range(0, 3))
    >>> Filter(pod="a-*", numbers=[1, 2])(batch)
    [0]
    """

    pod: str | None = None
    container: str | None = None
    role: str | None = None
    rank: Ranks | None = None
    run: Runs | None = None
    attempt: Attempts | None = None
    stream: str | None = None
    level: str | None = None
    grep: Sequence[Finder] = ()
    exclude: Sequence[Finder] = ()
    where: Sequence[Callable[[str], object]] = ()
    numbers: Sequence[int] | None = None
    tracebacks: Tracebacks | None = None

    def __call__(self, batch: Batch) -> Sequence[int]:
        """Return the positions that match. Cheap tests come first (the source, once per batch); the level costs most.

        Raises
        ------
        TooSlow
        """
        rows: Sequence[int] = range(len(batch))
        if (numbers := self.numbers) is not None and rows:
            seqs = batch.seqs
            wanted = set(numbers[bisect_left(numbers, seqs[0]) : bisect_right(numbers, seqs[-1])])
            rows = [i for i in rows if seqs[i] in wanted]
        if self.pod or self.container or self.role or self.rank or self.run or self.attempt:
            sids = {id_ for id_, source in batch.sources.items() if self.includes(source)}
            if len(sids) < len(batch.sources):
                sid_of = batch.sids
                rows = [i for i in rows if sid_of[i] in sids]
        if self.stream:
            code, streams = STREAMS.index(self.stream), batch.streams
            rows = [i for i in rows if streams[i] == code]
        texts = batch.texts
        for pattern in self.grep:
            rows = pattern.among(texts, rows)
        for condition in self.where:
            rows = [i for i in rows if condition(texts[i])]
        for pattern in self.exclude:
            excluded = set(pattern.among(texts, rows))
            rows = [i for i in rows if i not in excluded]
        if self.level:
            levels = frozenset(levels_of(self.level))
            of_tracebacks = self.tracebacks.levels(batch) if self.tracebacks is not None else {}
            rows = [i for i in rows if (higher_level(level(texts[i]), of_tracebacks.get(i)) or "") in levels]
        return rows

    def includes(self, source: PublicSource) -> bool:
        """Return whether lines of a source may match."""
        pod, container = source["pod"], source["container"]
        if not (matches_name(pod, self.pod) and matches_name(container, self.container)):
            return False
        role, rank = source.get("role", ""), source.get("rank", "")
        if not matches_name(role, self.role) or (self.rank is not None and not self.rank.wants(rank)):
            return False
        if self.attempt is not None and not self.attempt.wants(role, rank, source.get("attempt", "")):
            return False
        return self.run is None or self.run.wants(pod, container, source.get("run", 0))
