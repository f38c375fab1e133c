"""What a recorder knows of its own health, for the kubelet's probes."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

from cortex_jupyter.telemetry import recorder_metrics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cortex_jupyter.errors import CortexError

#: A heartbeat is tried each second, or one is waited for. Without either for so long, seconds, the process hangs: another
#: start mends that. So it does where tasks are not looked for while all else goes on.
HUNG_S: Final = 60.0
#: Without one that the store took for so long, seconds, other recorders have this one's tasks.
STALE_S: Final = 10.0
#: For so long, seconds, a batch may wait for its commit: a replica that is slow to confirm takes three.
WAITS_S: Final = 10.0
#: For so long, seconds, tasks may not be looked for; mostly it is done ten times a second.
LOOKED_S: Final = 30.0
#: For so long, seconds, new tasks may go unseen.
UNSEEN_S: Final = 60.0


class Pulse:
    """The health of this process; all of it is about moments, by the monotonic clock. May be told from any thread.

    Parameters
    ----------
    port : int, optional
        Where it can be asked.

    Attributes
    ----------
    waited : bool
        The store was away when this process began.

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
        self.waited = False
        self._turned = time.monotonic()
        self._taken: float | None = None
        self._lost: dict[str, float] = {}
        self._writes: dict[object, float] = {}  # what is being written, since when
        self._refused = ""  # what the store said of it last
        self._round: float | None = None  # when the loop that looks for tasks last came round, and did look
        self._looked = 0.0
        self._hindered = 0.0  # until when the store kept us from it

    def turned(self) -> None:
        """Note that the loop of heartbeats goes round, be it that it waits for the store."""
        self._turned = time.monotonic()

    def taken(self) -> None:
        """Note that the store has taken a heartbeat."""
        now = time.monotonic()
        if self._taken is None:
            self._round = self._looked = now  # from now on it does
        elif now - self._taken > STALE_S:
            self._hindered = now
        self._taken = self._turned = now

    def watched(self, what: str, *, lost: bool) -> None:
        """Note whether the API server tells us of what we select."""
        if lost:
            self._lost.setdefault(what, time.monotonic())
        else:
            self._lost.pop(what, None)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Note that the block writes what has to be in the store before anything else, however long that takes."""
        begun, what = time.monotonic(), object()
        self._writes[what] = begun
        try:
            yield
        finally:
            del self._writes[what]
            if (now := time.monotonic()) - begun > WAITS_S:
                self._hindered = now

    def refused(self, error: CortexError) -> None:
        """Note, and count, what the store said of something that is tried again."""
        self._refused = error.message
        recorder_metrics.count_error(error)

    def came_round(self, *, looked: bool = True) -> None:
        """Note that the loop goes round that takes and gives tasks, and whether the store let it look."""
        self._round = time.monotonic()
        if looked:
            self._looked = self._round

    def waits(self) -> float:
        """For how long the oldest of what is being written has not been taken, seconds."""
        now = time.monotonic()
        return now - min(list(self._writes.values()), default=now)

    def hangs(self) -> str:
        """Say in which way another start would mend it; nothing where it lives, be the store there or not."""
        now = time.monotonic()
        if (silent := now - self._turned) > HUNG_S:
            return f"no heartbeat has been tried for {silent:.0f} s"
        if self._taken is None or self._round is None or now - self._taken > STALE_S or self.waits() > WAITS_S:
            return ""
        silent = now - max(self._round, self._hindered)
        return f"the store answers, and tasks have not been looked for for {silent:.0f} s" if silent > HUNG_S else ""

    def lacks(self) -> list[str]:
        """Say what keeps it from recording."""
        now = time.monotonic()
        found = []
        if self._taken is None:
            found.append("the store has not taken a heartbeat yet")
        elif now - self._taken > STALE_S:
            found.append(f"the store has not taken a heartbeat for {now - self._taken:.0f} s")
        if (waits := self.waits()) > WAITS_S:
            found.append(f"nothing has been recorded for {waits:.0f} s{self._refused and f': {self._refused}'}")
        if self._round is not None and now - self._looked > LOOKED_S:
            found.append(f"tasks have not been looked for for {now - self._looked:.0f} s")
        return found + [f"{what} are not watched for {now - since:.0f} s" for what, since in self._lost.items() if now - since > UNSEEN_S]  # fmt: skip
