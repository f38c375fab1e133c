"""Lines that are missing or were trimmed: counted by reason, and logged once per task and interval."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from cortex_jupyter.telemetry import recorder_metrics

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

#: A task's losses for one reason are logged at most this often (seconds).
INTERVAL_S: Final = 600.0
#: What our log says about each reason. `recorder_metrics.LOSS_REASONS` has the same reasons.
_TEXTS: Final = {
    "rotated": "lines are missing: the node rotated them away before they could be read",
    "run_unseen": "lines are missing: runs of a container came and went before they could be read",
    "pod_unseen": "lines may be missing: a pod came and went before it could be seen",
    "end_unread": "lines are missing: the end of a container's log could not be read",
    "line_limit": "lines are missing: the node rotated them away before they were read at the namespace's limit of lines per second",
    "task_limit": "the oldest lines were trimmed: the recording has reached store_max_task_bytes",
    "namespace_limit": "the oldest lines were trimmed: the namespace has reached its limit in bytes",
    "store_memory": "the oldest lines were trimmed: the memory of the store's server is nearly full",
    "store_rollback": "the store has lost its last records: what the cluster still has of them is read again",
    "store_emptied": "the store was emptied: what the cluster still has is read again",
}


class Losses:
    """Counts and logs losses. Use an instance from one thread only.

    Parameters
    ----------
    clock : callable, optional
        Returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._logged_at: dict[tuple[str, str], float] = {}
        self._unlogged: dict[tuple[str, str], int] = {}

    def add(self, task: str, reason: str, lines: int = 0) -> None:
        """Count a loss, and log it if the task has had none of this reason within the interval.

        Parameters
        ----------
        task : str
            The task's key; "" if all tasks are affected.
        reason : str
            One of `recorder_metrics.LOSS_REASONS`.
        lines : int, optional
            How many lines; 0 if that is not known.
        """
        recorder_metrics.GAPS.labels(reason).inc()
        recorder_metrics.LOST.labels(reason).inc(lines)
        key, now = (task, reason), self._clock()
        lines += self._unlogged.pop(key, 0)
        if now - self._logged_at.get(key, float("-inf")) < INTERVAL_S:
            self._unlogged[key] = lines
            return
        # Tasks come and go for months: forget those whose interval is over.
        self._logged_at = {k: at for k, at in self._logged_at.items() if now - at < INTERVAL_S or k in self._unlogged}
        self._logged_at[key] = now
        _log.warning("%s%s", _TEXTS[reason], f" ({lines} lines)" if lines else "", extra={"task": task})
