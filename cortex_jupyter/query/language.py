"""The query language: one definition for HTTP, the command line and Python (docs/reference/tasks-and-queries.md)."""

from __future__ import annotations

import difflib
import time
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from cortex_jupyter.errors import BadQuery
from cortex_jupyter.model import Cursor, rfc3339
from cortex_jupyter.parsing.level import LEVELS, parse_levels
from cortex_jupyter.query.bounds import LIMIT, MAX_LIMIT, Bound, Bounds
from cortex_jupyter.query.conditions import conditions, holds
from cortex_jupyter.query.filter import Filter
from cortex_jupyter.query.instants import calendar, duration, instant
from cortex_jupyter.query.pattern import finder
from cortex_jupyter.query.sources import Attempts, Ranks, Runs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cortex_jupyter.model import Source
    from cortex_jupyter.query.filter import RowFilter
    from cortex_jupyter.query.tracebacks import Tracebacks

#: The parameters, in the order of their documentation.
NAMES: Final = (
    "follow",
    "since",
    "until",
    "tail",
    "limit",
    "before",
    "after",
    "pod",
    "container",
    "role",
    "rank",
    "run",
    "attempt",
    "stream",
    "level",
    "grep",
    "exclude",
    "where",
    "timestamps",
    "pretty",
)
#: Parameters that may occur several times (in Python: as a list). A line must satisfy each of them.
SEVERAL: Final = ("grep", "exclude", "where")
#: Maximum number of these in a query, because each may use its full time for each batch.
_MAX_PATTERNS: Final = 50

#: A query with one of these has no default window: a run, for instance, may have ended long before any window.
_WINDOWED: Final = frozenset({"since", "before", "after", "run", "attempt"})

_TRUE, _FALSE = frozenset({"", "1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})


class SourceStore(Protocol):
    """The part of a store that a query needs."""

    def sources(self, recording: int, /) -> Mapping[int, tuple[Source, object]]:
        """Return the sources of a recording by id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """A query: the records to return, and how to write them.

    Parameters
    ----------
    follow : bool
        Continue with new records.
    since, until : int or None
        Window (ns since the Unix epoch), both ends inclusive; None for no bound.
    tail : int or None
        Only this many records, the newest.
    limit : int
        Maximum number of records of a page.
    before, after : Cursor or None
        Where a page begins.
    pod, container, role : str or None
        Exact name or glob (`train-*`), or several separated by commas.
    rank : Ranks or None
        Ranks of sources: `3`, `0-3`, `2-*`. Several are separated by commas.
    run : Runs or None
        Runs of containers: `0` is the first, `-1` the newest (and later ones), `-2` the one before the newest, like `kubectl
        logs --previous`. `POD/CONTAINER/0` means one container. Several are separated by commas.
    attempt : Attempts or None
        Attempts of the task: `0` is the first, `-1` the newest (and later ones). Several are separated by commas.
    stream : str or None
        `stdout` or `stderr`. Before Kubernetes 1.32 the stream is unknown, so such lines match neither.
    level : str or None
        The lowest level to include; `info,error` or `=info` for exactly these. Lines without a level count as `info`.
    grep, exclude : tuple of str
        Regular expressions that a line must contain, or must not contain; see `query.pattern` for their limits.
    where : tuple of str
        Conditions on fields, such as `status>=500`; see `query.conditions`.
    timestamps, pretty : bool
        For text: write each line's time; spread JSON over several lines.
    numbers : sequence of int or None
        Ascending numbers (`seq`): only records with these. It is no parameter; parts of a log in Python have it.
    tracebacks : Tracebacks or None
        The lines of tracebacks, which have the traceback's level in `level`. It is no parameter; logs in Python have it.
    bounds : Bounds
        Limits on answering the query.
    raw : dict
        The parameters as the caller wrote them, as strings or lists of strings. Days, times of day and typed values of
        `since` and `until` are RFC 3339 times and durations.
    """

    follow: bool = False
    since: int | None = None
    until: int | None = None
    tail: int | None = None
    limit: int = LIMIT
    before: Cursor | None = None
    after: Cursor | None = None
    pod: str | None = None
    container: str | None = None
    role: str | None = None
    rank: Ranks | None = None
    run: Runs | None = None
    attempt: Attempts | None = None
    stream: str | None = None
    level: str | None = None
    grep: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    timestamps: bool = False
    pretty: bool = False
    numbers: Sequence[int] | None = field(default=None, hash=False)
    tracebacks: Tracebacks | None = field(default=None, compare=False)
    bounds: Bounds = field(default=Bounds(), compare=False)
    raw: Mapping[str, str | list[str]] = field(default_factory=dict, compare=False)

    @classmethod
    def parse(
        cls,
        values: Mapping[str, object],
        *,
        default_since: str = "all",
        now: int | None = None,
        allowed: frozenset[str] | None = None,
    ) -> Self:
        """Parse and check parameters.

        Parameters
        ----------
        values : mapping
            Strings as in a URL, or typed values: bool, int, timedelta, datetime, Cursor; lists of strings for `SEVERAL`. None
            means that a parameter is absent; so does an empty string, except for the switches.
        default_since : str, optional
            The window if there is neither `since`, nor a cursor, nor a run or an attempt.
        now : int, optional
            Durations count back from this time (ns since the Unix epoch).
        allowed : frozenset of str, optional
            The names that may occur. A name that is not a parameter of a query belongs to the caller and is ignored.

        Raises
        ------
        BadQuery
            A parameter is unknown or invalid.

        Examples
        --------
        >>> query = LogQuery.parse({"since": "2s", "level": "warn", "follow": "true"}, now=5_000_000_000)
        >>> query.since, query.level, query.follow
        (3000000000, 'warning', True)
        >>> LogQuery.parse({"contaner": "main"})
        Traceback (most recent call last):
        cortex_jupyter.errors.BadQuery: there is no parameter 'contaner'
        <BLANKLINE>
        hint: did you mean 'container'?
        """
        names = allowed if allowed is not None else frozenset(NAMES)
        for name in values:
            if name not in names:
                raise _unknown(name, names)
        present = {
            k: v
            for k, v in values.items()
            if k in NAMES and v is not None and (v != "" or k in ("follow", "timestamps", "pretty"))
        }
        now = time.time_ns() if now is None else now
        read: dict[str, Any] = {k: _READ[k](k, v) for k, v in present.items() if k in _READ}
        if "since" in present:
            read["since"] = instant("since", present["since"], now)
        if "until" in present:
            read["until"] = instant("until", present["until"], now, read.get("since"))
        if not _WINDOWED & present.keys():
            read["since"] = instant("since", default_since, now)
        raw = {k: _raw(v) for k, v in present.items()}
        # A saved query means the same on another day, and to readers that know only durations and RFC 3339.
        raw |= {k: _raw_instant(k, present[k], read[k], now) for k in ("since", "until") if k in present}
        query = cls(**read, raw=raw)
        query._check()
        return query

    def with_default_since(self, since: str, now: int | None = None) -> Self:
        """Return the query with another default window, if the user has not chosen one."""
        if _WINDOWED & self.raw.keys():
            return self
        return replace(self, since=instant("since", since, time.time_ns() if now is None else now))

    def ahead(self, by: int) -> Self:
        """Return the query with its durations counted back from a clock that is ahead by this many ns.

        Examples
        --------
        >>> query = LogQuery.parse({"since": "2s"}, now=5_000_000_000)
        >>> query.ahead(1_000_000_000).since
        4000000000
        """
        moved = {
            name: value + by
            for name in ("since", "until")
            if (value := getattr(self, name)) is not None and duration(str(self.raw.get(name, "0s"))) is not None
        }
        return replace(self, **moved) if moved and by else self

    def among(self, store: SourceStore, recording: int) -> Self:
        """Return the query for one recording: negative numbers now count from its newest run or attempt. This may read the store."""
        run, attempt = self.run, self.attempt
        if (run is None or run.counted) and (attempt is None or attempt.counted):
            return self
        sources = [source for source, _ in store.sources(recording).values()]
        return replace(
            self,
            run=run and run.among((s.pod, s.container, s.run) for s in sources),
            attempt=attempt and attempt.among((s.role, s.rank, s.attempt) for s in sources),
        )

    def sources(self, store: SourceStore, recording: int) -> list[Source]:
        """Return the sources of a recording whose lines the query may return."""
        of_source = Filter(
            pod=self.pod,
            container=self.container,
            role=self.role,
            rank=self.rank,
            run=self.run,
            attempt=self.attempt,
        )
        return [source for source, _ in store.sources(recording).values() if of_source.includes(source.public)]

    def keep(self) -> RowFilter | None:
        """Return the filter for batches; None if every record matches.

        Patterns are compiled here, once. Call the filter in a thread, because it decodes and matches.
        """
        of_source = (self.pod, self.container, self.role, self.rank, self.run, self.attempt)
        if self.numbers is None and not any((*of_source, self.stream, self.level, self.grep, self.exclude, self.where)):
            return None
        seconds = self.bounds.pattern_s
        return Filter(
            pod=self.pod,
            container=self.container,
            role=self.role,
            rank=self.rank,
            run=self.run,
            attempt=self.attempt,
            stream=self.stream,
            level=self.level,
            grep=[finder("grep", pattern, seconds) for pattern in self.grep],
            exclude=[finder("exclude", pattern, seconds) for pattern in self.exclude],
            where=[holds(condition) for text in self.where for condition in conditions(text)],
            numbers=self.numbers,
            tracebacks=self.tracebacks,
        )

    def window(self) -> dict[str, str]:
        """Return `since` and `until` as the viewer's page reads them: a duration, `all`, or both ends as RFC 3339 times.

        Examples
        --------
        >>> LogQuery.parse({"since": "10m"}).window(), LogQuery.parse({}).window()
        ({'since': '10m'}, {})
        >>> LogQuery.parse({"since": "2s", "until": "1s"}, now=5_000_000_000).window()
        {'since': '1970-01-01T00:00:03.000000000Z', 'until': '1970-01-01T00:00:04.000000000Z'}
        """
        if self.until is None:
            return {name: str(value) for name, value in self.raw.items() if name == "since"}
        return {"since": "all" if self.since is None else rfc3339(self.since), "until": rfc3339(self.until)}

    def stated(self) -> dict[str, str | list[str]]:
        """Return the query as files and tables state it: the parameters, and of a part of a log its numbers.

        Examples
        --------
        >>> replace(LogQuery.parse({"tail": 5}), numbers=[11, 12, 13]).stated()
        {'tail': '5', 'numbers': '11-13 (3)'}
        """
        if (numbers := self.numbers) is None:
            return dict(self.raw)
        return {**self.raw, "numbers": f"{numbers[0]}-{numbers[-1]} ({len(numbers)})" if numbers else "none"}

    def narrowed(self, start: int, stop: int | None) -> tuple[int, int | None]:
        """Return the part of a range of numbers (`start <= seq < stop`) that may hold wanted records."""
        if self.numbers is None:
            return start, stop
        if not self.numbers:
            return start, start
        end = self.numbers[-1] + 1
        return max(start, self.numbers[0]), end if stop is None else min(stop, end)

    def bound(self, reader_gone: Callable[[], bool] = lambda: False) -> Bound:
        """Return the bound of a page or a tail that begins now; `reader_gone` returns True when its reader has left."""
        return Bound.within(self.bounds.query_s, self.bounds.page_size, reader_gone)

    def _check(self) -> None:
        if self.before and self.after:
            raise BadQuery("both before and after are given", "a page goes back or forward, not both")
        if self.tail is not None and (self.before or self.after):
            raise BadQuery("tail is given with a cursor", "tail is for the newest records; with a cursor use limit")
        if self.since is not None and self.until is not None and self.since > self.until:
            raise BadQuery("since is later than until", "the window is from since to until")
        if len(self.grep) + len(self.exclude) + len(self.where) > _MAX_PATTERNS:
            raise BadQuery(f"there are more than {_MAX_PATTERNS} patterns and conditions", "join patterns with |")
        self.keep()  # checks the patterns before any work is done


def _unknown(name: str, names: frozenset[str]) -> BadQuery:
    similar = difflib.get_close_matches(name, sorted(names), 1)
    hint = f"did you mean {similar[0]!r}?" if similar else f"parameters are {', '.join(n for n in NAMES if n in names)}"
    return BadQuery(f"there is no parameter {name[:60]!r}", hint)


def _raw(value: object) -> str | list[str]:
    if isinstance(value, list | tuple):
        return str(value[0]) if len(value) == 1 else [str(item) for item in value]
    return _text(value)


def _raw_instant(name: str, value: object, ns: int | None, now: int) -> str:
    """Return a value of `since` or `until`, which means `ns`, as a duration, an RFC 3339 time or `all`."""
    if isinstance(value, timedelta) and value >= timedelta():
        return f"{value / timedelta(seconds=1):.6f}".rstrip("0").rstrip(".") + "s"
    if ns is not None and (not isinstance(value, str) or calendar(name, value, now) is not None):
        return rfc3339(ns)
    return str(value).strip()


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _switch(name: str, value: object) -> bool:
    text = _text(value).strip().lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise BadQuery(f"{name}={str(value)[:60]!r} is neither true nor false", f"write {name}=true or {name}=false")


def _count(name: str, value: object) -> int:
    text = _text(value).strip()
    minimum, maximum = (1, MAX_LIMIT) if name == "limit" else (0, 1 << 53)
    number = int(text) if text.lstrip("+-").isdecimal() and len(text) < 20 else None  # int() is bounded
    if number is None or not minimum <= number <= maximum:
        expected = f"a number from {minimum} to {maximum}" if name == "limit" else "a number, 0 or more"
        more = "; `newer` and `older` lead to the other pages" if number is not None and number > maximum else ""
        raise BadQuery(f"{name}={text[:60]!r} is not {expected}", f"{name} is {expected}{more}")
    return number


def _cursor(_: str, value: object) -> Cursor:
    return value if isinstance(value, Cursor) else Cursor.parse(str(value))


def _word(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise BadQuery(f"{name}={str(value)[:60]!r} is not a string", f"write {name} as a string")
    return value


def _numbers(parse: Callable[[str], object], name: str, value: object) -> object:
    return parse(_word(name, str(value) if isinstance(value, int) and not isinstance(value, bool) else value))


def _words(name: str, value: object) -> tuple[str, ...]:
    items = value if isinstance(value, list | tuple) else [value]
    return tuple(word for item in items if (word := _word(name, item)))


def _stream(_: str, value: object) -> str:
    choice = str(value).strip().lower()
    if choice not in ("stdout", "stderr"):
        raise BadQuery(f"stream={str(value)[:60]!r} is no stream", "stream is one of stdout, stderr")
    return choice


def _levels(_: str, value: object) -> str:
    levels = parse_levels(str(value).strip())
    if levels is None:
        hint = f"levels are {', '.join(LEVELS)}; write info,error or =info for exactly these"
        raise BadQuery(f"level={str(value)[:60]!r} is no level", hint)
    return levels


_READ: Final[dict[str, Callable[[str, object], Any]]] = {
    "follow": _switch,
    "timestamps": _switch,
    "pretty": _switch,
    "tail": _count,
    "limit": _count,
    "before": _cursor,
    "after": _cursor,
    "pod": _word,
    "container": _word,
    "role": _word,
    "rank": partial(_numbers, Ranks.parse),
    "run": partial(_numbers, Runs.parse),
    "attempt": partial(_numbers, Attempts.parse),
    "grep": _words,
    "exclude": _words,
    "where": _words,
    "stream": _stream,
    "level": _levels,
}
