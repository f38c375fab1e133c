"""The query of `logs`: one definition for HTTP, the CLI and Python (DESIGN section 4.1)."""

from __future__ import annotations

import difflib
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from cortex_jupyter.errors import BadQuery
from cortex_jupyter.model import Cursor
from cortex_jupyter.parsing.level import ALIASES, LEVELS
from cortex_jupyter.query.bounds import LIMIT, MOST, Bound, Bounds
from cortex_jupyter.query.conditions import conditions, holds
from cortex_jupyter.query.filter import Filter
from cortex_jupyter.query.instants import duration, instant
from cortex_jupyter.query.pattern import finder
from cortex_jupyter.query.sources import Runs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cortex_jupyter.model import Source
    from cortex_jupyter.query.filter import Keep

#: The parameters, in the order in which they are documented.
NAMES: Final = (
    "follow", "since", "until", "tail", "limit", "before", "after", "pod", "container", "run", "stream", "level",
    "grep", "exclude", "where", "timestamps", "pretty",
)  # fmt: skip
#: Those of them that may be given several times, as a list in Python; each has to hold.
SEVERAL: Final = ("grep", "exclude", "where")
#: So often at most, all together: each may take its time for each batch.
_EACH: Final = 50

#: With one of these no default window holds; a run that is asked for may have ended long before any.
_WINDOWED: Final = frozenset({"since", "before", "after", "run"})

_TRUE, _FALSE = frozenset({"", "1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})


class SourceStore(Protocol):
    """A store of recordings, as far as a query has to read it."""

    def sources(self, recording: int, /) -> Mapping[int, tuple[Source, object]]:
        """Give the sources of a recording by id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """Which records are asked for, and how they are written.

    Parameters
    ----------
    follow : bool
        Go on with what is yet to come.
    since, until : int or None
        ns since the epoch, both inclusive; None for no bound.
    tail : int or None
        Only that many of the newest.
    limit : int
        Records of a page.
    before, after : Cursor or None
        Where a page begins.
    pod, container : str or None
        Exact name, or a glob (`train-*`), or several with commas between.
    run : Runs or None
        Which runs of containers: `0` is the first, `-1` the newest (and those to come), `-2` the one before it, which is what
        `kubectl logs --previous` gives; `POD/CONTAINER/0` is of one container; several with commas between.
    stream : str or None
        `stdout` or `stderr`. Kubernetes before 1.32 does not tell; such lines are in neither.
    level : str or None
        At least this level. Lines of which none can be told count as `info`: what a program prints is information.
    grep, exclude : tuple of str
        Regular expressions that a line must, must not contain; see `query.pattern` for their bounds.
    where : tuple of str
        Conditions on fields, `status>=500`; see `query.conditions`.
    timestamps, pretty : bool
        For text: with each line's time; JSON lines spread out.
    bounds : Bounds
        What answering it may take.
    raw : dict
        The parameters as they were given, as strings; lists of them where there are several.
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
    run: Runs | None = None
    stream: str | None = None
    level: str | None = None
    grep: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    timestamps: bool = False
    pretty: bool = False
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
        """Read and check parameters.

        Parameters
        ----------
        values : mapping
            Strings as in a URL, or typed: bool, int, timedelta, datetime, Cursor; lists of strings for `SEVERAL`. None and (but for the switches) an
            empty string mean that it is not given.
        default_since : str, optional
            What holds where `since` is not given and no cursor and no run is.
        now : int, optional
            ns since the epoch, for durations.
        allowed : frozenset of str, optional
            The names that may occur here. Those that are no parameter of a query are the caller's and ignored.

        Raises
        ------
        BadQuery
            What is wrong, and how it should be.

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
        given = {
            k: v for k, v in values.items()
            if k in NAMES and v is not None and (v != "" or k in ("follow", "timestamps", "pretty"))
        }  # fmt: skip
        now = time.time_ns() if now is None else now
        read: dict[str, Any] = {k: _READ[k](k, v) for k, v in given.items() if k in _READ}
        read |= {k: instant(k, given[k], now) for k in ("since", "until") if k in given}
        if not _WINDOWED & given.keys():
            read["since"] = instant("since", default_since, now)
        query = cls(**read, raw={k: _raw(v) for k, v in given.items()})
        query._check()
        return query

    def with_default_since(self, since: str, now: int | None = None) -> Self:
        """Give the query with another window, where none was asked for."""
        if _WINDOWED & self.raw.keys():
            return self
        return replace(self, since=instant("since", since, time.time_ns() if now is None else now))

    def ahead(self, by: int) -> Self:
        """Give the query with its durations counted back from a clock that is so many ns ahead.

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
        """Give the query for one recording: what counts its runs from the newest is counted now; it may read the store."""
        if self.run is None or self.run.counted:
            return self
        sources = [source for source, _ in store.sources(recording).values()]
        return replace(self, run=self.run.among((s.pod, s.container, s.run) for s in sources))

    def keep(self) -> Keep | None:
        """Give the filter for `Feed.frames` and for pages, None where nothing is filtered.

        It decodes and matches, so it is to be called from a thread. What it needs is compiled here, once.
        """
        if not any((self.pod, self.container, self.run, self.stream, self.level, self.grep, self.exclude, self.where)):
            return None
        seconds = self.bounds.pattern_s
        return Filter(
            pod=self.pod,
            container=self.container,
            run=self.run,
            stream=self.stream,
            level=self.level,
            grep=[finder("grep", one, seconds) for one in self.grep],
            exclude=[finder("exclude", one, seconds) for one in self.exclude],
            where=[holds(one) for text in self.where for one in conditions(text)],
        )

    def bound(self, gone: Callable[[], bool] = lambda: False) -> Bound:
        """Give the bound of a page, or of a tail, that is looked for from now on, until whoever asked is gone."""
        return Bound.within(self.bounds.query_s, self.bounds.page_size, gone)

    def _check(self) -> None:
        if self.before and self.after:
            raise BadQuery("both before and after are given", "a page goes back or forward, not both")
        if self.tail is not None and (self.before or self.after):
            raise BadQuery("tail is given with a cursor", "tail is for the newest records; with a cursor use limit")
        if self.since is not None and self.until is not None and self.since > self.until:
            raise BadQuery("since is later than until", "the window is from since to until")
        if len(self.grep) + len(self.exclude) + len(self.where) > _EACH:
            raise BadQuery(f"there are more than {_EACH} patterns and conditions", "join patterns by |")
        self.keep()  # patterns are checked here, before anything is done


def _unknown(name: str, names: frozenset[str]) -> BadQuery:
    near = difflib.get_close_matches(name, sorted(names), 1)
    hint = f"did you mean {near[0]!r}?" if near else f"parameters are {', '.join(n for n in NAMES if n in names)}"
    return BadQuery(f"there is no parameter {name[:60]!r}", hint)


def _raw(value: object) -> str | list[str]:
    if isinstance(value, list | tuple):
        return str(value[0]) if len(value) == 1 else [str(one) for one in value]
    return _text(value)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _switch(name: str, value: object) -> bool:
    text = _text(value).strip().lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise BadQuery(f"{name}={str(value)[:60]!r} is neither true nor false", f"write {name}=true or {name}=false")


def _count(name: str, value: object) -> int:
    text = _text(value).strip()
    least, most = (1, MOST) if name == "limit" else (0, 1 << 53)
    number = int(text) if text.lstrip("+-").isdecimal() and len(text) < 20 else None  # noqa: PLR2004 - int() is bounded
    if number is None or not least <= number <= most:
        what = f"a number from {least} to {most}" if name == "limit" else "a number, 0 or more"
        more = "; `newer` and `older` lead to the other pages" if number is not None and number > most else ""
        raise BadQuery(f"{name}={text[:60]!r} is not {what}", f"{name} is {what}{more}")
    return number


def _cursor(_: str, value: object) -> Cursor:
    return value if isinstance(value, Cursor) else Cursor.parse(str(value))


def _word(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise BadQuery(f"{name}={str(value)[:60]!r} is no text", f"give {name} as a string")
    return value


def _runs(name: str, value: object) -> Runs:
    return Runs.parse(_word(name, str(value) if isinstance(value, int) and not isinstance(value, bool) else value))


def _words(name: str, value: object) -> tuple[str, ...]:
    several = value if isinstance(value, list | tuple) else [value]
    return tuple(word for one in several if (word := _word(name, one)))


def _choice(name: str, value: object) -> str:
    known = {"stdout": "stdout", "stderr": "stderr"} if name == "stream" else ALIASES
    found = known.get(str(value).strip().lower())
    if found is None:
        words = ("stdout", "stderr") if name == "stream" else LEVELS
        raise BadQuery(f"{name}={str(value)[:60]!r} is no {name}", f"{name} is one of {', '.join(words)}")
    return found


_READ: Final = {
    "follow": _switch, "timestamps": _switch, "pretty": _switch, "tail": _count, "limit": _count,
    "before": _cursor, "after": _cursor, "pod": _word, "container": _word, "run": _runs, "grep": _words,
    "exclude": _words, "where": _words, "stream": _choice, "level": _choice,
}  # fmt: skip
