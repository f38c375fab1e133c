"""What the processes that analyse a recording share: reading its newest lines, reporting progress, request and answer."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import orjson

from cortex_jupyter.archive.store import open_readable
from cortex_jupyter.errors import CortexError, TooMany
from cortex_jupyter.query.bounds import Bound
from cortex_jupyter.query.language import LogQuery
from cortex_jupyter.reader.process import event
from cortex_jupyter.tables.read import read
from cortex_jupyter.tables.schema import COLUMNS
from cortex_jupyter.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa

    from cortex_jupyter.store import Readable

#: Maximum number of lines, the newest ones. Grouping them takes 3 s and some hundred MB, if many are alike.
_LINES: Final = 1_000_000
_PROGRESS_S: Final = 0.2


class ProgressReporter:
    """Reports how many lines were read. The server ends a process that is silent for long.

    Parameters
    ----------
    emit : callable
        Gets whole events.
    lines : int
        Number of lines to be read.
    query_s : float
        Time limit of reading (seconds).
    hint : str
        What to do if the time is over.
    """

    def __init__(self, emit: Callable[[bytes], object], lines: int, query_s: float, hint: str) -> None:
        self._emit, self._lines, self._query_s, self._hint = emit, lines, query_s, hint
        self._lines_read, self._bound = 0, Bound(end=time.monotonic() + query_s)
        self._reported_at = time.monotonic()

    def read(self, n: int) -> None:
        """Report that more lines were read.

        Raises
        ------
        TooMany
            The time is over, and lines are left.
        """
        self._lines_read += n
        self.tick()
        if self._lines_read < self._lines and self._bound.over:
            message = f"only {self._lines_read} of {self._lines} lines could be read within {self._query_s:g} s"
            raise TooMany(message, self._hint)

    def done(self, n: int) -> None:
        """Report that all lines were read, and how many there are."""
        self._lines_read = self._lines = n
        self._report()

    def tick(self) -> None:
        """Report that the process works, if it has reported nothing for a while."""
        if time.monotonic() >= self._reported_at + _PROGRESS_S:
            self._report()

    def _report(self) -> None:
        self._reported_at = time.monotonic()
        self._emit(event("progress", looked=self._lines_read, lines=self._lines))


def read_newest(
    store: Readable,
    recording: int,
    query_s: float,
    emit: Callable[[bytes], object],
    method: str,
    columns: Sequence[str] = COLUMNS,
) -> tuple[pa.Table, ProgressReporter, int]:
    """Read the newest lines of a recording.

    Parameters
    ----------
    store : Readable
    recording : int
    query_s : float
        Time limit (seconds).
    emit : callable
        Gets whole events.
    method : str
        The method of `TaskLog` that does the same for all lines. An error names it.
    columns : sequence of str, optional

    Returns
    -------
    pyarrow.Table, ProgressReporter, int
        The lines; a reporter for the work that follows; and the number of all lines of the recording.

    Raises
    ------
    TooMany
        The time was over before the lines were read.
    """
    rows = [row for row in store.index(recording) if row.event == "log"]
    total, start, n_lines = sum(row.n for row in rows), 0, 0
    for row in reversed(rows):
        if n_lines + row.n > _LINES and n_lines:
            break
        start, n_lines = row.seq, n_lines + row.n
    hint = (
        f"call {method}() of the log in a kernel to read all lines, or raise CortexJupyter.max_query_s on this server"
    )
    progress = ProgressReporter(emit, n_lines, query_s, hint)
    everything = LogQuery.parse({"since": "all"})
    table = read(store, recording, everything, progress.read, columns, start if n_lines < total else 0)
    progress.done(len(table))
    return table, progress, total


def run(analyse: Callable[[Readable, int, float, Callable[[bytes], object]], object]) -> None:
    """Read a request from standard input, and write the events of its analysis to standard output.

    Parameters
    ----------
    analyse : callable
        Gets the store, the number of the recording, the time limit (seconds), and a function that writes an event.
    """
    logs.begin()  # an error goes to the server's log, without the log line that caused it
    os.nice(10)  # kernels, the server and searches come first
    request: dict[str, Any] = orjson.loads(sys.stdin.buffer.readline())

    def emit(piece: bytes) -> None:
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()

    try:
        with open_readable(request["store"]) as store:
            analyse(store, request["recording"], request["query_s"], emit)
    except CortexError as error:
        emit(event("error", **error.as_dict()))
    except BrokenPipeError:  # the reader has left
        os._exit(0)
