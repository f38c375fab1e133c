"""Tasks that the cluster does not let this recorder read.

They are left to recorders with other rights, and tried again ever more rarely.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cortex_jupyter.recorder.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from cortex_jupyter.errors import NotAllowed
    from cortex_jupyter.store import RecordingInfo

#: A refused task is tried again after this long (seconds); each further refusal doubles it. A right that is granted
#: later is noticed by then, or sooner if the cluster answers who may do what.
_FIRST_S, _LONGEST_S = 5.0, 60.0
#: Time without another recorder before the readers of a task see why it is not recorded (seconds). A recorder
#: with the rights of a reader may have to start first.
OTHERS_S: Final = 5.0


@dataclass(slots=True)
class _Refusal:
    namespace: str
    backoff: Backoff = field(default_factory=lambda: Backoff(_FIRST_S, _LONGEST_S))
    retry_at: float = 0.0
    report_at: float = math.inf
    error: NotAllowed | None = None
    reported: str = ""


class Refusals:
    """The refusals of one recorder, by recording.

    Parameters
    ----------
    clock : callable, optional
        Returns the time in seconds.

    Examples
    --------
    >>> from types import SimpleNamespace as Space
    >>> info, now = Space(id=1, ref=Space(namespace="ml")), 0.0
    >>> refusals = Refusals(lambda: now)
    >>> refusals.add(info, ValueError("forbidden"))
    >>> refusals.is_left_to_others(1), refusals.is_left_to_others(2), refusals.namespaces
    (True, False, ('ml',))
    >>> now = 5.0
    >>> refusals.is_left_to_others(1), refusals.due_reports()
    (False, [(1, ValueError('forbidden'), False)])
    >>> refusals.add(info, ValueError("forbidden"))
    >>> now = 10.0
    >>> refusals.is_left_to_others(1), refusals.due_reports()  # now for ten seconds, and it has been reported
    (True, [(1, ValueError('forbidden'), True)])
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_recording: dict[int, _Refusal] = {}

    def add(self, info: RecordingInfo, error: NotAllowed) -> None:
        """Add a refusal."""
        refusal = self._by_recording.setdefault(info.id, _Refusal(info.ref.namespace))
        now = self._clock()
        refusal.error, refusal.retry_at, refusal.report_at = error, now + refusal.backoff.next(), now + OTHERS_S

    def is_left_to_others(self, recording: int) -> bool:
        """Return whether a recording is left to other recorders now."""
        return recording in self._by_recording and self._clock() < self._by_recording[recording].retry_at

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The namespaces of the recordings that are left to other recorders now."""
        return tuple(
            sorted({refusal.namespace for id_, refusal in self._by_recording.items() if self.is_left_to_others(id_)})
        )

    def retry_namespace(self, namespace: str) -> None:
        """Stop leaving the recordings of a namespace to others: a missing right has been granted there."""
        for refusal in self._by_recording.values():
            if refusal.namespace == namespace:
                refusal.backoff.reset()
                refusal.retry_at, refusal.report_at = 0.0, math.inf

    def due_reports(self) -> list[tuple[int, NotAllowed, bool]]:
        """Return the recordings that other recorders have had time to take.

        Each comes with its error, and whether that was reported before.
        """
        reports = []
        for id_, refusal in self._by_recording.items():
            if refusal.error is not None and refusal.report_at <= self._clock():
                reports.append((id_, refusal.error, refusal.reported == str(refusal.error)))
                refusal.report_at, refusal.reported = math.inf, str(refusal.error)
        return reports

    def retain(self, recordings: AbstractSet[int]) -> None:
        """Forget all other recordings: no reader asks us for them any more."""
        for id_ in self._by_recording.keys() - recordings:
            del self._by_recording[id_]
