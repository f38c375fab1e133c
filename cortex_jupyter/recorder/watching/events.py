"""Record the Kubernetes events of a task as notices between its lines: FailedScheduling, BackOff, Evicted, ..."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import CortexError
from cortex_jupyter.model import parse_rfc3339
from cortex_jupyter.recorder.writing.batch import PendingNotice

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.cluster import KubeObject
    from cortex_jupyter.recorder.watching.watches import Watches
    from cortex_jupyter.recorder.writing.writer import Channel

_log = logging.getLogger(__name__)

#: Reasons that the notices of starts and ends already show.
_REDUNDANT: Final = frozenset({"Created", "Started", "Pulled", "SuccessfulCreate", "Completed", "SawCompletedJob"})


async def record_events(
    watches: Watches,
    namespace: str,
    channel: Channel,
    is_ours: Callable[[str], bool],
    since: int = 0,
    on_event: Callable[[KubeObject], None] = lambda _: None,
) -> None:
    """Record events until cancelled; return at once if they may not be watched.

    Parameters
    ----------
    watches : Watches
    namespace : str
    channel : Channel
    is_ours : callable
        Returns whether a UID is the task's or one of its pods'.
    since : int, optional
        Skip events before this time (ns): an earlier recorder has recorded them.
    on_event : callable, optional
        Called with each event of the task and its pods, recorded or not.
    """
    recorded: set[tuple[str, str]] = set()
    try:
        async for kind, event in watches.events(namespace, is_ours):
            involved = event.get("involvedObject", {})
            key = (involved.get("uid", ""), event.get("reason", ""))
            if kind in ("DELETED", "LOST", "BACK", "SYNC") or event.get("reason") in _REDUNDANT or not is_ours(key[0]):
                continue
            on_event(event)
            # Kubernetes counts a repeated event (BackOff) on one object; it is recorded once.
            note = _note(event, involved)
            if key not in recorded and note.time >= since:
                recorded.add(key)
                channel.put_notice(note)
    except CortexError as error:
        _log.info("the events of %s cannot be recorded: %s", namespace, error)


def _note(event: KubeObject, involved: KubeObject) -> PendingNotice:
    stamp = event.get("eventTime") or event.get("lastTimestamp") or event.get("firstTimestamp")
    reason, text = event.get("reason", ""), event.get("message", "").strip()
    warning = event.get("type") == "Warning"
    return PendingNotice(
        "status",
        f"{involved.get('name', '')}: {reason}: {text}",
        parse_rfc3339(stamp) if stamp else 0,
        fields={"notice": "event", "reason": reason, "level": "warning" if warning else "info"},
    )
