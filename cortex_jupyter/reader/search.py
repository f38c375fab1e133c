"""A filter over a whole recording, newest matches first, for the HTTP handler and for the comm alike.

The work is done by a process of its own (`reader.searcher`), which ends with its reader.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.errors import BadQuery
from cortex_jupyter.model import rfc3339
from cortex_jupyter.query.language import LogQuery
from cortex_jupyter.reader.process import EndedEarlyError, event, output

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from cortex_jupyter.reader.session import Recording

#: What a search may be narrowed by.
FILTERS: Final = frozenset(
    {"since", "until", "before", "pod", "container", "run", "stream", "level", "grep", "exclude", "where"}
)
#: Matches after which it stops and says so: nobody reads more.
_MOST: Final = 10_000
#: What bounds where it looks, and is no filter.
_PLACES: Final = frozenset({"since", "until", "before"})
#: Without a word for so long, seconds, it has hung; patterns that run away are stopped before.
_DEAF_S: Final = 60.0


async def matches(recording: Recording, query: LogQuery, most: int = _MOST) -> AsyncGenerator[bytes]:
    """Search a recording; the events of `reader.searcher.search`, in pieces as they come.

    Parameters
    ----------
    recording : Recording
    query : LogQuery
    most : int, optional
        Matches after which it ends.

    Yields
    ------
    bytes
        A pattern that runs away ends with an `error` event that names it.
    """
    ask = {
        "store": recording.store.url, "recording": recording.id, "query": _raw(query), "most": most,
        "bounds": asdict(query.bounds),
    }  # fmt: skip
    try:
        async with aclosing(output("cortex_jupyter.reader.searcher", ask, _DEAF_S)) as pieces:
            async for piece in pieces:
                yield piece
    except (EndedEarlyError, TimeoutError):
        yield event("error", code="SearchFailed", message="the search ended early", hint="the server's log says why")


def _raw(query: LogQuery) -> dict[str, str | list[str]]:
    """Give the parameters again: durations have become times, which do not pass while the process starts."""
    raw = {k: v for k, v in query.raw.items() if k in FILTERS}
    for name in ("since", "until"):
        if (value := getattr(query, name)) is not None:
            raw[name] = rfc3339(value)
    return raw


def asked(values: dict[str, Any]) -> LogQuery:
    """Read what is searched for.

    Raises
    ------
    BadQuery
        A parameter is wrong, or there is no filter.
    """
    query = LogQuery.parse(values, allowed=FILTERS)
    if not (FILTERS - _PLACES) & query.raw.keys():
        raise BadQuery("nothing is searched for", "give grep, exclude, where, level, stream, pod, container or run")
    return query
