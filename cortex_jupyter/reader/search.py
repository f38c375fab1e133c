"""Search a whole recording, newest matches first, for the HTTP handler and for the comm.

A process of its own (`reader.searcher`) does the work, and ends with its reader.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.errors import BadQuery, SearchFailed
from cortex_jupyter.model import rfc3339
from cortex_jupyter.query.language import NAMES, LogQuery
from cortex_jupyter.reader.process import EndedEarlyError, event, output

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from cortex_jupyter.reader.session import Recording

#: Parameters that narrow a search.
FILTERS: Final = frozenset(NAMES) - {"follow", "tail", "limit", "after", "timestamps", "pretty"}
#: A search stops after this many matches and says so: no user reads more.
_MAX_MATCHES: Final = 10_000
#: Parameters that bound where to search, and are no filter.
_PLACES: Final = frozenset({"since", "until", "before"})
#: A process that is silent for this time (seconds) hangs; patterns that run away are stopped before.
_SILENCE_S: Final = 60.0


async def matches(recording: Recording, query: LogQuery, max_matches: int = _MAX_MATCHES) -> AsyncGenerator[bytes]:
    """Yield the events of `reader.searcher.search`, in pieces as they come.

    Parameters
    ----------
    recording : Recording
    query : LogQuery
    max_matches : int, optional
        The search ends after this many matches.

    Yields
    ------
    bytes
        A pattern that takes too long ends with an `error` event that names it.
    """
    request = {
        "store": recording.store.url,
        "recording": recording.id,
        "query": raw_query(query),
        "max_matches": max_matches,
        "bounds": asdict(query.bounds),
    }
    async with aclosing(run_searcher(request)) as pieces:
        async for piece in pieces:
            yield piece


async def run_searcher(request: dict[str, Any]) -> AsyncGenerator[bytes]:
    """Yield the events of a searcher process (`reader.searcher`), and an `error` event if it ends early."""
    try:
        async with aclosing(output("cortex_jupyter.reader.searcher", request, _SILENCE_S)) as pieces:
            async for piece in pieces:
                yield piece
    except (EndedEarlyError, TimeoutError):
        yield event("error", **SearchFailed("the search ended early").as_dict())


def raw_query(query: LogQuery) -> dict[str, str | list[str]]:
    """Return the parameters again, with durations as times: time must not pass while the process starts."""
    raw = {k: v for k, v in query.raw.items() if k in FILTERS}
    for name in ("since", "until"):
        if (value := getattr(query, name)) is not None:
            raw[name] = rfc3339(value)
    return raw


def parse_search(values: dict[str, Any]) -> LogQuery:
    """Parse a request for a search.

    Raises
    ------
    BadQuery
        A parameter is wrong, or there is no filter.
    """
    query = LogQuery.parse(values, allowed=FILTERS)
    if not (FILTERS - _PLACES) & query.raw.keys():
        raise BadQuery(
            "the search has no filter",
            "give grep, exclude, where, level, stream, pod, container, role, rank, run or attempt",
        )
    return query
