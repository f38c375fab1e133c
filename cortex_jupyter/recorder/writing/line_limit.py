"""Read a task no faster than its namespace's quota allows.

What is read slowly waits on its node, as when the store is slow. So the limit delays lines, and loses none unless the
node rotates them away first. Then a gap notice says so, and names the limit.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from cortex_jupyter.telemetry import recorder_metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from cortex_jupyter.store.quotas import Quotas

#: Lines of this many seconds at the limit pass at once: a traceback of every rank, or what a program prints at its start.
BURST_S: Final = 10.0
#: A change of the limit takes effect within this long (seconds).
_STEP_S: Final = 1.0


class LineLimit:
    """How fast one task may be read. All methods are called on the event loop.

    Parameters
    ----------
    namespace : str
        The task's namespace.
    report : callable, optional
        Called once, before lines are delayed for the first time.

    Attributes
    ----------
    lines_per_s : int or None
        None if there is no limit.
    """

    def __init__(self, namespace: str, report: Callable[[], object] = lambda: None) -> None:
        self._namespace, self._report = namespace, report
        self._label = namespace
        self.lines_per_s: int | None = None
        self._allowed = 0.0  # how many lines may pass now; negative after more have passed
        self._counted_at = 0.0  # monotonic
        self._turn = asyncio.Lock()  # sources of the task wait one after the other
        self._delayed_until = 0  # ns since the Unix epoch, by our clock
        self._is_reported = False

    def set(self, quotas: Quotas) -> None:
        """Take the limit from the store's quotas."""
        self._label = quotas.label(self._namespace)
        limit = quotas.of(self._namespace).max_lines_per_s
        if limit != self.lines_per_s:
            self.lines_per_s, self._allowed, self._counted_at = limit, (limit or 0) * BURST_S, time.monotonic()

    async def pass_lines(self, count: int) -> None:
        """Wait until the next lines may pass, and count them."""
        if self.lines_per_s is None:
            return
        async with self._turn:
            while (wait_s := self._wait_s()) > 0:
                if not self._is_reported:
                    self._is_reported = True
                    self._report()
                await asyncio.sleep(min(wait_s, _STEP_S))
                self._delayed_until = time.time_ns()
                recorder_metrics.DELAYED.labels(self._label).inc(min(wait_s, _STEP_S))
            self._allowed -= count

    def count_lines(self, count: int) -> None:
        """Count lines that do not wait, since the node may not keep them for long: those of rotated files.

        However many there are, new lines wait for them no longer than `BURST_S`: those could be rotated away meanwhile.
        """
        if self.lines_per_s is not None:
            self._wait_s()
            least = min(self._allowed, -self.lines_per_s * BURST_S)
            self._allowed = max(self._allowed - count, least)

    def _wait_s(self) -> float:
        """Return for how many seconds no line may pass."""
        if self.lines_per_s is None:
            return 0.0
        now = time.monotonic()
        earned = (now - self._counted_at) * self.lines_per_s
        self._allowed = min(self._allowed + earned, self.lines_per_s * BURST_S)
        self._counted_at = now
        return max(-self._allowed, 0.0) / self.lines_per_s

    def has_delayed(self, since: int) -> bool:
        """Return whether lines were delayed after a time (ns since the Unix epoch)."""
        return self._delayed_until >= since

    @property
    def why(self) -> str:
        """Why lines are late, or missing."""
        return f"the task is read at no more than {self.lines_per_s} lines a second, the limit of namespace {self._namespace}"

    @property
    def hint(self) -> str:
        """What to do about it."""
        setting = f"`cortex-jupyter store set --namespace {self._namespace} max-lines-per-s=...`"
        return f"make the task write less, or raise the limit ({setting})"
