"""Count warnings, errors and the lines of each source in whole recordings; a process counts, this one caches."""

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
#: Number of recordings whose counts are cached. For any other recording, lines are counted again.
_CACHED_RECORDINGS: Final = 64
#: Worker processes that run at the same time, for all recordings; the others wait.
_PROCESS_SLOTS: Final = threading.Semaphore(2)


class LevelCounts:
    """The warnings, errors and lines of one recording.

    Parameters
    ----------
    store : Readable
    recording : int
    """

    def __init__(self, store: Readable, recording: int) -> None:
        self._store, self._recording = store, recording
        self._lock = threading.Lock()
        #: Keyed by the first number of a batch: its count, the [second, warnings, errors] that are not zero, [source, lines].
        self._counts: dict[int, tuple[int, list[list[int]], list[list[int]]]] = {}
        self._counting: threading.Thread | None = None

    def bins(self, start: int, width: int, count: int) -> tuple[int, list[int], list[int]]:
        """Return the counts that are ready, and start to count the rest; it blocks for a moment.

        Parameters
        ----------
        start, width, count : int
            Start and width of the bins (ns), and their number.

        Returns
        -------
        tuple
            The number of records that are counted, and the warnings and the errors of each bin.
        """
        index = {row.seq: row.n for row in self._store.index(self._recording) if row.event == "log"}
        with self._lock:
            counted = {seq: seconds for seq, (n, seconds, _) in self._counts.items() if index.get(seq) == n}
        if missing := [seq for seq in reversed(index) if seq not in counted]:
            self._count(missing)
        warnings, errors = [0] * count, [0] * count
        parts = max(1, _SECOND // width)
        for seconds in counted.values():
            for second, warnings_here, errors_here in seconds:
                # A second's counts are shared evenly by bins narrower than a second. A second may
                # begin before the first bin.
                for part in range(parts):
                    bin_ = (second * _SECOND + part * _SECOND // parts - start) // width
                    bin_ = min(count - 1, max(0, bin_))
                    warnings[bin_] += warnings_here * (part + 1) // parts - warnings_here * part // parts
                    errors[bin_] += errors_here * (part + 1) // parts - errors_here * part // parts
        return sum(index[seq] for seq in counted), warnings, errors

    def sources(self) -> dict[int, int]:
        """Return the number of counted lines of each source, by its id."""
        index = {row.seq: row.n for row in self._store.index(self._recording) if row.event == "log"}
        lines_by_source: dict[int, int] = {}
        with self._lock:
            for seq, (n, _, sources) in self._counts.items():
                for sid, lines in sources if index.get(seq) == n else ():
                    lines_by_source[sid] = lines_by_source.get(sid, 0) + lines
        return lines_by_source

    def _count(self, seqs: list[int]) -> None:
        with self._lock:
            if self._counting is not None and self._counting.is_alive():
                return
            self._counting = threading.Thread(target=self._run, args=(seqs,), daemon=True, name="cortex-levels")
            self._counting.start()

    def _run(self, seqs: list[int]) -> None:
        request = orjson.dumps({"store": self._store.url, "recording": self._recording, "seqs": seqs})
        pipe = subprocess.PIPE
        with _PROCESS_SLOTS, subprocess.Popen(_COMMAND, stdin=pipe, stdout=pipe) as process:  # noqa: S603 - ours
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(request + b"\n")
            process.stdin.close()
            for line in process.stdout:
                seq, *counts = orjson.loads(line)
                with self._lock:
                    self._counts[seq] = tuple(counts)


_cache: dict[tuple[str, int], LevelCounts] = {}
_cache_lock: Final = threading.Lock()


def level_counts(store: Readable, recording: int) -> LevelCounts:
    """Return the counts of a recording, one object in this process; the least recently used ones are dropped."""
    key = (store.url, recording)
    with _cache_lock:
        counts = _cache.pop(key) if key in _cache else LevelCounts(store, recording)
        _cache[key] = counts  # now the most recently used
        for oldest in list(_cache)[:-_CACHED_RECORDINGS]:
            del _cache[oldest]
    return counts
