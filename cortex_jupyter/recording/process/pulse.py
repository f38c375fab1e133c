"""What a recorder knows of its own health, for the kubelet's probes."""

from __future__ import annotations

import time
from typing import Final

#: A heartbeat is tried each second, or one is waited for. Without either for so long, seconds, the process hangs: another
#: start mends that.
HUNG_S: Final = 60.0
#: Without one that the store took for so long, seconds, other recorders have this one's tasks.
STALE_S: Final = 10.0
#: For so long, seconds, new tasks may go unseen.
UNSEEN_S: Final = 60.0


class Pulse:
    """The health of this process; all of it is about moments, by the monotonic clock.

    Parameters
    ----------
    port : int, optional
        Where it can be asked.

    Examples
    --------
    >>> pulse = Pulse()
    >>> pulse.hangs(), pulse.lacks()
    ('', ['the store has not taken a heartbeat yet'])
    >>> pulse.taken()
    >>> pulse.lacks()
    []
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self._turned = time.monotonic()
        self._taken: float | None = None
        self._lost: dict[str, float] = {}

    def turned(self) -> None:
        """Note that the loop of heartbeats goes round, be it that it waits for the store."""
        self._turned = time.monotonic()

    def taken(self) -> None:
        """Note that the store has taken a heartbeat."""
        self._taken = self._turned = time.monotonic()

    def watched(self, what: str, *, lost: bool) -> None:
        """Note whether the API server tells us of what we select."""
        if lost:
            self._lost.setdefault(what, time.monotonic())
        else:
            self._lost.pop(what, None)

    def hangs(self) -> str:
        """Say in which way another start would mend it; nothing where it lives, be the store there or not."""
        silent = time.monotonic() - self._turned
        return f"no heartbeat has been tried for {silent:.0f} s" if silent > HUNG_S else ""

    def lacks(self) -> list[str]:
        """Say what keeps it from recording."""
        now = time.monotonic()
        found = [f"{what} are not watched for {now - since:.0f} s" for what, since in self._lost.items() if now - since > UNSEEN_S]  # fmt: skip
        if self._taken is None:
            found.insert(0, "the store has not taken a heartbeat yet")
        elif now - self._taken > STALE_S:
            found.insert(0, f"the store has not taken a heartbeat for {now - self._taken:.0f} s")
        return found
