"""A page of a recording as `GET .../logs` answers it, for the comm."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.parsing.query import LogQuery
from cortex_jupyter.recording.pages import following, newest
from cortex_jupyter.server.state import completeness, present
from cortex_jupyter.server.text import row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cortex_jupyter.recording.open import Recording, Recordings
    from cortex_jupyter.recording.pages import Page

_ALLOWED: Final = frozenset(
    {"since", "until", "limit", "before", "after", "pod", "container", "stream", "level", "grep", "exclude"}
)


async def page(recordings: Recordings, recording: Recording, values: Mapping[str, Any]) -> dict[str, Any]:
    """Give one page.

    Parameters
    ----------
    recordings : Recordings
    recording : Recording
    values : mapping
        The parameters of the request.

    Raises
    ------
    BadQuery, CursorNotHeld
    """
    query = LogQuery.parse(values, allowed=_ALLOWED)
    store, id_ = recording.store, recording.id

    def read() -> Page:
        window: dict[str, Any] = {"since": query.since, "until": query.until, "keep": query.keep()}
        if query.after is not None:
            return following(store, id_, after=query.after.check(id_), limit=query.limit, **window)
        before = query.before.check(id_) if query.before else None
        return newest(store, id_, limit=query.limit, before=before, **window)

    found = await asyncio.to_thread(read)
    info = await recording.info()
    over = info.done and found.newer is not None and found.newer.seq >= info.last_seq
    return {
        "task": await present(recordings.cluster, recording, info),
        "records": [row(r.seq, r.time, r.source, r.stream, r.text) for r in found.records],
        "notices": found.notices,
        "older": None if found.older is None else str(found.older),
        "newer": None if found.newer is None or over else str(found.newer),
        "complete": await completeness(store, id_) | {"done": info.done},
    }
