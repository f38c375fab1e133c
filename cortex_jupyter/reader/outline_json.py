"""A recording at a glance as the contract gives it, for the HTTP handler and for the comm alike."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.errors import BadQuery
from cortex_jupyter.reader.levels import levels_of
from cortex_jupyter.reader.outline import outline as counted
from cortex_jupyter.reader.page_json import allowed

if TYPE_CHECKING:
    from cortex_jupyter.reader.session import Recording

_BINS: Final = 1000
_MOST: Final = 10_000


async def outline(recording: Recording, bins: object, *, levels: bool = False) -> dict[str, Any]:
    """Give the outline as the contract has it; times are strings of ns.

    Parameters
    ----------
    recording : Recording
    bins : object
        As the reader gave it, None for 1 000.
    levels : bool, optional
        With `warnings` and `errors` of each bin, `lines` of each source, and how many records have been looked at for them
        (`counted`): that goes on in another process, so ask again while it is less than there are.

    Raises
    ------
    BadQuery
        `bins` is no number from 1 to 10 000.
    """
    text = str(_BINS if bins is None else bins).strip()
    count = int(text) if text.isdecimal() and len(text) <= len(str(_MOST)) else 0
    if not 1 <= count <= _MOST:
        raise BadQuery(f"bins={text[:60]!r} is no number from 1 to {_MOST}", f"write bins={_BINS}")
    found = await asyncio.to_thread(counted, recording.store, recording.id, count)
    sources = await asyncio.to_thread(recording.store.sources, recording.id)
    doc = asdict(found) | {"task": recording.ref.key, "recording": recording.id}
    doc["notices"] = allowed(recording, doc["notices"])
    told = {sid: source.public for sid, (source, _) in sources.items()}
    if levels and found.lines:
        known = levels_of(recording.store, recording.id)
        bounds = (found.start, found.width, len(found.lines))
        doc["counted"], doc["warnings"], doc["errors"] = await asyncio.to_thread(known.bins, *bounds)
        counts = await asyncio.to_thread(known.sources)
        # Older lines of a run are recorded as a part of it.
        for sid, (source, _) in sources.items():
            parts = [other for other, (one, _) in sources.items() if one.is_same_run(source)]
            told[sid]["lines"] = sum(counts.get(part, 0) for part in parts)
    doc["sources"] = [told[sid] for sid, (source, _) in sources.items() if not source.part]
    for name in ("first", "last", "start", "width"):
        doc[name] = None if doc[name] is None else str(doc[name])
    return doc
