"""Lines over time as JSON of the HTTP contract, for the HTTP handler and for the comm."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.errors import BadQuery
from cortex_jupyter.reader.levels import level_counts
from cortex_jupyter.reader.outline import outline as counted
from cortex_jupyter.reader.page_json import allowed

if TYPE_CHECKING:
    from cortex_jupyter.reader.session import Recording

_BINS: Final = 1000
_MAX_BINS: Final = 10_000


async def outline(recording: Recording, bins: object, *, levels: bool = False) -> dict[str, Any]:
    """Return the outline as the contract has it; times are strings of ns.

    Parameters
    ----------
    recording : Recording
    bins : object
        As in the request; None for 1 000.
    levels : bool, optional
        Add `warnings` and `errors` of each bin, `lines` of each source, and `counted`, the number of records looked at
        for
        them. Another process counts, so ask again while `counted` is less than the number of records.

    Raises
    ------
    BadQuery
        `bins` is no number from 1 to 10 000.
    """
    text = str(_BINS if bins is None else bins).strip()
    count = int(text) if text.isdecimal() and len(text) <= len(str(_MAX_BINS)) else 0
    if not 1 <= count <= _MAX_BINS:
        raise BadQuery(f"bins={text[:60]!r} is no number from 1 to {_MAX_BINS}", f"write bins={_BINS}")
    spread = await asyncio.to_thread(counted, recording.store, recording.id, count)
    sources = await asyncio.to_thread(recording.store.sources, recording.id)
    doc = asdict(spread) | {"task": recording.ref.key, "recording": recording.id}
    doc["notices"] = allowed(recording, doc["notices"])
    sources_json: dict[int, dict[str, Any]] = {sid: {**source.public} for sid, (source, _) in sources.items()}
    if levels and spread.lines:
        counts_of_recording = level_counts(recording.store, recording.id)
        bounds = (spread.start, spread.width, len(spread.lines))
        doc["counted"], doc["warnings"], doc["errors"] = await asyncio.to_thread(counts_of_recording.bins, *bounds)
        counts = await asyncio.to_thread(counts_of_recording.sources)
        # Older lines of a run are recorded as a source of their own, a part of it; add them up.
        for sid, (source, _) in sources.items():
            part_ids = [part_id for part_id, (part, _) in sources.items() if part.is_same_run(source)]
            sources_json[sid]["lines"] = sum(counts.get(part_id, 0) for part_id in part_ids)
    doc["sources"] = [sources_json[sid] for sid, (source, _) in sources.items() if not source.part]
    for name in ("first", "last", "start", "width"):
        doc[name] = None if doc[name] is None else str(doc[name])
    return doc
