"""A page of a recording as the contract gives it (DESIGN section 4.1), for the HTTP handler and for the comm alike."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from cortex_jupyter.errors import BadQuery
from cortex_jupyter.query.instants import instant
from cortex_jupyter.reader.pages import Page, following, newest
from cortex_jupyter.reader.places import around, onward
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
    gone: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Read one page; it decodes and parses lines, so call it in a thread.

    Parameters
    ----------
    recording : Recording
    query : LogQuery
    info : RecordingInfo
        Of the recording, as it was before the page is read.
    task : dict
        What `reader.state.present` gives.
    at : int, optional
        ns since the epoch: the page lies around this moment.
    gone : callable, optional
        True when nobody waits for it any more.

    Raises
    ------
    CursorNotHeld, StoreError
    """
    store, id_ = recording.store, recording.id
    query = query.among(store, id_)
    window: dict[str, Any] = {"since": query.since, "until": query.until, "keep": query.keep()}
    bound, limit = query.bound(gone), _limit(query)
    if at is not None:
        found = around(store, id_, at=at, limit=limit, keep=window["keep"], bound=bound)
    elif query.after is not None and query.after.before is not None:
        found = onward(store, id_, after=info.check(query.after), limit=limit, keep=window["keep"], bound=bound)
    elif query.after is not None:
        found = following(store, id_, after=info.check(query.after), limit=limit, **window, bound=bound)
    else:
        before = info.check(query.before) if query.before else None
        found = newest(store, id_, limit=limit, before=before, **window, bound=bound)
    return {
        "task": task,
        "records": [row(r.seq, r.time, r.source, r.stream, r.text) for r in found.records],
        "notices": allowed(recording, found.notices),
        "older": None if found.older is None else str(found.older),
        "newer": _newer(found, info),
        "stopped": found.stopped,
        "complete": completeness_of(store.complete(id_)) | {"done": info.done},
    }


def allowed(recording: Recording, notices: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return those notices that the reader of a recording may see: events of Kubernetes have a right of their own."""
    return [n for n in notices if n.get("notice") != "event"] if "events" in recording.hidden else notices


def place(value: object, query: LogQuery) -> int | None:
    """Read `at`, the moment around which a page lies.

    Raises
    ------
    BadQuery
        It is no time, or a page is asked for in another way too.
    """
    if value is None:
        return None
    if query.before or query.after or query.tail is not None or "since" in query.raw or query.until is not None:
        raise BadQuery("at is given with another place", "at takes limit and filters; go on with `older` and `newer`")
    return instant("at", value, time.time_ns())


def _limit(query: LogQuery) -> int:
    most = query.bounds.page_records
    if query.tail is None:
        return min(query.limit, most)
    return min(query.tail, query.limit, most) if "limit" in query.raw else min(query.tail, most)


def _newer(found: Page, info: RecordingInfo) -> str | None:
    """Leave the way forward out where a task that is over has nothing more."""
    if found.newer is None or (info.done and found.newer.before is None and found.newer.seq >= info.last_seq):
        return None
    return str(found.newer)
