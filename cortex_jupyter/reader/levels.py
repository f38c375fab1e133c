"""How many warnings and errors there are when, and lines of each source, of whole recordings: counted once by a process, and kept in this one."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Final

import orjson

if TYPE_CHECKING:
    from cortex_jupyter.store import Readable

_SECOND: Final = 1_000_000_000
#: -P: see `launch.ensure_recorder`.
_COMMAND: Final = (sys.executable, "-P", "-m", "cortex_jupyter.reader.counter")
#: Recordings whose counts are kept; of another they are counted again.
_KEPT: Final = 64
#: Processes at once, of all recordings; the others wait.
_TURN: Final = threading.Semaphore(2)


class Levels:
    """The levels of one recording.

    Parameters
    ----------
    store : Readable
    recording : int
    """

    def __init__(self, store: Readable, recording: int) -> None:
        self._store, self._recording = store, recording
        self._lock = threading.Lock()
        #: By a batch's first number: its count, [second, warnings, errors] of the seconds that have any, [source, lines].
        self._counts: dict[int, tuple[int, list[list[int]], list[list[int]]]] = {}
        self._counting: threading.Thread | None = None

    def bins(self, start: int, width: int, count: int) -> tuple[int, list[int], list[int]]:
        """Give what is known, and have the rest counted; it blocks for a moment.

        Parameters
        ----------
        start, width, count : int
            Of the bins, ns.

        Returns
        -------
        tuple
            Records that have been looked at, and of each bin the warnings and the errors.
        """
        index = {seq: n for seq, n, event, _, _ in self._store.index(self._recording) if event == "log"}
        with self._lock:
            known = {seq: seconds for seq, (n, seconds, _) in self._counts.items() if index.get(seq) == n}
        if missing := [seq for seq in reversed(index) if seq not in known]:
            self._count(missing)
        warnings, errors = [0] * count, [0] * count
        parts = max(1, _SECOND // width)
        for seconds in known.values():
            for second, some, more in seconds:
                # Bins narrower than a second share what it has; it may begin before the first of them.
                for part in range(parts):
                    at = (second * _SECOND + part * _SECOND // parts - start) // width
                    at = min(count - 1, max(0, at))
                    warnings[at] += some * (part + 1) // parts - some * part // parts
                    errors[at] += more * (part + 1) // parts - more * part // parts
        return sum(index[seq] for seq in known), warnings, errors

    def sources(self) -> dict[int, int]:
        """Give how many lines each source has, by its id, of those that have been looked at."""
        index = {seq: n for seq, n, event, _, _ in self._store.index(self._recording) if event == "log"}
        found: dict[int, int] = {}
        with self._lock:
            for seq, (n, _, sources) in self._counts.items():
                for sid, lines in sources if index.get(seq) == n else ():
                    found[sid] = found.get(sid, 0) + lines
        return found

    def _count(self, seqs: list[int]) -> None:
        with self._lock:
            if self._counting is not None and self._counting.is_alive():
                return
            self._counting = threading.Thread(target=self._run, args=(seqs,), daemon=True, name="cortex-levels")
            self._counting.start()

    def _run(self, seqs: list[int]) -> None:
        ask = orjson.dumps({"store": self._store.url, "recording": self._recording, "seqs": seqs})
        pipe = subprocess.PIPE
        with _TURN, subprocess.Popen(_COMMAND, stdin=pipe, stdout=pipe) as process:  # noqa: S603 - ours
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(ask + b"\n")
            process.stdin.close()
            for line in process.stdout:
                seq, *counts = orjson.loads(line)
                with self._lock:
                    self._counts[seq] = tuple(counts)


_known: dict[tuple[str, int], Levels] = {}
_looking: Final = threading.Lock()


def levels_of(store: Readable, recording: int) -> Levels:
    """Give the one of a recording in this process; of those that were asked for longest ago nothing is kept."""
    key = (store.url, recording)
    with _looking:
        levels = _known.pop(key) if key in _known else Levels(store, recording)
        _known[key] = levels  # the last of them
        for oldest in list(_known)[:-_KEPT]:
            del _known[oldest]
    return levels
