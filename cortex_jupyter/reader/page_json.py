"""A page of a recording as JSON of the HTTP contract (docs/reference/http.md), for HTTP handler and comm."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from cortex_jupyter.errors import BadQuery
from cortex_jupyter.query.instants import instant
from cortex_jupyter.reader.pages import Page, around, following, newest, onward
from cortex_jupyter.reader.state import completeness_of
from cortex_jupyter.reader.text import row

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.query.language import LogQuery
    from cortex_jupyter.reader.session import Recording
    from cortex_jupyter.store import RecordingInfo


def page(
    recording: Recording,
    query: LogQuery,
    info: RecordingInfo,
    task: dict[str, Any],
    at: int | None = None,
    reader_gone: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Read one page. It decodes and parses lines, so call it in a thread.

    Parameters
    ----------
    recording : Recording
    query : LogQuery
    info : RecordingInfo
        The recording's state before the page is read.
    task : dict
        As `reader.state.present` returns it.
    at : int, optional
        ns since the Unix epoch: the page lies around this moment.
    reader_gone : callable, optional
        Returns True when the reader has left.

    Raises
    ------
    CursorNotHeld, StoreError
    """
    store, id_ = recording.store, recording.id
    query = query.among(store, id_)
    window: dict[str, Any] = {"since": query.since, "until": query.until, "keep": query.keep()}
    bound, limit = query.bound(reader_gone), _limit(query)
    if at is not None:
        result = around(store, id_, at=at, limit=limit, keep=window["keep"], bound=bound)
    elif query.after is not None and query.after.before is not None:
        result = onward(store, id_, after=info.check(query.after), limit=limit, keep=window["keep"], bound=bound)
    elif query.after is not None:
        result = following(store, id_, after=info.check(query.after), limit=limit, **window, bound=bound)
    else:
        before = info.check(query.before) if query.before else None
        result = newest(store, id_, limit=limit, before=before, **window, bound=bound)
    return {
        "task": task,
        "records": [row(r.seq, r.time, r.source, r.stream, r.text) for r in result.records],
        "notices": allowed(recording, result.notices),
        "older": None if result.older is None else str(result.older),
        "newer": _newer(result, info),
        "stopped": result.stopped,
        "complete": completeness_of(store.complete(id_)) | {"done": info.done},
    }


def allowed(recording: Recording, notices: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the notices that the reader of a recording may see: events of Kubernetes need a right of their own."""
    return [n for n in notices if n.get("notice") != "event"] if "events" in recording.hidden else notices


def parse_moment(value: object, query: LogQuery) -> int | None:
    """Parse `at`, the moment around which a page lies.

    Raises
    ------
    BadQuery
        It is no time, or another parameter already says where the page lies.
    """
    if value is None:
        return None
    if query.before or query.after or query.tail is not None or "since" in query.raw or query.until is not None:
        raise BadQuery("at is given with another place", "at takes limit and filters; go on with `older` and `newer`")
    return instant("at", value, time.time_ns())


def _limit(query: LogQuery) -> int:
    max_records = query.bounds.page_records
    if query.tail is None:
        return min(query.limit, max_records)
    return min(query.tail, query.limit, max_records) if "limit" in query.raw else min(query.tail, max_records)


def _newer(result: Page, info: RecordingInfo) -> str | None:
    """Return the cursor forward; None if the task is over and has no newer records."""
    if result.newer is None or (info.done and result.newer.before is None and result.newer.seq >= info.last_seq):
        return None
    return str(result.newer)
