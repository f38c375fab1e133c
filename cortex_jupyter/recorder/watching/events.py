"""Kubernetes events of a task, as notices between its lines: FailedScheduling, BackOff, Evicted, OOMKilling ..."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.errors import CortexError
from cortex_jupyter.model import parse_rfc3339
from cortex_jupyter.recorder.writing.batch import Note

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.recorder.watching.watches import Watches
    from cortex_jupyter.recorder.writing.writer import Channel

_log = logging.getLogger(__name__)

#: Said by the notices of starts and ends already.
_KNOWN: Final = frozenset({"Created", "Started", "Pulled", "SuccessfulCreate", "Completed", "SawCompletedJob"})


async def record_events(
    watches: Watches,
    namespace: str,
    channel: Channel,
    ours: Callable[[str], bool],
    since: int = 0,
    seen: Callable[[dict[str, Any]], None] = lambda _: None,
) -> None:
    """Record them until cancelled; who may not watch events does without.

    Parameters
    ----------
    watches : Watches
    namespace : str
    channel : Channel
    ours : callable
        Tells from the UID of an object whether it is the task or one of its pods.
    since : int, optional
        ns: events before that were recorded by a recorder before us.
    seen : callable, optional
        Called with each event of the task and its pods, recorded or not.
    """
    said: set[tuple[str, str]] = set()
    try:
        async for kind, event in watches.events(namespace, ours):
            about = event.get("involvedObject", {})
            key = (about.get("uid", ""), event.get("reason", ""))
            if kind in ("DELETED", "LOST", "BACK", "SYNC") or event.get("reason") in _KNOWN or not ours(key[0]):
                continue
            seen(event)
            # A repeated event (BackOff) is counted up on one object; once is enough to know.
            note = _note(event, about)
            if key not in said and note.time >= since:
                said.add(key)
                channel.note(note)
    except CortexError as error:
        _log.info("no events of %s: %s", namespace, error)


def _note(event: dict[str, Any], about: dict[str, Any]) -> Note:
    when = event.get("eventTime") or event.get("lastTimestamp") or event.get("firstTimestamp")
    reason, text = event.get("reason", ""), event.get("message", "").strip()
    warning = event.get("type") == "Warning"
    return Note(
        "status",
        f"{about.get('name', '')}: {reason}: {text}",
        parse_rfc3339(when) if when else 0,
        fields={"notice": "event", "reason": reason, "level": "warning" if warning else "info"},
    )
